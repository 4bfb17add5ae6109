//! The device's own clock, and what the driver tells about kernels.

use std::collections::hash_map::Entry;
use std::ffi::CString;
use std::sync::PoisonError;

use cosmogan_kernels::Launch;
use cudarc::driver::{result, sys};
use cudarc::nvtx;

use super::device::describe;
use super::nvrtc::resources;
use super::{CudaLauncher, Shared};
use crate::backend::launch::Allocation;
use crate::error::{Error, Result};
use crate::profile::{Instruments, KernelResources};

/// Events that were recorded in the stream, by number.
#[derive(Debug, Default)]
pub(super) struct Marks(Vec<sys::CUevent>);

// SAFETY: the driver's handles may be used from any thread that has made the context current; the list is behind a lock.
unsafe impl Send for Marks {}

impl Marks {
    /// Gives all events back; their device must be current.
    pub(super) fn clear(&mut self) {
        for event in self.0.drain(..) {
            // SAFETY: the event was made by `mark` and is not used again. A failure leaks it.
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
        // SAFETY: NVIDIA's library has no initialisers that need anything of us.
        *self
            .ranges
            .get_or_init(|| unsafe { nvtx::sys::is_culib_present() })
    }

    fn attribute(&self, attribute: sys::CUdevice_attribute) -> Option<i32> {
        let device = result::device::get(self.device.number).ok()?;
        // SAFETY: `device` is a device.
        unsafe { result::device::get_attribute(device, attribute) }.ok()
    }

    fn function_attribute(
        &self,
        function: sys::CUfunction,
        attribute: sys::CUfunction_attribute_enum,
    ) -> Result<u32> {
        // SAFETY: the function belongs to a module that is loaded.
        let value = unsafe { result::function::get_function_attribute(function, attribute) }
            .map_err(|error| describe("ask", &self.device.name, error))?;
        Ok(u32::try_from(value).unwrap_or(0))
    }

    /// Bytes that the compiler says it spilled; where the driver finishes PTX, nobody says.
    fn spills(&self, launch: &Launch) -> Option<u32> {
        if !self.target.starts_with("sm_") {
            return None;
        }
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match compiled.entry(launch.module.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let target = self.target_of(&launch.module);
                let log = self.nvrtc.compile(&launch.module, &target).ok()?.log;
                new.insert(resources(&log))
            }
        };
        let found = found
            .iter()
            .find(|found| found.kernel == launch.kernel.name);
        found.map(|found| found.spill_bytes)
    }
}

type Elapsed = unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> sys::CUresult;

/// Milliseconds between two events, by the function that every driver has: the bindings' own is of drivers from 12.8 on.
///
/// # Safety
/// Both events must be alive and reached.
unsafe fn elapsed(
    from: sys::CUevent,
    to: sys::CUevent,
) -> Result<std::result::Result<f32, result::DriverError>> {
    // SAFETY: the driver is loaded, and this is the function's type since CUDA 2.
    let function = unsafe { sys::culib().get::<Elapsed>(b"cuEventElapsedTime\0") };
    let function = function
        .map_err(|error| Error::Device(format!("the driver cannot time launches: {error}")))?;
    let mut milliseconds = 0.0;
    // SAFETY: as the caller vouches.
    let outcome = unsafe { function(&raw mut milliseconds, from, to) };
    Ok(outcome.result().map(|()| milliseconds))
}

impl Instruments for CudaLauncher {
    fn mark(&self) -> Result<u64> {
        let state = self.0.enter()?;
        let failed = |error| self.0.failed(&state, "time", error);
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).map_err(failed)?;
        // SAFETY: event and stream are alive.
        unsafe { result::event::record(event, self.0.stream) }.map_err(failed)?;
        let mut marks = self.0.marks();
        marks.0.push(event);
        Ok(marks.0.len() as u64 - 1)
    }

    fn seconds_between(&self, from: u64, to: u64) -> Result<f64> {
        let state = self.0.enter()?;
        let failed = |error| self.0.failed(&state, "time", error);
        let marks = self.0.marks();
        let (from, to) = (marks.get(from)?, marks.get(to)?);
        // SAFETY: both events were recorded in this stream, and are alive as long as the list is locked.
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
        let state = self.copying()?;
        // SAFETY: callers pass allocations of this device with room for `bytes` bytes.
        unsafe { result::memcpy_dtod_async(to.address(), from.address(), bytes, self.0.stream) }
            .map_err(|error| self.0.failed(&state, "copy on", error))
    }

    fn cache_bytes(&self) -> usize {
        self.0
            .attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)
            .and_then(|bytes| usize::try_from(bytes).ok())
            .filter(|&bytes| bytes > 0)
            // Larger than any so far.
            .unwrap_or(256 << 20)
    }

    fn resources(&self, launch: &Launch) -> Result<KernelResources> {
        use sys::CUfunction_attribute_enum as Attribute;
        let function = {
            let mut state = self.0.enter()?;
            self.0.function(&mut state, launch)?
        };
        let attribute = |attribute| self.0.function_attribute(function, attribute);
        let threads: u32 = launch.block.iter().product();
        // SAFETY: the function belongs to a module that is loaded.
        let blocks = unsafe {
            result::occupancy::max_active_block_per_multiprocessor(
                function,
                threads as i32,
                launch.shared_bytes as usize,
            )
        }
        .map_err(|error| describe("ask", &self.0.device.name, error))?;
        let most = self
            .0
            .attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR)
            .unwrap_or(2048);
        Ok(KernelResources {
            registers: attribute(Attribute::CU_FUNC_ATTRIBUTE_NUM_REGS)?,
            shared_bytes: attribute(Attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)?
                + launch.shared_bytes,
            local_bytes: attribute(Attribute::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES)?,
            spill_bytes: self.0.spills(launch),
            // Warps that are not full count as full ones.
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
            // SAFETY: the library is there, and copies the text.
            unsafe { nvtx::sys::nvtxRangePushA(name.as_ptr()) };
        }
    }

    fn pop_range(&self) {
        if self.0.has_ranges() {
            // SAFETY: the library is there.
            unsafe { nvtx::sys::nvtxRangePop() };
        }
    }
}
