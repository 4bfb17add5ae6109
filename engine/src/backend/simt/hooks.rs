//! Functions that kernels call while they run.
//!
//! A hook may suspend its coroutine and must not hold a borrow then.

use std::ffi::{CStr, c_char, c_void};

use super::executor::{Copy, Executor, Pause};
use super::library::Hooks;
use super::memory::WARP;
use super::products::Product;

/// Returns the hooks of `executor`.
pub(super) fn hooks(executor: *mut c_void) -> Hooks {
    Hooks {
        executor,
        access: on_access,
        barrier: on_barrier,
        exchange: on_exchange,
        guard: on_guard,
        copy_async: on_copy_async,
        copy_commit: on_copy_commit,
        copy_wait: on_copy_wait,
        fault: on_fault,
        dynamic_shared: on_dynamic_shared,
        mbarrier_init: on_mbarrier_init,
        mbarrier_init_fence: on_mbarrier_init_fence,
        mbarrier_arrive: on_mbarrier_arrive,
        mbarrier_wait: on_mbarrier_wait,
        tma_load: on_tma_load,
        wgmma: on_wgmma,
        wgmma_fence: on_wgmma_fence,
        wgmma_commit: on_wgmma_commit,
        wgmma_wait: on_wgmma_wait,
    }
}

/// Returns the executor behind a hook's pointer.
///
/// # Safety
/// Only for hooks, which run while nothing else borrows the executor; the borrow must end before the hook suspends.
unsafe fn this<'a>(executor: *mut c_void) -> &'a mut Executor {
    // SAFETY: `run_block` passed this pointer to the module, and keeps the executor alive while it runs.
    unsafe { &mut *executor.cast::<Executor>() }
}

/// Suspends this thread until the executor resumes it.
fn suspend(executor: *mut c_void, pause: Pause) {
    // SAFETY: the yielder is on the stack of the coroutine that is running now.
    unsafe {
        let this = this(executor);
        let yielder = this.threads[this.current].yielder;
        (*yielder).suspend(pause);
    }
}

/// Ends this thread and the launch with an error.
fn stop(executor: *mut c_void, problem: String) -> ! {
    // SAFETY: the borrow ends with the statement.
    unsafe { this(executor) }.fault = Some(problem);
    loop {
        // Never resumed.
        suspend(executor, Pause::Fault);
    }
}

extern "C" fn on_access(
    executor: *mut c_void,
    address: u64,
    bytes: u32,
    writes: u32,
    aligned: u32,
) {
    // SAFETY: the borrow ends with the statement.
    let outcome = unsafe { this(executor) }.access(address, bytes, writes != 0, aligned != 0);
    if let Err(problem) = outcome {
        stop(executor, problem);
    }
}

extern "C" fn on_barrier(executor: *mut c_void, line: u32) {
    suspend(executor, Pause::Barrier(line));
}

extern "C" fn on_exchange(
    executor: *mut c_void,
    mine: *const c_void,
    bytes: u32,
    all: *mut c_void,
    line: u32,
) {
    let size = bytes as usize;
    // SAFETY: `simt_exchange` passes a value of this size; the borrow ends with the block.
    let (first, turn) = unsafe {
        let this = this(executor);
        let current = this.current;
        let thread = &mut this.threads[current];
        let turn = thread.exchanges % 2;
        thread.exchanges += 1;
        let gift = std::slice::from_raw_parts(mine.cast::<u8>(), size);
        thread.gift[turn].clear();
        thread.gift[turn].extend_from_slice(gift);
        (current / WARP * WARP, turn)
    };
    suspend(executor, Pause::Exchange(line));
    // SAFETY: `simt_exchange` passes room for 32 values; the borrow ends with the block.
    unsafe {
        let this = this(executor);
        let lanes = this.threads.iter().skip(first).take(WARP);
        for (lane, thread) in lanes.enumerate() {
            let gift = &thread.gift[turn];
            let to = all.cast::<u8>().add(lane * size);
            to.copy_from_nonoverlapping(gift.as_ptr(), size.min(gift.len()));
        }
    }
}

extern "C" fn on_guard(executor: *mut c_void, address: u64, bytes: u32) {
    // SAFETY: the borrow ends with the block.
    let this = unsafe { this(executor) };
    let guard = (address, address + u64::from(bytes));
    if !this.guards.contains(&guard) {
        this.guards.push(guard);
    }
}

