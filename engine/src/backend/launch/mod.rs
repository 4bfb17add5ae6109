//! Operators as kernel launches: the layer between [`Backend`](super::Backend) and a [`Launcher`].
//!
//! This layer selects the kernel for a shape by the shape, the precision and the device's tiers, so that a GPU and the
//! kernel executor (`simt`) run the same launches.

mod batch_norm;
mod convolution;
mod epilogue;
mod gather;
mod launcher;
mod moments;
mod operators;
mod packing;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cosmogan_kernels::tuning::TileConfigs;
use cosmogan_kernels::{Launch, Tier, hopper_modules_for, modules_for};

use launcher::Format;
pub use launcher::{Allocation, Arguments, DeviceBuffer, Gpu, KernelDevice, Launcher};

use super::{Precision, expect_length};
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Most blocks along the second and third axis of a grid (CUDA C++ programming guide, "Technical specifications").
const MOST_BLOCKS: u32 = 65_535;

/// A device that computes by launching kernels. Clones share its memory.
#[derive(Clone, Debug)]
pub struct LaunchBackend {
    launcher: Arc<dyn Launcher>,
    precision: Precision,
    /// Whether GEMMs are tiled, or run on the plain kernels.
    tiled: bool,
    /// Number of multiprocessors for Hopper kernels; `None` if these are not available.
    hopper_multiprocessors: Option<usize>,
    /// Reason why Hopper kernels are not available.
    hopper_lack: Option<String>,
    /// Whether convolutions are fused with the passes before and after them.
    fused: bool,
    /// Tuned tile configurations.
    tile_configs: Arc<TileConfigs>,
    /// Whether fresh memory is filled with NaN, to detect elements that no kernel writes.
    poisoned: bool,
    /// Distinguishes this backend's memory from that of other backends.
    id: u64,
}

