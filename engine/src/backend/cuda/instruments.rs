//! Event timing on the GPU, kernel resources, and NVTX ranges.

use std::ffi::CString;

use cosmogan_kernels::Launch;
use cudarc::driver::{result, sys};
use cudarc::nvtx;

use super::{CudaLauncher, Shared};
use crate::backend::launch::Allocation;
use crate::error::{Error, Result};
use crate::profile::{Instruments, KernelResources};

/// Events recorded in the stream, indexed by mark number.
#[derive(Debug, Default)]
pub(super) struct Marks(Vec<sys::CUevent>);

// SAFETY: the driver's handles may be used from any thread that has made the context current; a lock guards the list.
unsafe impl Send for Marks {}

impl Marks {
    /// Destroys all events; their device must be current.
    pub(super) fn clear(&mut self) {
        for event in self.0.drain(..) {
            // SAFETY: the event was created by `mark` and is not used again. A failure leaks it.
            let _ = unsafe { result::event::destroy(event) };
        }
    }

    fn get(&self, mark: u64) -> Result<sys::CUevent> {
        let index = usize::try_from(mark).ok();
        let event = index.and_then(|index| self.0.get(index)).copied();
        event.ok_or_else(|| Error::Device(format!("mark {mark} was cleared")))
    }
}

impl Shared {
    fn has_ranges(&self) -> bool {
        // SAFETY: NVIDIA's library has no initialisers with preconditions.
        *self
            .ranges
            .get_or_init(|| unsafe { nvtx::sys::is_culib_present() })
    }

    fn attribute(&self, attribute: sys::CUdevice_attribute) -> Option<i32> {
        let device = result::device::get(self.device.number).ok()?;
        // SAFETY: `device` is a valid device.
        unsafe { result::device::get_attribute(device, attribute) }.ok()
    }

    fn function_attribute(
        &self,
        function: sys::CUfunction,
        attribute: sys::CUfunction_attribute_enum,
    ) -> Result<u32> {
        // SAFETY: the function belongs to a loaded module.
        let value = unsafe { result::function::get_function_attribute(function, attribute) }
            .map_err(|error| self.failed("query a kernel's resources on", error))?;
        Ok(u32::try_from(value).unwrap_or(0))
    }
}

type Elapsed = unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> sys::CUresult;

/// Milliseconds between two events.
///
/// Calls `cuEventElapsedTime`, which every driver has; the function that the bindings call exists only from CUDA 12.8.
///
/// # Safety
/// Both events must be alive and completed.
unsafe fn elapsed(
    from: sys::CUevent,
    to: sys::CUevent,
) -> Result<std::result::Result<f32, result::DriverError>> {
    // SAFETY: the driver is loaded, and this is the function's type since CUDA 2.
    let function = unsafe { sys::culib().get::<Elapsed>(b"cuEventElapsedTime\0") };
    let function = function
        .map_err(|error| Error::Device(format!("the driver cannot time launches: {error}")))?;
    let mut milliseconds = 0.0;
    // SAFETY: the caller guarantees that both events are alive and completed.
    let outcome = unsafe { function(&raw mut milliseconds, from, to) };
    Ok(outcome.result().map(|()| milliseconds))
}

impl Instruments for CudaLauncher {
    fn mark(&self) -> Result<u64> {
        let _state = self.0.enter()?;
        let failed = |error| self.0.failed("time work on", error);
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).map_err(failed)?;
        // SAFETY: event and stream are alive.
        unsafe { result::event::record(event, self.0.stream) }.map_err(failed)?;
        let mut marks = self.0.marks();
        marks.0.push(event);
        Ok(marks.0.len() as u64 - 1)
    }

    fn seconds_between(&self, from: u64, to: u64) -> Result<f64> {
        let _state = self.0.enter()?;
        let failed = |error| self.0.failed("time work on", error);
        let marks = self.0.marks();
        let (from, to) = (marks.get(from)?, marks.get(to)?);
        // SAFETY: both events were recorded in this stream and stay alive while the list is locked.
        let milliseconds = unsafe {
            result::event::synchronize(to).map_err(failed)?;
            result::event::synchronize(from).map_err(failed)?;
            elapsed(from, to)?
        };
        Ok(f64::from(milliseconds.map_err(failed)?) / 1e3)
    }

    fn clear_marks(&self) {
        if self.0.enter().is_ok() {
            self.0.marks().clear();
        }
    }

    fn copy(&self, from: &dyn Allocation, to: &dyn Allocation, bytes: usize) -> Result<()> {
        let _state = self.copying()?;
        // SAFETY: callers pass allocations of this device with room for `bytes` bytes.
        unsafe { result::memcpy_dtod_async(to.address(), from.address(), bytes, self.0.stream) }
            .map_err(|error| self.0.failed("copy on", error))
    }

    fn cache_bytes(&self) -> usize {
        self.0
            .attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)
            .and_then(|bytes| usize::try_from(bytes).ok())
            .filter(|&bytes| bytes > 0)
            // Larger than the L2 cache of any GPU so far.
            .unwrap_or(256 << 20)
    }

    fn resources(&self, launch: &Launch) -> Result<KernelResources> {
        use sys::CUfunction_attribute_enum as Attribute;
        let (function, spill_bytes) = {
            let mut state = self.0.enter()?;
            let function = self.0.function(&mut state, launch)?;
            // The log is empty if the driver compiles PTX itself.
            let module = state.modules.get(&launch.module);
            let mut kernels = module.into_iter().flat_map(|module| &module.resources);
            let found = kernels.find(|found| found.kernel == launch.kernel.name);
            (function, found.map(|found| found.spill_bytes))
        };
        let attribute = |attribute| self.0.function_attribute(function, attribute);
        let threads: u32 = launch.block.iter().product();
        // SAFETY: the function belongs to a loaded module.
        let blocks = unsafe {
            result::occupancy::max_active_block_per_multiprocessor(
                function,
                threads as i32,
                launch.shared_bytes as usize,
            )
        }
        .map_err(|error| self.0.failed("query occupancy on", error))?;
        let most = self
            .0
            .attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR)
            .unwrap_or(2048);
        Ok(KernelResources {
            registers: attribute(Attribute::CU_FUNC_ATTRIBUTE_NUM_REGS)?,
            shared_bytes: attribute(Attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)?
                + launch.shared_bytes,
            local_bytes: attribute(Attribute::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES)?,
            spill_bytes,
            // Partial warps count as full warps.
            occupancy: f64::from(blocks) * f64::from(threads.next_multiple_of(32))
                / f64::from(most.max(1)),
        })
    }

    fn clocks(&self) -> Vec<(&'static str, f64)> {
        use sys::CUdevice_attribute as Attribute;
        let clocks = [
            (
                "highest clock of a multiprocessor",
                Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE,
            ),
            (
                "highest clock of the memory",
                Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE,
            ),
        ];
        clocks
            .into_iter()
            .filter_map(|(name, attribute)| {
                Some((name, 1e3 * f64::from(self.0.attribute(attribute)?)))
            })
            .collect()
    }

    fn push_range(&self, name: &str) {
        if self.0.has_ranges()
            && let Ok(name) = CString::new(name)
        {
            // SAFETY: the library is installed and copies the text.
            unsafe { nvtx::sys::nvtxRangePushA(name.as_ptr()) };
        }
    }

    fn pop_range(&self) {
        if self.0.has_ranges() {
            // SAFETY: the library is installed.
            unsafe { nvtx::sys::nvtxRangePop() };
        }
    }
}
