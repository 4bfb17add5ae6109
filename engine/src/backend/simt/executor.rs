//! Runs blocks of coroutines, one per CUDA thread, and checks their accesses.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::fmt;

use corosensei::stack::{DefaultStack, Stack};
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::hooks::hooks;
use super::library::{Call, Module, Position};
use super::memory::{Epoch, FIRST_EPOCH, Moment, Region};
use super::tma::Pipelines;
use super::wgmma::{Products, WARPGROUP, Warpgroup};

pub(super) const WARP: usize = 32;
const STACK_BYTES: usize = 128 << 10;

/// Reason why a coroutine suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// Waits for its block, at a source line.
    Barrier(u32),
    /// Waits for its warp, in the warp operation of a source line.
    Exchange(u32),
    /// Waits for its warp, and for all but the given number of wgmma groups.
    Products(u32),
    /// Waits for an mbarrier to complete a phase of this parity.
    Phase { barrier: usize, parity: u32 },
    /// Has failed a check and is never resumed.
    Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Ready,
    Waiting(Pause),
    Done,
}

/// One asynchronous copy; if `valid` is 0, it writes zeros.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copy {
    pub(super) to: u64,
    pub(super) from: u64,
    pub(super) bytes: u32,
    pub(super) valid: u32,
}

/// State of one thread of the block.
#[derive(Debug)]
pub(super) struct Thread {
    pub(super) yielder: *const Yielder<(), Pause>,
    /// Bounds of its stack, whose accesses are not checked.
    stack: (u64, u64),
    pub(super) open_copies: Vec<Copy>,
    pub(super) committed_copies: VecDeque<Vec<Copy>>,
    /// Values for its warp, in two alternating buffers: a lane may be one exchange ahead.
    pub(super) gift: [Vec<u8>; 2],
    pub(super) exchanges: usize,
    pub(super) products: Products,
}

/// The executor's state, on which the hooks of kernels operate.
pub(super) struct Executor {
    /// All buffers of the device, sorted by address.
    pub(super) regions: Vec<Region>,
    pub(super) epoch: Epoch,
    launch_began: Epoch,
    block_began: Epoch,
    stacks: Vec<DefaultStack>,
    pub(super) threads: Vec<Thread>,
    pub(super) current: usize,
    /// Shared memory of the running module.
    pub(super) shared: Region,
    /// Bytes of dynamic shared memory that the launch provides.
    pub(super) dynamic_shared: u32,
    pub(super) pipelines: Pipelines,
    pub(super) warpgroups: Vec<Warpgroup>,
    pub(super) guards: Vec<(u64, u64)>,
    /// Index of the region of the last access, where the next access is likely.
    recent: usize,
    pub(super) fault: Option<String>,
    random: u64,
}

impl fmt::Debug for Executor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Executor({} buffers)", self.regions.len())
    }
}

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
    /// Creates an executor that runs threads and blocks in an order that depends on `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            regions: Vec::new(),
            epoch: FIRST_EPOCH,
            launch_began: FIRST_EPOCH,
            block_began: FIRST_EPOCH,
            stacks: Vec::new(),
            threads: Vec::new(),
            current: 0,
            shared: Region::new(0, 0, true),
            dynamic_shared: 0,
            pipelines: Pipelines::default(),
            warpgroups: Vec::new(),
            guards: Vec::new(),
            recent: 0,
            fault: None,
            random: seed,
        }
    }

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

    pub(super) fn next_random(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea & Flood 2014).
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = (self.next_random() % (last as u64 + 1)) as usize;
            items.swap(last, other);
        }
    }

    pub(super) fn moment(&self) -> Moment {
        Moment {
            thread: self.current as u16,
            epoch: self.epoch,
            block_began: self.block_began,
            launch_began: self.launch_began,
        }
    }

    /// The region that contains an access; `None` for the thread's own stack.
    pub(super) fn region(
        &mut self,
        address: u64,
        bytes: u32,
    ) -> Result<Option<&mut Region>, &'static str> {
        let (low, high) = self.threads[self.current].stack;
        if address >= low && address < high {
            return Ok(None);
        }
        if self.shared.contains(address, bytes) {
            let end = address + u64::from(bytes);
            if self
                .guards
                .iter()
                .any(|&(from, to)| address < to && end > from)
            {
                return Err("is outside every shared array");
            }
            return Ok(Some(&mut self.shared));
        }
        let recent = self.regions.get(self.recent);
        if !recent.is_some_and(|region| region.contains(address, bytes)) {
            let after = self
                .regions
                .partition_point(|region| region.start <= address);
            self.recent = after.wrapping_sub(1);
        }
        match self.regions.get_mut(self.recent) {
            Some(region) if region.contains(address, bytes) => Ok(Some(region)),
            _ => Err("is outside every buffer"),
        }
    }

    pub(super) fn access(
        &mut self,
        address: u64,
        bytes: u32,
        writes: bool,
        aligned: bool,
    ) -> Result<(), String> {
        let now = self.moment();
        let verb = if writes { "write" } else { "read" };
        let describe = |problem: &str| format!("a {verb} of {bytes} bytes {problem}");
        if self.shared.contains(address, bytes) && self.pipelines.owns(address - self.shared.start)
        {
            let outcome = self.access_box(address, bytes, writes);
            return outcome.map_err(|problem| describe(&problem));
        }
        let Some(region) = self.region(address, bytes).map_err(describe)? else {
            return Ok(());
        };
        if aligned && !address.is_multiple_of(u64::from(bytes)) {
            return Err(describe("is not aligned to its size"));
        }
        let outcome = if writes {
            region.write(address, bytes, &now)
        } else {
            region.read(address, bytes, &now)
        };
        let offset = address - region.start;
        let place = if region.per_block {
            "shared memory"
        } else {
            "a buffer"
        };
        outcome.map_err(|problem| format!("at byte {offset} of {place}, it {problem}"))
    }

    pub(super) fn begin_copy(&mut self, copy: Copy) -> Result<(), String> {
        let now = self.moment();
        for (address, bytes) in [(copy.to, copy.bytes), (copy.from, copy.valid)] {
            if bytes > 0 && !address.is_multiple_of(u64::from(copy.bytes)) {
                return Err("an asynchronous copy is not aligned to its size".to_owned());
            }
        }
        if copy.valid > 0 {
            self.access(copy.from, copy.valid, false, true)?;
        }
        let region = self
            .region(copy.to, copy.bytes)
            .map_err(|problem| format!("an asynchronous copy {problem}"))?;
        let region = region.ok_or("an asynchronous copy writes to a thread's stack")?;
        region.begin_copy(copy.to, copy.bytes, &now)?;
        self.threads[self.current].open_copies.push(copy);
        Ok(())
    }

    /// Completes all but the last `pending` groups of copies.
    pub(super) fn wait_copies(&mut self, pending: usize) {
        let now = self.moment();
        while self.threads[self.current].committed_copies.len() > pending {
            let group = self.threads[self.current].committed_copies.pop_front();
            for copy in group.unwrap_or_default() {
                let (to, from) = (copy.to as *mut u8, copy.from as *const u8);
                // SAFETY: both ranges were found inside live memory when the copy began, and memory outlives a launch.
                unsafe {
                    to.write_bytes(0, copy.bytes as usize);
                    to.copy_from_nonoverlapping(from, copy.valid as usize);
                }
                if let Ok(Some(region)) = self.region(copy.to, copy.bytes) {
                    region.finish_write(copy.to, copy.bytes, &now);
                }
            }
        }
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
