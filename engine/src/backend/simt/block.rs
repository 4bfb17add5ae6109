//! Runs blocks of coroutines, one per CUDA thread.

use std::collections::VecDeque;
use std::ffi::c_void;

use corosensei::stack::{DefaultStack, Stack};
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::executor::{Executor, Pause, State, Thread};
use super::hooks::hooks;
use super::library::{Call, Module, Position};
use super::mbarrier::Pipelines;
use super::memory::Region;
use super::products::{Products, WARPGROUP, Warpgroup};

const STACK_BYTES: usize = 128 << 10;

/// One launch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job<'a> {
    pub(super) name: &'a str,
    pub(super) module: &'a Module,
    pub(super) call: Call,
    pub(super) arguments: *mut *mut c_void,
    pub(super) grid: [u32; 3],
    pub(super) block: [u32; 3],
    pub(super) dynamic_shared: u32,
}

impl Executor {
    /// Runs a launch to its end, or to the first fault.
    pub(super) fn run(&mut self, job: Job<'_>) -> Result<(), String> {
        let (start, stop) = job.module.shared;
        self.shared = Region::new(start, (stop - start) as usize, true);
        self.dynamic_shared = job.dynamic_shared;
        self.guards.clear();
        self.fault = None;
        self.epoch += 1;
        self.launch_began = self.epoch;
        let [columns, rows, layers] = job.grid;
        let mut blocks: Vec<_> = (0..layers)
            .flat_map(|z| (0..rows).flat_map(move |y| (0..columns).map(move |x| [x, y, z])))
            .collect();
        self.shuffle(&mut blocks);
        // Kernels call back into this executor while they run; from here on it is accessed only through a pointer.
        let executor: *mut Self = self;
        for block in blocks {
            // SAFETY: `executor` comes from an exclusive borrow that is not used otherwise until the loop ends.
            unsafe { run_block(executor, &job, block) }.map_err(|stop| {
                let line = if stop.in_hook {
                    job.module.last_line()
                } else {
                    None
                };
                let line = line.map_or_else(String::new, |line| format!(" at {line}"));
                format!(
                    "kernel {}, grid {:?} of blocks {:?}, block {block:?}, thread {}{line}: {}",
                    job.name, job.grid, job.block, stop.thread, stop.problem
                )
            })?;
        }
        Ok(())
    }
}

/// End of a launch by an error.
struct Stop {
    thread: usize,
    problem: String,
    /// Whether the thread was in a hook: the module knows from which line.
    in_hook: bool,
}

impl Stop {
    /// An error that is found after threads ran.
    fn after(thread: usize, problem: String) -> Self {
        Self {
            thread,
            problem,
            in_hook: false,
        }
    }
}

