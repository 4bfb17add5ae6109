//! NVIDIA GPUs, through their driver: nothing is linked, and nothing happens where no driver is installed.
//!
//! Kernels are compiled by NVRTC for the very GPU that is there, once, and kept in the cache. One stream takes all work
//! in order. A recording is a CUDA graph.

mod device;
mod instruments;
pub mod nvrtc;
mod pool;
mod staging;
mod tensor_map;

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use cosmogan_kernels::tensor_map::TensorMap;
use cosmogan_kernels::{Launch, Module, Tier};
use cudarc::driver::{result, sys};
use rayon::prelude::*;

pub use device::{CudaDevice, CudaInventory, inventory, is_driver_present};
use device::{describe, set_current};
use instruments::Marks;
use nvrtc::{Nvrtc, Resources};
use pool::{Blocks, Pool, rounded};
use staging::Staging;

use super::cache::Cache;
use super::launch::{Allocation, Arguments, Gpu, Launcher, Recording};
use crate::error::{Error, Result};
use crate::profile::Instruments;

/// A GPU.
#[derive(Debug)]
pub struct CudaLauncher(Arc<Shared>);

struct Shared {
    device: CudaDevice,
    gpu: Gpu,
    nvrtc: Nvrtc,
    /// What kernels are compiled for.
    target: String,
    cache: Cache,
    context: sys::CUcontext,
    stream: sys::CUstream,
    state: Mutex<State>,
    /// Where in the stream a profiler has left marks.
    marks: Mutex<Marks>,
    /// Whether a library takes the names of ranges, for other profilers to show; looked for when there is the first.
    ranges: OnceLock<bool>,
    /// What the compiler says of modules that a profiler has asked about.
    compiled: Mutex<HashMap<Module, Vec<Resources>>>,
}

struct State {
    pool: Pool,
    staging: Staging,
    modules: HashMap<Module, sys::CUmodule>,
    functions: HashMap<(Module, &'static str), sys::CUfunction>,
    /// The kernel that was queued last: errors surface later than they happen.
    last: &'static str,
}

// SAFETY: the driver's handles may be used from any thread that has made the context current, which every call here
// does first; what is not thread-safe is behind the lock.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Cuda({}, {})", self.device.name, self.target)
    }
}

impl CudaLauncher {
    /// Opens GPU number `number`.
    ///
    /// # Errors
    /// Where there is no driver, no such GPU, or no NVRTC that fits; the message says what to do.
    pub fn new(number: usize) -> Result<Self> {
        Self::with_cache(number, Cache::of_user())
    }

    /// The same, with compiled kernels kept in `cache`.
    ///
    /// # Errors
    /// As [`CudaLauncher::new`].
    pub fn with_cache(number: usize, cache: Cache) -> Result<Self> {
        let inventory = inventory()?;
        let (Some(device), Some(gpu)) = (
            inventory.devices.get(number).cloned(),
            inventory.gpu(number),
        ) else {
            return Err(Error::Device(format!(
                "there is no GPU number {number}: the driver shows {}, counted from 0",
                inventory.devices.len()
            )));
        };
        let nvrtc = Nvrtc::find(Some(inventory.driver[0]))?;
        let target = nvrtc.target(device.capability)?;
        let failed = |error| describe("open", &device.name, error);
        let handle = result::device::get(device.number).map_err(failed)?;
        // SAFETY: `handle` is a device, and the context is used only while it is retained.
        let context = unsafe { result::primary_ctx::retain(handle) }.map_err(failed)?;
        set_current(context)?;
        let stream =
            result::stream::create(result::stream::StreamKind::NonBlocking).map_err(failed)?;
        Ok(Self(Arc::new(Shared {
            device,
            gpu,
            nvrtc,
            target,
            cache,
            context,
            stream,
            state: Mutex::new(State {
                pool: Pool::default(),
                staging: Staging::default(),
                modules: HashMap::new(),
                functions: HashMap::new(),
                last: "none",
            }),
            marks: Mutex::default(),
            ranges: OnceLock::new(),
            compiled: Mutex::default(),
        })))
    }
}

impl Shared {
    /// The state, with this GPU current on this thread.
    fn enter(&self) -> Result<MutexGuard<'_, State>> {
        set_current(self.context)?;
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a module is compiled for.
    fn target_of(&self, module: &Module) -> String {
        let accelerated = if module.tier() == Tier::Hopper {
            "a"
        } else {
            ""
        };
        format!("{}{accelerated}", self.target)
    }

    /// Whether kernels of `tier` run here, or why they do not.
    fn allows(&self, tier: Tier) -> std::result::Result<(), String> {
        self.device.lack(tier, &self.target).map_or(Ok(()), Err)
    }

