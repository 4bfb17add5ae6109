//! What a profiler asks of a device with a clock of its own.

use cosmogan_kernels::Launch;

use crate::backend::launch::Allocation;
use crate::error::Result;

/// What one kernel takes of a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KernelResources {
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of shared memory of a block.
    pub shared_bytes: u32,
    /// Bytes of a thread that lie in device memory: its stack, and what registers do not hold.
    pub local_bytes: u32,
    /// Bytes stored and loaded because registers ran out, as the compiler says; `None` where it was not asked.
    pub spill_bytes: Option<u32>,
    /// Warps that a multiprocessor holds at once, as a share of those that it could hold.
    pub occupancy: f64,
}

/// A device's own clock, and what it tells about kernels.
pub trait Instruments {
    /// Marks the present end of the queue; returns the mark's number.
    ///
    /// # Errors
    /// Where the device fails.
    fn mark(&self) -> Result<u64>;

    /// Seconds of the device's clock between two marks; waits until it has come to both.
    ///
    /// # Errors
    /// Where the device fails, or a mark was cleared.
    fn seconds_between(&self, from: u64, to: u64) -> Result<f64>;

    /// Forgets all marks.
    fn clear_marks(&self);

    /// Queues a copy of `bytes` bytes by the device's own means.
    ///
    /// # Errors
    /// Where the device fails.
    fn copy(&self, from: &dyn Allocation, to: &dyn Allocation, bytes: usize) -> Result<()>;

    /// Bytes of the last cache before memory.
    fn cache_bytes(&self) -> usize;

    /// What the kernel of `launch` takes.
    ///
    /// # Errors
    /// Where it cannot be compiled or loaded.
    fn resources(&self, launch: &Launch) -> Result<KernelResources>;

    /// Clocks by name, in Hz, as far as they can be read: what each of them is, is in its name.
    fn clocks(&self) -> Vec<(&'static str, f64)>;

    /// Begins a range that other profilers show, where they listen.
    fn push_range(&self, name: &str);

    /// Ends the range that was begun last.
    fn pop_range(&self);
}
