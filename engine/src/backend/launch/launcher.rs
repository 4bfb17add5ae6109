//! The interface between operators and a device that runs kernels.

use std::fmt;

use cosmogan_kernels::Precision;
use cosmogan_kernels::tensor_map::TensorMap;
use cosmogan_kernels::{Launch, Module};

use crate::backend::Recording;
use crate::error::Result;
use crate::profile::Instruments;
use crate::tensor::Buffer;

/// Properties on which kernel times depend, besides the kernels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Name reported by the driver.
    pub name: String,
    /// Compute capability, 90 for 9.0.
    pub capability: i32,
    /// Major and minor CUDA version that the driver supports.
    pub driver: [i32; 2],
}

/// The memory and properties of a device that runs kernels.
pub trait KernelDevice: Send + Sync + fmt::Debug {
    /// One line about the device.
    fn description(&self) -> String;

    /// One line of notice to the user, for example that compiled kernels cannot be cached.
    fn notice(&self) -> Option<String>;

    /// Reports whether tiled kernels, and with them tensor cores, are available; otherwise the reason.
    fn tiled_kernels(&self) -> std::result::Result<(), String>;

    /// Number of multiprocessors for Hopper kernels, or the reason why these are not available.
    fn hopper_kernels(&self) -> std::result::Result<usize, String>;

    /// Encodes a tensor at `address` as a kernel parameter, `struct TensorMap` of `hopper.cuh`.
    ///
    /// # Errors
    /// If the hardware does not support such a tensor or box.
    fn tensor_map(&self, map: &TensorMap, address: u64) -> Result<[u8; 128]>;

    /// The GPU, if the device is one.
    ///
    /// Measurements are valid only for the GPU on which they were made.
    fn gpu(&self) -> Option<&Gpu> {
        None
    }

    /// Free memory in bytes.
    fn free_memory(&self) -> usize;

    /// Compiles `modules` ahead of use, in parallel where that is faster.
    ///
    /// Compilation errors are reported when a kernel is launched.
    fn prepare(&self, modules: &[Module]) {
        let _ = modules;
    }

    /// Allocates at least `bytes` bytes with unspecified contents, aligned to 256 bytes.
    fn allocate(&self, bytes: usize) -> Result<Box<dyn Allocation>>;

    /// Copies `values` to `to`, after the first `first` values.
    fn write(&self, to: &dyn Allocation, first: usize, values: &[f32]) -> Result<()>;

    /// Copies the beginning of `from` to `values`, after all work queued before.
    fn read(&self, from: &dyn Allocation, values: &mut [f32]) -> Result<()>;
}

/// Launches kernels on a device.
///
/// Work is queued in order: a launch sees all earlier writes, and [`KernelDevice::read`] waits for all queued work. A
/// launcher may wrap another one on the same device, for example to record its launches.
pub trait Launcher: Send + Sync + fmt::Debug {
    /// The device.
    fn device(&self) -> &dyn KernelDevice;

    /// Queues a kernel; compiles it at first use.
    fn launch(&self, launch: &Launch, arguments: &Arguments) -> Result<()>;

    /// Runs `body` and records the launches that it queues instead of executing them.
    ///
    /// Uploads and downloads are rejected meanwhile. The recording owns the memory that is freed while recording.
    fn record(&self, body: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Recording>>;

    /// The device's clock and kernel properties, if its times are meaningful.
    fn instruments(&self) -> Option<&dyn Instruments> {
        None
    }
}

/// Device memory, freed when dropped.
pub trait Allocation: Send + Sync + fmt::Debug {
    /// Device address.
    fn address(&self) -> u64;
}

/// Layout of a tensor's elements in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Contiguous f32 values.
    Values,
    /// GEMM operands, in padded rows of `channels`.
    Packed {
        /// Precision format.
        operand: Precision,
        /// Channels per row.
        channels: usize,
    },
}

/// Memory of a tensor on a device that launches kernels.
#[derive(Debug)]
pub struct DeviceBuffer {
    pub(crate) allocation: Box<dyn Allocation>,
    pub(crate) len: usize,
    /// Identifier of the backend that owns it.
    pub(crate) device: u64,
    /// Layout of the elements.
    pub(crate) format: Format,
}

impl Buffer for DeviceBuffer {
    fn len(&self) -> usize {
        self.len
    }
}

/// The arguments of one launch, by value, in the order of the kernel's parameters.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    /// Every argument starts at a new element, so that it is aligned to 8 bytes.
    storage: Vec<u64>,
    /// Start and number of bytes of each argument.
    places: Vec<(usize, usize)>,
}

impl Arguments {
    /// Creates an empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a pointer to device memory; 0 is the null pointer.
    #[must_use]
    pub fn address(self, address: u64) -> Self {
        self.bytes(&address.to_ne_bytes())
    }

    /// Appends an `int`.
    #[must_use]
    pub fn int(self, value: usize) -> Self {
        // Tensors beyond 31 bits are rejected earlier.
        self.bytes(&i32::try_from(value).unwrap_or(i32::MAX).to_ne_bytes())
    }

    /// Appends a `float`.
    #[must_use]
    pub fn float(self, value: f32) -> Self {
        self.bytes(&value.to_ne_bytes())
    }

    /// Appends a struct of `int`s.
    #[must_use]
    pub fn ints(self, values: &[i32]) -> Self {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_ne_bytes())
            .collect();
        self.bytes(&bytes)
    }

    /// Appends any plain struct.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.places.push((self.storage.len(), bytes.len()));
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.storage.push(u64::from_ne_bytes(word));
        }
        self
    }

    /// Number of bytes of each argument.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.places.iter().map(|&(_, bytes)| bytes).collect()
    }

    /// Pointers to all arguments, valid as long as `self` is neither moved nor changed.
    pub(crate) fn pointers(&mut self) -> Vec<*mut std::ffi::c_void> {
        let storage = &mut self.storage;
        self.places
            .iter()
            .map(|&(start, _)| (&raw mut storage[start]).cast())
            .collect()
    }
}
