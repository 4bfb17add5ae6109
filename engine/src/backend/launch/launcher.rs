//! What a device must be able to do to have the operators expressed as kernel launches.

use std::fmt;

use cosmogan_kernels::pack::Operand;
use cosmogan_kernels::tensor_map::TensorMap;
use cosmogan_kernels::{Launch, Module};

use crate::error::Result;
use crate::profile::Instruments;

/// What times of kernels depend on, besides the kernels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// What the driver calls it.
    pub name: String,
    /// Compute capability, 90 for 9.0.
    pub capability: i32,
    /// Major and minor version of CUDA that the driver supports.
    pub driver: [i32; 2],
}

/// A device that takes kernels.
///
/// Work is queued in order: a launch sees what was written before it, and [`Launcher::read`] waits for all of it.
pub trait Launcher: Send + Sync + fmt::Debug {
    /// One line on the device.
    fn description(&self) -> String;

    /// What the user of the device should know, in one line: that compiled kernels cannot be kept, say.
    fn notice(&self) -> Option<String>;

    /// Why tiled kernels, and with them tensor cores, cannot be used here, if they cannot.
    fn tiled_kernels(&self) -> std::result::Result<(), String>;

    /// The multiprocessors that Hopper kernels run on, or why they cannot be used here.
    fn hopper_kernels(&self) -> std::result::Result<usize, String>;

    /// A tensor at `address` as a kernel's parameter, `struct TensorMap` of `hopper.cuh`.
    ///
    /// # Errors
    /// Where the hardware does not take such a tensor or such a box of it.
    fn tensor_map(&self, map: &TensorMap, address: u64) -> Result<[u8; 128]>;

    /// The GPU that it is, where it is one: what was measured on it holds for no other.
    fn gpu(&self) -> Option<&Gpu> {
        None
    }

    /// Free memory in bytes.
    fn free_memory(&self) -> usize;

    /// Compiles what is about to be used, all at once where that is faster. What cannot be compiled is reported when it
    /// is launched.
    fn prepare(&self, modules: &[Module]) {
        let _ = modules;
    }

    /// Fresh memory of at least `bytes` bytes with unspecified contents, aligned to 256.
    fn allocate(&self, bytes: usize) -> Result<Box<dyn Allocation>>;

    /// Copies `values` to `to`, behind the room of `first` others.
    fn write(&self, to: &dyn Allocation, first: usize, values: &[f32]) -> Result<()>;

    /// Copies the beginning of `from` to `values`, after everything queued before.
    fn read(&self, from: &dyn Allocation, values: &mut [f32]) -> Result<()>;

    /// Queues a kernel, compiling it if this device has not seen it before.
    fn launch(&self, launch: &Launch, arguments: &Arguments) -> Result<()>;

    /// Runs `body` and keeps the launches that it queues instead of executing them; uploads and downloads are refused
    /// meanwhile. The recording owns the memory that was freed on the way.
    fn record(&self, body: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Recording>>;

    /// The device's clock and what it tells about kernels, where its time means anything.
    fn instruments(&self) -> Option<&dyn Instruments> {
        None
    }
}

/// Memory of a device; dropping it gives it back.
pub trait Allocation: Send + Sync + fmt::Debug {
    /// Where it lies, as the device counts.
    fn address(&self) -> u64;
}

/// Launches that can be queued again at the cost of one.
pub trait Recording: Send + fmt::Debug {
    /// Queues them, on the same memory as when they were recorded.
    fn replay(&self) -> Result<()>;
}

/// How the elements of a tensor lie in its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Each an f32, one after the other.
    Values,
    /// As products multiply them: rows of `channels` operands, padded.
    Packed {
        /// What they are.
        operand: Operand,
        /// Channels of a row.
        channels: usize,
    },
}

/// A tensor's memory on a device that takes kernels.
#[derive(Debug)]
pub struct DeviceBuffer {
    pub(crate) allocation: Box<dyn Allocation>,
    pub(crate) len: usize,
    /// Which backend it belongs to.
    pub(crate) device: u64,
    /// What its elements are: f32 in a row, or operands of products in rows of so many channels and what pads them.
    pub(crate) format: Format,
}

impl DeviceBuffer {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The arguments of one launch, by value, in the order of the kernel's parameters.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    /// Every argument begins at a new element, so that each is aligned to 8 bytes.
    storage: Vec<u64>,
    /// Where each begins, and how many bytes it has.
    places: Vec<(usize, usize)>,
}

impl Arguments {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A pointer to device memory; 0 is the null pointer.
    #[must_use]
    pub fn address(self, address: u64) -> Self {
        self.bytes(&address.to_ne_bytes())
    }

    /// An `int`.
    #[must_use]
    pub fn int(self, value: usize) -> Self {
        // Tensors are refused before they outgrow 31 bits.
        self.bytes(&i32::try_from(value).unwrap_or(i32::MAX).to_ne_bytes())
    }

    /// A `float`.
    #[must_use]
    pub fn float(self, value: f32) -> Self {
        self.bytes(&value.to_ne_bytes())
    }

    /// A struct of nothing but `int`s.
    #[must_use]
    pub fn ints(self, values: &[i32]) -> Self {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_ne_bytes())
            .collect();
        self.bytes(&bytes)
    }

    /// Any plain struct.
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

    /// Bytes of each argument.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.places.iter().map(|&(_, bytes)| bytes).collect()
    }

    /// A pointer to each argument, valid as long as `self` is neither moved nor changed.
    pub(crate) fn pointers(&mut self) -> Vec<*mut std::ffi::c_void> {
        let storage = &mut self.storage;
        self.places
            .iter()
            .map(|&(start, _)| (&raw mut storage[start]).cast())
            .collect()
    }
}
