//! Launcher for NVIDIA GPUs.
//!
//! The CUDA driver is loaded at run time, so that the program links no CUDA library and also runs without a driver.
//! NVRTC compiles each kernel once for the architecture of the GPU; the result is kept in the cache. All work is queued
//! in one stream. A recording is a CUDA graph.

mod device;
mod fault;
mod instruments;
pub mod nvrtc;
mod pool;
mod staging;
mod tensor_map;

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::fmt::{self, Display};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use cosmogan_kernels::tensor_map::TensorMap;
use cosmogan_kernels::{Launch, Module, Tier};
use cudarc::driver::{result, sys};
use rayon::prelude::*;

pub use device::{CudaDevice, CudaInventory, inventory, is_driver_present};
use device::{describe, set_current};
pub use fault::SYNC_VARIABLE;
use fault::{Faults, Graph};
use instruments::Marks;
use nvrtc::{Nvrtc, Resources, resources};
use pool::{Blocks, Pool, rounded};
use staging::Staging;

use super::Recording;
use super::cache::Cache;
use super::launch::{Allocation, Arguments, Gpu, KernelDevice, Launcher};
use crate::error::{Error, Result};
use crate::profile::Instruments;

/// An NVIDIA GPU.
#[derive(Debug)]
pub struct CudaLauncher(Arc<Shared>);

struct Shared {
    device: CudaDevice,
    gpu: Gpu,
    nvrtc: Nvrtc,
    /// Architecture that kernels are compiled for.
    target: String,
    cache: Cache,
    context: sys::CUcontext,
    stream: sys::CUstream,
    state: Mutex<State>,
    /// Events that a profiler has recorded in the stream.
    marks: Mutex<Marks>,
    /// Whether NVTX is installed; looked up at the first range.
    ranges: OnceLock<bool>,
    faults: Faults,
    /// Whether the stream is synchronised after every launch.
    is_synchronous: bool,
}

struct State {
    pool: Pool,
    staging: Staging,
    modules: HashMap<Module, Loaded>,
    functions: HashMap<(Module, &'static str), sys::CUfunction>,
}

/// A module that the driver has loaded.
struct Loaded {
    handle: sys::CUmodule,
    /// Resources of its kernels, from the compiler's log.
    resources: Vec<Resources>,
}

// SAFETY: the driver's handles may be used from any thread that has made the context current, which every call here
// does first; a lock guards all other state.
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
    /// If there is no driver, no such GPU, or no suitable NVRTC; the message names a remedy.
    pub fn new(number: usize) -> Result<Self> {
        Self::with_cache(number, Cache::of_user())
    }

    /// Opens GPU number `number`, with compiled kernels kept in `cache`.
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
                "there is no GPU number {number}: the driver reports {}, counted from 0",
                inventory.devices.len()
            )));
        };
        let nvrtc = Nvrtc::find(Some(inventory.driver[0]))?;
        let target = nvrtc.target(device.capability)?;
        let failed = |error| describe("open", &device.name, error);
        let is_synchronous = fault::is_synchronous()?;
        let handle = result::device::get(device.number).map_err(failed)?;
        // SAFETY: `handle` is a valid device, and the context is used only while it is retained.
        let context = unsafe { result::primary_ctx::retain(handle) }.map_err(failed)?;
        set_current(context).map_err(failed)?;
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
            }),
            marks: Mutex::default(),
            ranges: OnceLock::new(),
            faults: Faults::default(),
            is_synchronous,
        })))
    }
}

impl Shared {
    /// Locks the state and makes this GPU current on the calling thread.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] after a fault that destroyed the context.
    fn enter(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.faults.check()?;
        set_current(self.context).map_err(|error| self.failed("use", error))?;
        Ok(state)
    }

