//! The interface between the profiler and a device with its own clock.

use cosmogan_kernels::Launch;

use crate::backend::launch::Allocation;
use crate::error::Result;

/// Resources of one kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KernelResources {
    /// Registers per thread.
    pub registers: u32,
    /// Bytes of shared memory per block.
    pub shared_bytes: u32,
    /// Bytes of local memory per thread: stack and register spills, in device memory.
    pub local_bytes: u32,
    /// Bytes of spill stores and loads, from the compiler's log; `None` if there is no log.
    pub spill_bytes: Option<u32>,
    /// Resident warps per multiprocessor, as a fraction of the maximum.
    pub occupancy: f64,
}

/// Clock, kernel resources and profiler ranges of a device.
pub trait Instruments {
    /// Marks the current end of the queue; returns the number of the mark.
    ///
    /// # Errors
    /// If the device fails.
    fn mark(&self) -> Result<u64>;

    /// Waits for two marks; returns the time between them in seconds of the device's clock.
    ///
    /// # Errors
    /// If the device fails, or a mark was deleted.
    fn seconds_between(&self, from: u64, to: u64) -> Result<f64>;

    /// Deletes all marks.
    fn clear_marks(&self);

    /// Queues a device-to-device copy of `bytes` bytes.
    ///
    /// # Errors
    /// If the device fails.
    fn copy(&self, from: &dyn Allocation, to: &dyn Allocation, bytes: usize) -> Result<()>;

    /// Size of the last-level cache in bytes.
    fn cache_bytes(&self) -> usize;

    /// Resources of the kernel of `launch`.
    ///
    /// # Errors
    /// If the kernel cannot be compiled or loaded.
    fn resources(&self, launch: &Launch) -> Result<KernelResources>;

    /// The clocks that can be read, in Hz, with descriptive names.
    fn clocks(&self) -> Vec<(&'static str, f64)>;

    /// Begins a range that external profilers show.
    fn push_range(&self, name: &str);

    /// Ends the innermost range.
    fn pop_range(&self);
}