extern "C" fn on_copy_async(executor: *mut c_void, to: u64, from: u64, bytes: u32, valid: u32) {
    let copy = Copy {
        to,
        from,
        bytes,
        valid,
    };
    // SAFETY: the borrow ends with the statement.
    if let Err(problem) = unsafe { this(executor) }.begin_copy(copy) {
        stop(executor, problem);
    }
}

extern "C" fn on_copy_commit(executor: *mut c_void) {
    // SAFETY: the borrow ends with the block.
    let this = unsafe { this(executor) };
    let thread = &mut this.threads[this.current];
    let group = std::mem::take(&mut thread.open_copies);
    thread.committed_copies.push_back(group);
}

extern "C" fn on_copy_wait(executor: *mut c_void, pending: u32) {
    // SAFETY: the borrow ends with the statement.
    unsafe { this(executor) }.wait_copies(pending as usize);
}

extern "C" fn on_fault(executor: *mut c_void, problem: *const c_char) {
    // SAFETY: `simt.h` passes string literals.
    let problem = unsafe { CStr::from_ptr(problem) };
    stop(executor, problem.to_string_lossy().into_owned());
}

extern "C" fn on_dynamic_shared(executor: *mut c_void, bytes: u32) {
    // SAFETY: the borrow ends with the statement.
    let given = unsafe { this(executor) }.dynamic_shared;
    if bytes > given {
        stop(
            executor,
            format!(
                "it uses {bytes} bytes of dynamic shared memory, but the launch provides {given}"
            ),
        );
    }
}

/// Stops the launch on an error.
fn check<Value>(executor: *mut c_void, outcome: Result<Value, String>) -> Value {
    match outcome {
        Ok(value) => value,
        Err(problem) => stop(executor, problem),
    }
}

extern "C" fn on_mbarrier_init(executor: *mut c_void, barrier: u64, arrivals: u32) {
    // SAFETY: the borrow ends with the statement.
    let outcome = unsafe { this(executor) }.initialise_mbarrier(barrier, arrivals);
    check(executor, outcome);
}

extern "C" fn on_mbarrier_init_fence(executor: *mut c_void) {
    // SAFETY: the borrow ends with the statement.
    unsafe { this(executor) }.fence_mbarriers();
}

extern "C" fn on_mbarrier_arrive(executor: *mut c_void, barrier: u64, bytes: u32) {
    // SAFETY: the borrow ends with the statement.
    let outcome = unsafe { this(executor) }.arrive(barrier, bytes);
    check(executor, outcome);
}

extern "C" fn on_mbarrier_wait(executor: *mut c_void, barrier: u64, parity: u32) {
    // SAFETY: the borrow ends with the statement.
    let outcome = unsafe { this(executor) }.mbarrier(barrier);
    let barrier = check(executor, outcome);
    suspend(executor, Pause::Phase { barrier, parity });
}

extern "C" fn on_tma_load(
    executor: *mut c_void,
    to: u64,
    map: *const c_void,
    barrier: u64,
    at: *const i32,
    rank: u32,
) {
    // SAFETY: `tma_load` passes a map of 128 bytes and `rank` coordinates; the borrow ends with the block.
    let outcome = unsafe {
        let at = std::slice::from_raw_parts(at, rank as usize);
        this(executor).begin_box(to, &*map.cast(), barrier, at)
    };
    check(executor, outcome);
}

extern "C" fn on_wgmma(
    executor: *mut c_void,
    sums: *mut f32,
    columns: u32,
    a: u64,
    b: u64,
    transposed: u32,
    bits: u32,
) {
    let product = Product {
        sums,
        columns: columns as usize,
        operands: [a, b],
        transposed: transposed != 0,
        bits,
        saved: None,
    };
    // SAFETY: the borrow ends with the block.
    let outcome = unsafe {
        let this = this(executor);
        this.threads[this.current].products.begin(product)
    };
    check(executor, outcome);
}

extern "C" fn on_wgmma_fence(executor: *mut c_void) {
    // SAFETY: the borrow ends with the block.
    let this = unsafe { this(executor) };
    this.threads[this.current].products.fence();
}

extern "C" fn on_wgmma_commit(executor: *mut c_void) {
    // SAFETY: the borrow ends with the block.
    let this = unsafe { this(executor) };
    this.threads[this.current].products.commit();
}

extern "C" fn on_wgmma_wait(executor: *mut c_void, pending: u32) {
    suspend(executor, Pause::Products(pending));
}