    /// The error of a failed driver call; `doing` is the attempted action, a verb, e.g. "upload to".
    fn failed(&self, doing: impl Display, error: result::DriverError) -> Error {
        self.faults
            .error(format_args!("{doing} {}", self.device.name), error)
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Architecture that a module is compiled for, e.g. `sm_90a`.
    fn target_of(&self, module: &Module) -> String {
        let accelerated = if module.tier == Tier::Hopper { "a" } else { "" };
        format!("{}{accelerated}", self.target)
    }

    /// Reports whether kernels of `tier` can run here; if not, the reason.
    fn allows(&self, tier: Tier) -> std::result::Result<(), String> {
        self.device.lack(tier, &self.target).map_or(Ok(()), Err)
    }

    /// The handle of a kernel, which is compiled and loaded on first use.
    fn function(&self, state: &mut State, launch: &Launch) -> Result<sys::CUfunction> {
        let key = (launch.module.clone(), launch.kernel.name);
        if let Some(function) = state.functions.get(&key) {
            return Ok(*function);
        }
        let failed = |error| self.failed(format_args!("load {} on", launch.kernel.name), error);
        let module = match state.modules.get(&launch.module) {
            Some(module) => module.handle,
            None => {
                let mut compiled = self.nvrtc.build(
                    &self.cache,
                    &launch.module,
                    &self.target_of(&launch.module),
                )?;
                // The driver reads PTX as a C string.
                compiled.image.push(0);
                // SAFETY: NVRTC compiled the image, which ends with a NUL byte; the driver copies it.
                let handle = unsafe { result::module::load_data(compiled.image.as_ptr().cast()) }
                    .map_err(failed)?;
                let loaded = Loaded {
                    handle,
                    resources: resources(&compiled.log),
                };
                state.modules.insert(launch.module.clone(), loaded);
                handle
            }
        };
        let name = CString::new(launch.kernel.name).unwrap_or_default();
        // SAFETY: modules stay loaded until `Shared` is dropped.
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

    /// The error of an allocation that exceeds the free memory of the GPU.
    fn out_of_memory(&self, state: &State, wanted: usize) -> Error {
        let (free, total) = result::mem_get_info().unwrap_or((0, 0));
        let gib = |bytes: usize| bytes as f64 / f64::from(1 << 30);
        Error::Device(format!(
            "out of memory on {}: {:.2} GiB requested, {:.2} GiB used by this program, {:.2} of {:.2} GiB free; use a smaller --batch, or close other programs on the GPU",
            self.device.name,
            gib(wanted),
            gib(state.pool.used),
            gib(free),
            gib(total),
        ))
    }
}

impl KernelDevice for CudaLauncher {
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
        let _state = self.0.enter()?;
        tensor_map::encode(map, address)
    }

    fn prepare(&self, modules: &[Module]) {
        // Compiles into the cache, on all cores. Without a cache, each module is compiled on first use.
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
                // SAFETY: each allocation is freed once, through `drain`, here or in `Shared::drop`.
                let fresh = unsafe { result::malloc_sync(size) }.or_else(|error| {
                    let is_full = error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY;
                    if !is_full || state.pool.is_recording() {
                        return Err(error);
                    }
                    // Free the pool's blocks of other sizes and try again.
                    for block in state.pool.drain() {
                        // SAFETY: blocks in the pool are not in use; `free_sync` waits for the device.
                        unsafe { result::free_sync(block) }?;
                    }
                    // SAFETY: as above.
                    unsafe { result::malloc_sync(size) }
                });
                let fresh = fresh.map_err(|error| {
                    if error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
                        return self.0.out_of_memory(&state, size);
                    }
                    let mib = size as f64 / f64::from(1 << 20);
                    self.0
                        .failed(format_args!("allocate {mib:.2} MiB on"), error)
                })?;
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
            .map_err(|error| self.0.failed("upload to", error))
    }

    fn read(&self, from: &dyn Allocation, values: &mut [f32]) -> Result<()> {
        let mut state = self.copying()?;
        state
            .staging
            .download(from.address(), values, self.0.stream)
            .map_err(|error| self.0.failed("download from", error))?;
        if !values.is_empty() {
            // The copy has completed, and with it everything queued before.
            self.0.faults.confirmed();
        }
        Ok(())
    }
}

impl Launcher for CudaLauncher {
    fn device(&self) -> &dyn KernelDevice {
        self
    }

