//! The kernel executor (`simt`): CUDA kernels on a CPU, thread by thread, with every access checked.
//!
//! The sources that NVRTC compiles for a GPU are compiled by the host's C++ compiler with the header
//! `kernels/simt/simt.h`. Each CUDA thread is a coroutine; it may be suspended at barriers, warp operations and
//! asynchronous copies. A launch fails with one line that names kernel, block and thread (and, if `addr2line` of binutils
//! is installed, the source line) if a thread
//!
//! * accesses memory outside every buffer and every shared array, or without alignment to the size of the access;
//! * reads memory that was never written, or the target of an asynchronous copy in flight;
//! * accesses a value that another thread writes without a barrier between them, in shared or in global memory;
//! * waits at a barrier, or in a warp operation, that not all other threads reach;
//! * reads a TMA box without waiting for it, starts a copy to memory that another warp may still read, or waits for an
//!   mbarrier that no other thread can complete;
//! * issues other wgmma operations than the other warps of its warpgroup.
//!
//! A launch also fails before it starts if it needs more shared memory than the smallest GPU that supports such
//! kernels has.
//!
//! Threads and blocks run in an order that depends on a seed, of which results must be independent. The executor is
//! some hundred times slower than the CPU backend; it serves verification, not production.

mod block;
mod compile;
mod executor;
mod hooks;
mod library;
mod lines;
mod mbarrier;
mod memory;
mod products;
mod schedule;
mod tma;
mod wgmma;

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cosmogan_kernels::tensor_map::TensorMap;
use cosmogan_kernels::{DECLARED_SHARED_BYTES, Launch};

use self::block::Job;
use self::compile::Compiler;
use self::executor::Executor;
use self::memory::Region;
use super::Recording;
use super::cache::Cache;
use super::launch::{Allocation, Arguments, KernelDevice, Launcher};
use crate::error::{Error, Result};

/// The executor as a device.
#[derive(Debug)]
pub struct SimtLauncher(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    compiler: Compiler,
    cache: Cache,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    executor: Executor,
    modules: HashMap<cosmogan_kernels::Module, library::Module>,
    /// Launches of the current recording.
    recording: Option<Vec<(Launch, Arguments)>>,
    /// Memory that was dropped during the current recording.
    kept: Vec<Vec<u64>>,
}

// SAFETY: the raw pointers refer to coroutine stacks and modules that only the holder of the lock uses.
unsafe impl Send for State {}

impl SimtLauncher {
    /// Creates an executor that runs threads and blocks in an order given by `seed`.
    ///
    /// # Errors
    /// If there is no C++ compiler, or the folder in `COSMOGAN_KERNELS` cannot be read.
    pub fn new(seed: u64) -> Result<Self> {
        Self::with_cache(seed, Cache::of_user())
    }

    /// Creates an executor that stores compiled kernels in `cache`.
    ///
    /// # Errors
    /// As [`SimtLauncher::new`].
    pub fn with_cache(seed: u64, cache: Cache) -> Result<Self> {
        Ok(Self(Arc::new(Shared {
            compiler: Compiler::find()?,
            cache,
            state: Mutex::new(State {
                executor: Executor::new(seed),
                modules: HashMap::new(),
                recording: None,
                kept: Vec::new(),
            }),
        })))
    }

    /// Source files of the kernels launched so far.
    pub fn sources(&self) -> BTreeSet<&'static str> {
        let state = self.0.lock();
        state.modules.keys().map(|module| module.source).collect()
    }

    /// Checks that the shared memory of a launch fits every supported GPU.
    ///
    /// The kernel is compiled, but does not run.
    ///
    /// # Errors
    /// If it does not, or the kernel does not compile.
    pub fn check_shared_memory(&self, launch: &Launch) -> Result<()> {
        let source = self.0.compiler.sources.family(launch.kernel.source);
        let mut state = self.0.lock();
        let module = self.0.module(&mut state.modules, source, launch)?;
        check_shared(launch, module.declared_bytes(launch.kernel.name))
    }

    /// Launches a kernel from the given source, for example one with an injected fault.
    ///
    /// # Errors
    /// If it does not compile, its parameters do not match, or a check fails.
    pub fn launch_source(
        &self,
        source: &str,
        launch: &Launch,
        arguments: &Arguments,
    ) -> Result<()> {
        let mut state = self.0.lock();
        if let Some(recording) = &mut state.recording {
            recording.push((launch.clone(), arguments.clone()));
            return Ok(());
        }
        let State {
            executor, modules, ..
        } = &mut *state;
        let module = self.0.module(modules, source, launch)?;
        check_shared(launch, module.declared_bytes(launch.kernel.name))?;
        let mut arguments = arguments.clone();
        let call = module.kernel(launch.kernel.name, &arguments.sizes())?;
        let mut pointers = arguments.pointers();
        let job = Job {
            name: launch.kernel.name,
            module,
            call,
            arguments: pointers.as_mut_ptr(),
            grid: launch.grid,
            block: launch.block,
            dynamic_shared: launch.shared_bytes,
        };
        executor.run(job).map_err(Error::Device)
    }
}