impl LaunchBackend {
    /// Creates a backend on `launcher` whose GEMMs use `precision`.
    ///
    /// # Errors
    /// If the device lacks the tensor cores that the precision needs.
    pub fn new(launcher: Arc<dyn Launcher>, precision: Precision) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let able = launcher.device().tiled_kernels();
        let tiled = able.is_ok();
        if precision != Precision::F32 {
            able.map_err(Error::Device)?;
        }
        let (hopper_multiprocessors, hopper_lack) = match launcher.device().hopper_kernels() {
            Ok(multiprocessors) => (Some(multiprocessors), None),
            Err(lack) => (None, Some(lack)),
        };
        Ok(Self {
            launcher,
            precision,
            tiled,
            hopper_multiprocessors,
            hopper_lack,
            fused: true,
            tile_configs: Arc::default(),
            poisoned: false,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// Compiles the kernels of the paper's model that this backend can launch, on all cores. Without it every kernel is
    /// compiled at its first launch.
    #[must_use]
    pub fn prepared(self) -> Self {
        let mut modules = modules_for(self.precision);
        if self.hopper_multiprocessors.is_some() {
            modules.extend(hopper_modules_for(self.precision));
        }
        modules.retain(|module| self.tiled || module.tier == Tier::Plain);
        self.launcher.device().prepare(&modules);
        self
    }

    /// Fills fresh memory with NaN.
    #[must_use]
    pub fn poisoned(self) -> Self {
        Self {
            poisoned: true,
            ..self
        }
    }

    /// Uses the tile configurations of `tile_configs`.
    #[must_use]
    pub fn with_tile_configs(self, tile_configs: Arc<TileConfigs>) -> Self {
        Self {
            tile_configs,
            ..self
        }
    }

    /// The tile configurations.
    pub fn tile_configs(&self) -> &TileConfigs {
        &self.tile_configs
    }

    /// Disables Hopper kernels, as on GPUs of other generations.
    #[must_use]
    pub fn without_hopper(self) -> Self {
        let kept = || "--tier excludes Hopper kernels".to_owned();
        Self {
            hopper_multiprocessors: None,
            hopper_lack: self.hopper_lack.or_else(|| Some(kept())),
            ..self
        }
    }

    /// Disables kernels of tiers above `highest`.
    #[must_use]
    pub fn up_to(self, highest: Tier) -> Self {
        match highest {
            Tier::Hopper => self,
            Tier::Tiled => self.without_hopper(),
            Tier::Plain => self.plain(),
        }
    }

    /// Uses only the plain kernels, in f32, as on a GPU without tensor cores.
    #[must_use]
    pub fn plain(self) -> Self {
        Self {
            tiled: false,
            precision: Precision::F32,
            ..self.without_hopper()
        }
    }

    /// Reports in one line why no GEMM runs on a Hopper kernel; `None` if those that fill its tiles do.
    pub fn hopper_lack(&self) -> Option<&str> {
        self.hopper_lack.as_deref()
    }

    /// Disables fusion: every pass is a separate launch, as a baseline.
    #[must_use]
    pub fn unfused(self) -> Self {
        Self {
            fused: false,
            ..self
        }
    }

    fn buffer(&self, shape: &Shape, format: Format) -> Result<DeviceBuffer> {
        let bytes = match format {
            Format::Values => 4 * shape.len(),
            Format::Packed { operand, channels } => {
                shape.rows() * operand.row(channels) * operand.bytes()
            }
        };
        Ok(DeviceBuffer {
            allocation: self.launcher.device().allocate(bytes)?,
            len: shape.len(),
            device: self.id,
            format,
        })
    }

    /// Allocates memory for intermediate results.
    fn scratch(&self, bytes: usize) -> Result<Box<dyn Allocation>> {
        self.launcher.device().allocate(bytes)
    }

    fn launch(&self, launch: &Launch, arguments: &Arguments) -> Result<()> {
        let [_, rows, layers] = launch.grid;
        if launch.grid.contains(&0) {
            // An empty grid has nothing to do.
            return Ok(());
        }
        if launch.grid[0] > i32::MAX as u32 || rows.max(layers) > MOST_BLOCKS {
            return Err(Error::Device(format!(
                "kernel {} needs a grid of {:?}, which exceeds the device limits; use a smaller batch",
                launch.kernel.name, launch.grid
            )));
        }
        self.launcher.launch(launch, arguments)
    }

    fn check(&self, buffer: &DeviceBuffer, operator: &'static str) -> Result<()> {
        if buffer.device == self.id {
            return Ok(());
        }
        Err(Error::foreign(operator))
    }

    /// Returns the address of the elements of `tensor`.
    fn input(&self, operator: &'static str, tensor: &Tensor) -> Result<u64> {
        self.input_of(operator, tensor, tensor.shape().len())
    }

    /// Returns the address of a tensor that must have `expected` elements, because kernels do not check extents.
    fn input_of(&self, operator: &'static str, tensor: &Tensor, expected: usize) -> Result<u64> {
        self.image_of(operator, tensor, expected)?.values(operator)
    }

    /// Returns address and format of a tensor that may be packed.
    fn image_of(&self, operator: &'static str, tensor: &Tensor, expected: usize) -> Result<Image> {
        let buffer: &DeviceBuffer = tensor.buffer().ok_or_else(|| Error::foreign(operator))?;
        self.image(operator, buffer, tensor, expected)
    }

    /// Returns the address to which the `expected` elements of `tensor` are written.
    ///
    /// The tensor must have no other owner.
    fn output_of(
        &self,
        operator: &'static str,
        tensor: &mut Tensor,
        expected: usize,
    ) -> Result<u64> {
        self.output_image_of(operator, tensor, expected)?
            .values(operator)
    }

    /// Returns address and format for writing a tensor that may be packed.
    fn output_image_of(
        &self,
        operator: &'static str,
        tensor: &mut Tensor,
        expected: usize,
    ) -> Result<Image> {
        let _: &mut DeviceBuffer = tensor.buffer_mut(operator)?;
        self.image_of(operator, tensor, expected)
    }

    fn image(
        &self,
        operator: &'static str,
        buffer: &DeviceBuffer,
        tensor: &Tensor,
        expected: usize,
    ) -> Result<Image> {
        self.check(buffer, operator)?;
        let (range, channels) = (tensor.range(), tensor.shape().channels());
        expect_length(operator, range.len(), expected)?;
        let (format, row) = match buffer.format {
            Format::Values => (Precision::F32, channels),
            Format::Packed {
                operand,
                channels: packed,
            } if packed == channels => (operand, operand.row(channels)),
            Format::Packed { .. } => return Err(packed(operator)),
        };
        // A part starts at a row of the whole. Kernels load 16 bytes at once where rows are multiples of 16 bytes.
        let first = range.start / channels.max(1) * row;
        Ok(Image {
            address: buffer.allocation.address() + (format.bytes() * first) as u64,
            format,
        })
    }

    /// Allocates memory for a tensor.
    fn allocate(&self, shape: Shape, format: Format) -> Result<Tensor> {
        let length = match format {
            Format::Values => shape.len(),
            Format::Packed { operand, channels } => shape.rows() * operand.row(channels),
        };
        if i32::try_from(length).is_err() {
            return Err(Error::Device(format!(
                "a tensor of shape {shape} exceeds the limit of 2³¹ − 1 elements; use a smaller batch"
            )));
        }
        let buffer = self.buffer(&shape, format)?;
        if self.poisoned && format == Format::Values {
            let poison = vec![f32::NAN; buffer.len];
            self.launcher
                .device()
                .write(&*buffer.allocation, 0, &poison)?;
        }
        Ok(Tensor::from_buffer(shape, buffer))
    }
}

/// Activations in memory: f32 values, or packed GEMM operands.
#[derive(Clone, Copy, Debug)]
struct Image {
    address: u64,
    format: Precision,
}

impl Image {
    /// An image of f32 values.
    fn of(address: u64) -> Self {
        Self {
            address,
            format: Precision::F32,
        }
    }

    /// Returns the address if the image is not packed.
    fn values(self, operator: &'static str) -> Result<u64> {
        match self.format {
            Precision::F32 => Ok(self.address),
            Precision::Bf16 | Precision::Tf32 => Err(packed(operator)),
        }
    }
}

fn packed(operator: &'static str) -> Error {
    Error::InvalidOperand {
        operator,
        problem: "an operand is packed, which this operator does not support".to_owned(),
    }
}
