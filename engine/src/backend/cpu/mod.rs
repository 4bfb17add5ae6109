//! The processor as a device.

/// Memory of the processor.
#[derive(Debug)]
pub struct CpuBuffer(Vec<f32>);

impl CpuBuffer {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no element at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