impl Shared {
    /// Returns the module of a launch, compiled and loaded at first use.
    fn module<'a>(
        &self,
        modules: &'a mut HashMap<cosmogan_kernels::Module, library::Module>,
        source: &str,
        launch: &Launch,
    ) -> Result<&'a library::Module> {
        Ok(match modules.entry(launch.module.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let bytes = self.compiler.build(&self.cache, &launch.module, source)?;
                entry.insert(library::Module::load(bytes)?)
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KernelDevice for SimtLauncher {
    fn description(&self) -> String {
        format!("simt ({})", self.0.compiler.version)
    }

    fn notice(&self) -> Option<String> {
        self.0.cache.probe()
    }

    fn free_memory(&self) -> usize {
        // Host memory. The executor is meant for small problems.
        1 << 30
    }

    fn tiled_kernels(&self) -> std::result::Result<(), String> {
        Ok(())
    }

    fn hopper_kernels(&self) -> std::result::Result<usize, String> {
        // Few, so that blocks take several tiles each even for small shapes.
        Ok(3)
    }

    fn tensor_map(&self, map: &TensorMap, address: u64) -> Result<[u8; 128]> {
        map.check().map_err(Error::Device)?;
        let mut bytes = [0; 128];
        let words = tma::encode(map, address);
        for (to, word) in bytes.chunks_mut(8).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        Ok(bytes)
    }

    fn allocate(&self, bytes: usize) -> Result<Box<dyn Allocation>> {
        // Every value is NaN; a guard on both sides separates neighbouring buffers.
        let words = bytes.div_ceil(8) + 2 * GUARD_WORDS;
        let memory = vec![POISON; words];
        let allocation = SimtMemory {
            memory,
            shared: Arc::clone(&self.0),
        };
        let region = Region::new(allocation.address(), bytes, false);
        let regions = &mut self.0.lock().executor.regions;
        let at = regions.partition_point(|other| other.start < region.start);
        regions.insert(at, region);
        Ok(Box::new(allocation))
    }

    fn write(&self, to: &dyn Allocation, first: usize, values: &[f32]) -> Result<()> {
        let end = first + values.len();
        self.with_region(to, end, |region| {
            region.written_by_host(4 * first..4 * end);
            let to = region.start as *mut f32;
            // SAFETY: the region is live memory of this launcher, aligned to 8, with room for all values up to the
            // last of these; nothing else uses it while the state is locked.
            unsafe {
                to.add(first)
                    .copy_from_nonoverlapping(values.as_ptr(), values.len())
            };
        })
    }

    fn read(&self, from: &dyn Allocation, values: &mut [f32]) -> Result<()> {
        self.with_region(from, values.len(), |region| {
            let from = region.start as *const f32;
            // SAFETY: as in `write`; memory that no kernel wrote holds NaN.
            unsafe { from.copy_to_nonoverlapping(values.as_mut_ptr(), values.len()) };
        })
    }
}

impl Launcher for SimtLauncher {
    fn device(&self) -> &dyn KernelDevice {
        self
    }

    fn launch(&self, launch: &Launch, arguments: &Arguments) -> Result<()> {
        let source = self.0.compiler.sources.family(launch.kernel.source);
        self.launch_source(source, launch, arguments)
    }

    fn record(&self, body: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Recording>> {
        {
            let mut state = self.0.lock();
            if state.recording.is_some() {
                return Err(Error::Device(
                    "a recording is already in progress".to_owned(),
                ));
            }
            state.recording = Some(Vec::new());
        }
        let outcome = body();
        let mut state = self.0.lock();
        let launches = state.recording.take().unwrap_or_default();
        let kept = std::mem::take(&mut state.kept);
        let recording = SimtRecording {
            launches,
            kept,
            launcher: Self(Arc::clone(&self.0)),
        };
        drop(state);
        outcome?;
        Ok(Box::new(recording))
    }
}

impl SimtLauncher {
    /// Runs `action` on the region of an allocation after checking that it has room for `values` values.
    fn with_region(
        &self,
        allocation: &dyn Allocation,
        values: usize,
        action: impl FnOnce(&mut Region),
    ) -> Result<()> {
        let mut state = self.0.lock();
        if state.recording.is_some() {
            return Err(Error::Device(
                "memory cannot be copied while launches are recorded".to_owned(),
            ));
        }
        let start = allocation.address();
        let regions = &mut state.executor.regions;
        let found = regions.binary_search_by_key(&start, |region| region.start);
        match found.ok().and_then(|index| regions.get_mut(index)) {
            Some(region) if region.end - region.start >= 4 * values as u64 => {
                action(region);
                Ok(())
            }
            _ => Err(Error::Device(format!(
                "a buffer has no room for {values} values"
            ))),
        }
    }
}

/// Rejects a launch that needs more shared memory than the smallest GPU of its tier has.
fn check_shared(launch: &Launch, declared: u64) -> Result<()> {
    let (kernel, given) = (launch.kernel, u64::from(launch.shared_bytes));
    let room = u64::from(kernel.tier.shared_bytes());
    if declared + given > room {
        return Err(Error::Device(format!(
            "kernel {}: {declared} bytes of static and {given} of dynamic shared memory exceed the {room} bytes of a block on GPUs for {:?} kernels",
            kernel.name, kernel.tier
        )));
    }
    if declared > u64::from(DECLARED_SHARED_BYTES) {
        return Err(Error::Device(format!(
            "kernel {}: {declared} bytes of static shared memory exceed the limit of {DECLARED_SHARED_BYTES}; use dynamic shared memory",
            kernel.name
        )));
    }
    Ok(())
}

const GUARD_WORDS: usize = 16;
/// Two quiet NaNs.
const POISON: u64 = 0x7fc0_0000_7fc0_0000;

/// Host memory that is registered with the executor while it lives.
#[derive(Debug)]
struct SimtMemory {
    memory: Vec<u64>,
    shared: Arc<Shared>,
}

impl Allocation for SimtMemory {
    fn address(&self) -> u64 {
        // 16-byte copies need more than the alignment of a vector.
        (self.memory.as_ptr() as u64 + 8 * GUARD_WORDS as u64 / 2).next_multiple_of(64)
    }
}

impl Drop for SimtMemory {
    fn drop(&mut self) {
        let address = self.address();
        let mut state = self.shared.lock();
        if state.recording.is_some() {
            // The recorded launches still use it.
            let memory = std::mem::take(&mut self.memory);
            state.kept.push(memory);
            return;
        }
        forget(&mut state, address);
    }
}

/// Unregisters a region.
fn forget(state: &mut State, address: u64) {
    let regions = &mut state.executor.regions;
    if let Ok(index) = regions.binary_search_by_key(&address, |region| region.start) {
        regions.remove(index);
    }
}

/// Recorded launches with their arguments, and the memory that they use.
struct SimtRecording {
    launches: Vec<(Launch, Arguments)>,
    kept: Vec<Vec<u64>>,
    launcher: SimtLauncher,
}

impl std::fmt::Debug for SimtRecording {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SimtRecording({} launches)", self.launches.len())
    }
}

impl Recording for SimtRecording {
    fn replay(&self) -> Result<()> {
        self.launches
            .iter()
            .try_for_each(|(launch, arguments)| self.launcher.launch(launch, arguments))
    }
}

impl Drop for SimtRecording {
    fn drop(&mut self) {
        let mut state = self.launcher.0.lock();
        for memory in &self.kept {
            let low = memory.as_ptr() as u64;
            let high = low + 8 * memory.len() as u64;
            state
                .executor
                .regions
                .retain(|region| region.start < low || region.start >= high);
        }
    }
}