/// Runs one block; an error names the thread.
///
/// # Safety
/// `executor` must be valid and not borrowed elsewhere.
unsafe fn run_block(executor: *mut Executor, job: &Job<'_>, block: [u32; 3]) -> Result<(), Stop> {
    let [width, height, depth] = job.block;
    let count = (width * height * depth) as usize;
    let position = |thread: usize| Position {
        thread: [
            thread as u32 % width,
            thread as u32 / width % height,
            thread as u32 / width / height,
        ],
        block,
        block_extent: job.block,
        grid_extent: job.grid,
    };

    // SAFETY: nothing else borrows the executor while no coroutine runs.
    let stacks = unsafe {
        let this = &mut *executor;
        this.epoch += 1;
        this.block_began = this.epoch;
        this.threads.clear();
        this.pipelines = Pipelines::new(count);
        this.warpgroups.clear();
        this.warpgroups
            .resize_with(count.div_ceil(WARPGROUP), Warpgroup::default);
        while this.stacks.len() < count {
            let stack = DefaultStack::new(STACK_BYTES)
                .map_err(|error| Stop::after(0, format!("no memory for its stack: {error}")))?;
            this.stacks.push(stack);
        }
        this.stacks.drain(..count).collect::<Vec<_>>()
    };
    let mut states = vec![State::Ready; count];
    let (call, arguments) = (job.call, job.arguments);
    let mut coroutines: Vec<Coroutine<(), Pause, (), DefaultStack>> = Vec::new();
    for (index, stack) in stacks.into_iter().enumerate() {
        let bounds = (stack.limit().get() as u64, stack.base().get() as u64);
        // SAFETY: as above.
        unsafe { &mut *executor }.threads.push(Thread {
            yielder: std::ptr::null(),
            stack: bounds,
            open_copies: Vec::new(),
            committed_copies: VecDeque::new(),
            gift: [Vec::new(), Vec::new()],
            exchanges: 0,
            products: Products::default(),
        });
        let body = move |yielder: &Yielder<(), Pause>, ()| {
            // SAFETY: the executor is not borrowed while a coroutine runs; the arguments have the kernel's own types,
            // which `Module::kernel` has compared by size.
            unsafe {
                (&mut *executor).threads[index].yielder = yielder;
                call(arguments);
            }
        };
        coroutines.push(Coroutine::with_stack(stack, body));
    }
    // SAFETY: the module's variables live as long as the module.
    unsafe { *job.module.hooks = hooks(executor.cast()) };

    let mut order: Vec<usize> = (0..count).collect();
    let outcome = loop {
        // SAFETY: no coroutine runs.
        unsafe { &mut *executor }.shuffle(&mut order);
        let mut fault = None;
        for &index in &order {
            if states[index] != State::Ready {
                continue;
            }
            // SAFETY: no coroutine runs; the module's variables live as long as the module.
            unsafe {
                (*executor).current = index;
                *job.module.position = position(index);
            }
            states[index] = match coroutines[index].resume(()) {
                CoroutineResult::Yield(Pause::Fault) => {
                    fault = Some(index);
                    break;
                }
                CoroutineResult::Yield(pause) => State::Waiting(pause),
                CoroutineResult::Return(()) => State::Done,
            };
        }
        if let Some(thread) = fault {
            // SAFETY: no coroutine runs.
            let problem = unsafe { &mut *executor }.fault.take();
            break Err(Stop {
                thread,
                problem: problem.unwrap_or_default(),
                in_hook: true,
            });
        }
        if states.iter().all(|state| *state == State::Done) {
            break Ok(());
        }
        // SAFETY: no coroutine runs.
        if let Err((thread, problem)) = unsafe { &mut *executor }.release(&mut states) {
            break Err(Stop::after(thread, problem));
        }
    };
    for mut coroutine in coroutines {
        if !coroutine.done() {
            // SAFETY: the abandoned frames are C++ frames without destructors, and hooks that hold no resources.
            unsafe { coroutine.force_reset() };
        }
        // SAFETY: no coroutine runs.
        unsafe { &mut *executor }
            .stacks
            .push(coroutine.into_stack());
    }
    outcome?;
    // SAFETY: no coroutine runs.
    let threads = unsafe { &(*executor).threads };
    let left = threads.iter().position(|thread| {
        let mut groups = thread.committed_copies.iter();
        !thread.open_copies.is_empty() || groups.any(|group| !group.is_empty())
    });
    if let Some(thread) = left {
        return Err(Stop::after(
            thread,
            "it ends while an asynchronous copy is in flight".to_owned(),
        ));
    }
    if let Some(thread) = threads.iter().position(|thread| thread.products.is_busy()) {
        let problem = "it ends while a wgmma is in flight";
        return Err(Stop::after(thread, problem.to_owned()));
    }
    // SAFETY: no coroutine runs.
    if let Some((thread, problem)) = unsafe { &*executor }.unfinished_warp() {
        return Err(Stop::after(thread, problem));
    }
    // SAFETY: no coroutine runs.
    if unsafe { &(*executor).pipelines }.is_busy() {
        let problem = "the block ends while a TMA copy is in flight";
        return Err(Stop::after(0, problem.to_owned()));
    }
    Ok(())
}