    /// The handle of a kernel, compiled and loaded on first use.
    fn function(&self, state: &mut State, launch: &Launch) -> Result<sys::CUfunction> {
        let key = (launch.module.clone(), launch.kernel.name);
        if let Some(function) = state.functions.get(&key) {
            return Ok(*function);
        }
        let failed = |error| describe("load", launch.kernel.name, error);
        let module = match state.modules.get(&launch.module) {
            Some(module) => *module,
            None => {
                let mut image = self.nvrtc.build(
                    &self.cache,
                    &launch.module,
                    &self.target_of(&launch.module),
                )?;
                // PTX is text, and the driver looks for its end.
                image.push(0);
                // SAFETY: the image is what NVRTC made, and ends with 0; the driver copies it.
                let module =
                    unsafe { result::module::load_data(image.as_ptr().cast()) }.map_err(failed)?;
                state.modules.insert(launch.module.clone(), module);
                module
            }
        };
        let name = CString::new(launch.kernel.name).unwrap_or_default();
        // SAFETY: modules are unloaded in the end.
        let function = unsafe { result::module::get_function(module, name) }.map_err(failed)?;
        if launch.shared_bytes > 0 {
            use sys::CUfunction_attribute as Attribute;
            let most = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function exists.
            unsafe {
                result::function::set_function_attribute(function, most, launch.shared_bytes as i32)
            }
            .map_err(failed)?;
        }
        state.functions.insert(key, function);
        Ok(function)
    }

    /// An error of the stream, which may stem from any kernel queued before.
    fn failed(&self, state: &State, what: &str, error: result::DriverError) -> Error {
        describe(
            what,
            &format!("{} (last kernel queued: {})", self.device.name, state.last),
            error,
        )
    }

    /// What to say when there is no memory.
    fn out_of_memory(&self, state: &State, wanted: usize) -> Error {
        let (free, total) = result::mem_get_info().unwrap_or((0, 0));
        let gib = |bytes: usize| bytes as f64 / f64::from(1 << 30);
        Error::Device(format!(
            "out of memory on {}: {:.2} GiB wanted, {:.2} GiB used by this program, {:.2} of {:.2} GiB free; use a smaller --batch, or close what else uses the GPU",
            self.device.name,
            gib(wanted),
            gib(state.pool.used),
            gib(free),
            gib(total),
        ))
    }
}

impl Launcher for CudaLauncher {
    fn description(&self) -> String {
        let device = &self.0.device;
        format!(
            "cuda:{} ({}, {})",
            device.number, device.name, self.0.target
        )
    }

    fn notice(&self) -> Option<String> {
        self.0.cache.probe()
    }

    fn free_memory(&self) -> usize {
        let Ok(state) = self.0.enter() else { return 0 };
        result::mem_get_info().map_or(0, |(free, _)| free + state.pool.cached)
    }

    fn tiled_kernels(&self) -> std::result::Result<(), String> {
        self.0
            .allows(Tier::Tiled)
            .map_err(|lack| format!("{lack}; use --precision f32"))
    }

    fn hopper_kernels(&self) -> std::result::Result<usize, String> {
        self.0.allows(Tier::Hopper)?;
        let multiprocessors = self.0.device.multiprocessors;
        Ok(usize::try_from(multiprocessors).unwrap_or(1).max(1))
    }

    fn gpu(&self) -> Option<&Gpu> {
        Some(&self.0.gpu)
    }

    fn tensor_map(&self, map: &TensorMap, address: u64) -> Result<[u8; 128]> {
        set_current(self.0.context)?;
        tensor_map::encode(map, address)
    }

    fn prepare(&self, modules: &[Module]) {
        // Into the cache, on all cores; where there is no cache, every module is compiled when it is first used.
        if self.0.cache.folder().is_some() {
            modules.par_iter().for_each(|module| {
                let target = self.0.target_of(module);
                let _ = self.0.nvrtc.build(&self.0.cache, module, &target);
            });
        }
    }

    fn allocate(&self, bytes: usize) -> Result<Box<dyn Allocation>> {
        let size = rounded(bytes);
        let mut state = self.0.enter()?;
        let address = match state.pool.take(size) {
            Some(address) => address,
            None => {
                // SAFETY: allocations are freed once, by `drain` here or in the end.
                let fresh = unsafe { result::malloc_sync(size) }.or_else(|error| {
                    if state.pool.is_recording() {
                        return Err(error);
                    }
                    // What waits in other sizes may make room.
                    for block in state.pool.drain() {
                        // SAFETY: nobody holds a block that waits; freeing waits for the device.
                        unsafe { result::free_sync(block) }?;
                    }
                    // SAFETY: as above.
                    unsafe { result::malloc_sync(size) }
                });
                let fresh = fresh.map_err(|_| self.0.out_of_memory(&state, size))?;
                state.pool.added(size);
                fresh
            }
        };
        Ok(Box::new(CudaMemory {
            address,
            size,
            shared: Arc::clone(&self.0),
        }))
    }

    fn write(&self, to: &dyn Allocation, first: usize, values: &[f32]) -> Result<()> {
        let mut state = self.copying()?;
        state
            .staging
            .upload(to.address() + 4 * first as u64, values, self.0.stream)
            .map_err(|error| self.0.failed(&state, "upload to", error))
    }