    fn launch(&self, launch: &Launch, arguments: &Arguments) -> Result<()> {
        let mut state = self.0.enter()?;
        let function = self.0.function(&mut state, launch)?;
        let mut arguments = arguments.clone();
        let mut pointers: Vec<*mut c_void> = arguments.pointers();
        let ([x, y, z], [width, height, depth]) = (launch.grid, launch.block);
        // SAFETY: the operator writes the arguments that this kernel declares, which the kernel executor (`simt`)
        // checks for every kernel; the driver copies them before it returns.
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
            let doing = format!(
                "launch kernel {}, grid {:?} of blocks {:?}, on",
                launch.kernel.name, launch.grid, launch.block
            );
            self.0.failed(doing, error)
        })?;
        self.0.faults.launched(launch);
        if self.0.is_synchronous {
            // SAFETY: the stream is alive, and nothing is captured in synchronous mode.
            unsafe { result::stream::synchronize(self.0.stream) }.map_err(|error| {
                self.0
                    .faults
                    .kernel_error(launch, &self.0.device.name, error)
            })?;
            self.0.faults.confirmed();
        }
        Ok(())
    }

    fn record(&self, body: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Recording>> {
        if self.0.is_synchronous {
            return Err(Error::Device(format!(
                "{SYNC_VARIABLE}=1 waits for every kernel, which a CUDA graph does not allow; unset it"
            )));
        }
        let relaxed = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        {
            let mut state = self.0.enter()?;
            if state.pool.is_recording() {
                return Err(Error::Device(
                    "a recording is already in progress".to_owned(),
                ));
            }
            // SAFETY: the stream is alive.
            unsafe { result::stream::begin_capture(self.0.stream, relaxed) }
                .map_err(|error| self.0.failed("capture a CUDA graph on", error))?;
            state.pool.begin_recording();
            self.0.faults.begin_capture();
        }
        let outcome = body();
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = state.pool.end_recording();
        let captured = self.0.faults.end_capture();
        if let Err(error) = self.0.faults.check() {
            state.pool.release(kept);
            outcome?;
            return Err(error);
        }
        // SAFETY: the stream is alive and capturing.
        let graph = unsafe { result::stream::end_capture(self.0.stream) };
        let executable = graph.and_then(|graph| {
            // SAFETY: the graph is alive and is not used after its instantiation.
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
                graph: captured,
                kept,
                shared: Arc::clone(&self.0),
            })),
            (outcome, executable) => {
                state.pool.release(kept);
                outcome?;
                let error = executable.err();
                Err(error.map_or_else(
                    || Error::Device("the captured CUDA graph is empty".to_owned()),
                    |error| self.0.failed("capture a CUDA graph on", error),
                ))
            }
        }
    }

    fn instruments(&self) -> Option<&dyn Instruments> {
        Some(self)
    }
}

impl Drop for Shared {
    /// Releases everything. At the end of the process the driver may be unloaded already; nothing is released then.
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if self.faults.check().is_err() || set_current(self.context).is_err() {
            return;
        }
        // SAFETY: nothing else uses these handles, and the stream is synchronised first.
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
                let _ = result::module::unload(module.handle);
            }
            let _ = result::stream::destroy(self.stream);
            let _ = result::device::get(self.device.number)
                .and_then(|handle| result::primary_ctx::release(handle));
        }
    }
}

impl CudaLauncher {
    /// Locks the state for a copy, which a recording cannot contain.
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

/// An executable CUDA graph and the memory that its kernels use.
#[derive(Debug)]
struct CudaRecording {
    executable: sys::CUgraphExec,
    graph: Arc<Graph>,
    kept: Blocks,
    shared: Arc<Shared>,
}

// SAFETY: as for `Shared`.
unsafe impl Send for CudaRecording {}

impl Recording for CudaRecording {
    fn replay(&self) -> Result<()> {
        let _state = self.shared.enter()?;
        // SAFETY: graph and stream are alive.
        unsafe { result::graph::launch(self.executable, self.shared.stream) }
            .map_err(|error| self.shared.failed("replay a CUDA graph on", error))?;
        self.shared.faults.replayed(&self.graph);
        Ok(())
    }
}

impl Drop for CudaRecording {
    fn drop(&mut self) {
        let Ok(mut state) = self.shared.enter() else {
            return;
        };
        // SAFETY: the graph is alive and not used again; the driver waits for queued replays. A failure leaks it.
        let _ = unsafe { result::graph::exec_destroy(self.executable) };
        state.pool.release(std::mem::take(&mut self.kept));
    }
}