    fn read(&self, from: &dyn Allocation, values: &mut [f32]) -> Result<()> {
        let mut state = self.copying()?;
        state
            .staging
            .download(from.address(), values, self.0.stream)
            .map_err(|error| self.0.failed(&state, "download from", error))
    }

    fn launch(&self, launch: &Launch, arguments: &Arguments) -> Result<()> {
        let mut state = self.0.enter()?;
        let function = self.0.function(&mut state, launch)?;
        state.last = launch.kernel.name;
        let mut arguments = arguments.clone();
        let mut pointers: Vec<*mut c_void> = arguments.pointers();
        let ([x, y, z], [width, height, depth]) = (launch.grid, launch.block);
        // SAFETY: the arguments are those that the operator writes for this kernel, checked for each by the executor
        // on a processor; the driver copies them before it returns.
        let outcome = unsafe {
            result::launch_kernel(
                function,
                (x, y, z),
                (width, height, depth),
                launch.shared_bytes,
                self.0.stream,
                &mut pointers,
            )
        };
        outcome.map_err(|error| {
            describe(
                "launch",
                &format!(
                    "kernel {}, grid {:?} of blocks {:?} on {}",
                    launch.kernel.name, launch.grid, launch.block, self.0.device.name
                ),
                error,
            )
        })
    }

    fn record(&self, body: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Recording>> {
        let relaxed = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        {
            let mut state = self.0.enter()?;
            if state.pool.is_recording() {
                return Err(Error::Device("a recording is already under way".to_owned()));
            }
            // SAFETY: the stream is alive.
            unsafe { result::stream::begin_capture(self.0.stream, relaxed) }
                .map_err(|error| self.0.failed(&state, "record on", error))?;
            state.pool.begin_recording();
        }
        let outcome = body();
        let mut state = self.0.enter()?;
        let kept = state.pool.end_recording();
        // SAFETY: the stream is alive and capturing.
        let graph = unsafe { result::stream::end_capture(self.0.stream) };
        let executable = graph.and_then(|graph| {
            // SAFETY: the graph is alive, and is not needed once it is instantiated.
            unsafe {
                let executable =
                    result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0));
                result::graph::destroy(graph)?;
                executable
            }
        });
        match (outcome, executable) {
            (Ok(()), Ok(executable)) => Ok(Box::new(CudaRecording {
                executable,
                kept,
                shared: Arc::clone(&self.0),
            })),
            (outcome, executable) => {
                state.pool.release(kept);
                outcome?;
                let error = executable.err();
                Err(error.map_or_else(
                    || Error::Device("nothing was recorded".to_owned()),
                    |error| self.0.failed(&state, "record on", error),
                ))
            }
        }
    }

    fn instruments(&self) -> Option<&dyn Instruments> {
        Some(self)
    }
}

impl Drop for Shared {
    /// Gives everything back. At the end of a process the driver may be gone already: then there is nothing to do.
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if set_current(self.context).is_err() {
            return;
        }
        // SAFETY: nothing else holds these handles any more, and the stream has run out.
        unsafe {
            let _ = result::stream::synchronize(self.stream);
            for block in state.pool.drain() {
                let _ = result::free_sync(block);
            }
            state.staging.free();
            self.marks
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
            for module in state.modules.values() {
                let _ = result::module::unload(*module);
            }
            let _ = result::stream::destroy(self.stream);
            let _ = result::device::get(self.device.number)
                .and_then(|handle| result::primary_ctx::release(handle));
        }
    }
}

impl CudaLauncher {
    /// The state, for copying, which a recording cannot hold.
    fn copying(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.0.enter()?;
        if state.pool.is_recording() {
            return Err(Error::Device(
                "memory cannot be copied while launches are recorded".to_owned(),
            ));
        }
        Ok(state)
    }
}

/// A block of device memory.
#[derive(Debug)]
struct CudaMemory {
    address: u64,
    size: usize,
    shared: Arc<Shared>,
}

impl Allocation for CudaMemory {
    fn address(&self) -> u64 {
        self.address
    }
}

impl Drop for CudaMemory {
    fn drop(&mut self) {
        let mut state = self
            .shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        state.pool.give_back(self.size, self.address);
    }
}

/// A CUDA graph, with the memory between its launches.
#[derive(Debug)]
struct CudaRecording {
    executable: sys::CUgraphExec,
    kept: Blocks,
    shared: Arc<Shared>,
}

// SAFETY: as for `Shared`.
unsafe impl Send for CudaRecording {}

impl Recording for CudaRecording {
    fn replay(&self) -> Result<()> {
        let state = self.shared.enter()?;
        // SAFETY: graph and stream are alive.
        unsafe { result::graph::launch(self.executable, self.shared.stream) }
            .map_err(|error| self.shared.failed(&state, "replay on", error))
    }
}

impl Drop for CudaRecording {
    fn drop(&mut self) {
        let Ok(mut state) = self.shared.enter() else {
            return;
        };
        // SAFETY: the graph is alive and not used again; the driver waits for what is queued. A failure leaks it.
        let _ = unsafe { result::graph::exec_destroy(self.executable) };
        state.pool.release(std::mem::take(&mut self.kept));
    }
}
