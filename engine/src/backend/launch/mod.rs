//! Operators as kernel launches: everything between [`Backend`](super::Backend) and a [`Launcher`].
//!
//! Which kernel serves a shape is decided here, by the shape, the precision and the tiers that a device has, so that a GPU and
//! the executor on a processor run the very same launches.

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

use cosmogan_kernels::pack::Operand;
use cosmogan_kernels::tuning::Choices;
use cosmogan_kernels::{Launch, Tier, hopper_modules_for, modules_for};

use launcher::Format;
pub use launcher::{Allocation, Arguments, DeviceBuffer, Gpu, Launcher, Recording};

use super::{Buffer, Precision, expect_length};
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Blocks along the second and third axis of a grid (CUDA C++ programming guide, "Technical specifications").
const MOST_BLOCKS: u32 = 65_535;

/// A device that computes by launching kernels. Clones share its memory.
#[derive(Clone, Debug)]
pub struct LaunchBackend {
    launcher: Arc<dyn Launcher>,
    precision: Precision,
    /// Whether products are tiled, or left to the plain kernels.
    tiled: bool,
    /// The multiprocessors that Hopper kernels run on, where there are any.
    hopper: Option<usize>,
    /// Why there are none, where there are none.
    hopper_lack: Option<String>,
    /// Whether convolutions take over what comes before and after them.
    fused: bool,
    /// How products are cut at shapes for which something was chosen.
    choices: Arc<Choices>,
    /// Whether fresh memory is filled with NaN, so that an element that no kernel writes is noticed.
    poisoned: bool,
    /// Tells this backend's memory from that of any other.
    id: u64,
}

impl LaunchBackend {
    /// Operators on `launcher`, whose matrix products multiply in `precision`.
    ///
    /// # Errors
    /// Where the device lacks the tensor cores that the precision needs.
    pub fn new(launcher: Arc<dyn Launcher>, precision: Precision) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let able = launcher.tiled_kernels();
        let tiled = able.is_ok();
        if precision != Precision::F32 {
            able.map_err(Error::Device)?;
        }
        let (hopper, hopper_lack) = match launcher.hopper_kernels() {
            Ok(multiprocessors) => (Some(multiprocessors), None),
            Err(lack) => (None, Some(lack)),
        };
        let backend = Self {
            launcher,
            precision,
            tiled,
            hopper,
            hopper_lack,
            fused: true,
            choices: Arc::default(),
            poisoned: false,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
        };
        let mut modules = modules_for(backend.operand());
        if hopper.is_some() {
            modules.extend(hopper_modules_for(backend.operand()));
        }
        backend.launcher.prepare(&modules);
        Ok(backend)
    }

    /// The same, with fresh memory full of NaN.
    #[must_use]
    pub fn poisoned(self) -> Self {
        Self {
            poisoned: true,
            ..self
        }
    }

    /// The same, with products cut as `choices` says.
    #[must_use]
    pub fn with_choices(self, choices: Arc<Choices>) -> Self {
        Self { choices, ..self }
    }

    /// How products are cut.
    pub fn choices(&self) -> &Choices {
        &self.choices
    }

    /// The same without Hopper kernels: what GPUs of other generations run.
    #[must_use]
    pub fn without_hopper(self) -> Self {
        let kept = || "--tier keeps to other kernels".to_owned();
        Self {
            hopper: None,
            hopper_lack: self.hopper_lack.or_else(|| Some(kept())),
            ..self
        }
    }

    /// The same on kernels of no higher tier than `highest`.
    #[must_use]
    pub fn up_to(self, highest: Tier) -> Self {
        match highest {
            Tier::Hopper => self,
            Tier::Tiled => self.without_hopper(),
            Tier::Plain => self.plain(),
        }
    }

    /// The same on the plain kernels, in f32: what a GPU without tensor cores runs.
    #[must_use]
    pub fn plain(self) -> Self {
        Self {
            tiled: false,
            precision: Precision::F32,
            ..self.without_hopper()
        }
    }

    /// Why no product runs on a Hopper kernel here, in one line; `None` where those that fill its tiles do.
    pub fn hopper_lack(&self) -> Option<&str> {
        self.hopper_lack.as_deref()
    }

    /// The same with every pass on its own: what fused ones are measured against.
    #[must_use]
    pub fn unfused(self) -> Self {
        Self {
            fused: false,
            ..self
        }
    }

    /// What products multiply.
    fn operand(&self) -> Operand {
        match self.precision {
            Precision::F32 => Operand::F32,
            Precision::Tf32 => Operand::Tf32,
            Precision::Bf16 => Operand::Bf16,
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
            allocation: self.launcher.allocate(bytes)?,
            len: shape.len(),
            device: self.id,
            format,
        })
    }

    /// Memory for intermediate results.
    fn scratch(&self, bytes: usize) -> Result<Box<dyn Allocation>> {
        self.launcher.allocate(bytes)
    }

    fn launch(&self, launch: &Launch, arguments: &Arguments) -> Result<()> {
        let [_, rows, layers] = launch.grid;
        if launch.grid.contains(&0) {
            // No block, nothing to do.
            return Ok(());
        }
        if launch.grid[0] > i32::MAX as u32 || rows.max(layers) > MOST_BLOCKS {
            return Err(Error::Device(format!(
                "kernel {} would need a grid of {:?}, which is more than a device launches; use a smaller batch",
                launch.kernel.name, launch.grid
            )));
        }
        self.launcher.launch(launch, arguments)
    }

    fn check(&self, buffer: &DeviceBuffer, operator: &'static str) -> Result<()> {
        if buffer.device == self.id {
            return Ok(());
        }
        Err(foreign(operator))
    }

    /// Where the elements of `tensor` lie.
    fn input(&self, operator: &'static str, tensor: &Tensor) -> Result<u64> {
        self.input_of(operator, tensor, tensor.shape().len())
    }

    /// The same, of a tensor that must have `expected` elements: kernels trust the extents they are given.
    fn input_of(&self, operator: &'static str, tensor: &Tensor, expected: usize) -> Result<u64> {
        self.image_of(operator, tensor, expected)?.values(operator)
    }

    /// The same of a tensor that may be packed.
    fn image_of(&self, operator: &'static str, tensor: &Tensor, expected: usize) -> Result<Image> {
        let Buffer::Device(buffer) = tensor.buffer() else {
            return Err(foreign(operator));
        };
        self.image(operator, buffer, tensor, expected)
    }

    /// Where to write the `expected` elements of `tensor`, which nobody else holds.
    fn output_of(
        &self,
        operator: &'static str,
        tensor: &mut Tensor,
        expected: usize,
    ) -> Result<u64> {
        self.output_image_of(operator, tensor, expected)?
            .values(operator)
    }

    /// The same of a tensor that may be packed.
    fn output_image_of(
        &self,
        operator: &'static str,
        tensor: &mut Tensor,
        expected: usize,
    ) -> Result<Image> {
        tensor.buffer_mut(operator)?;
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
            Format::Values => (Operand::F32, channels),
            Format::Packed {
                operand,
                channels: packed,
            } if packed == channels => (operand, operand.row(channels)),
            Format::Packed { .. } => return Err(packed(operator)),
        };
        // A part begins with a row of the whole. Kernels load 16 bytes at once where rows are whole multiples of them.
        let first = range.start / channels.max(1) * row;
        Ok(Image {
            address: buffer.allocation.address() + (format.bytes() * first) as u64,
            format,
        })
    }

    /// Memory for a tensor.
    fn allocate(&self, shape: Shape, format: Format) -> Result<Tensor> {
        let length = match format {
            Format::Values => shape.len(),
            Format::Packed { operand, channels } => shape.rows() * operand.row(channels),
        };
        if i32::try_from(length).is_err() {
            return Err(Error::Device(format!(
                "a tensor of shape {shape} has more than 2³¹ − 1 elements, which is more than a kernel counts; use a smaller batch"
            )));
        }
        let buffer = self.buffer(&shape, format)?;
        if self.poisoned && format == Format::Values {
            let poison = vec![f32::NAN; buffer.len];
            self.launcher.write(&*buffer.allocation, 0, &poison)?;
        }
        Ok(Tensor::from_buffer(shape, Buffer::Device(buffer)))
    }
}

/// An image as it lies in memory: f32, or packed for products.
#[derive(Clone, Copy, Debug)]
struct Image {
    address: u64,
    format: Operand,
}

impl Image {
    /// One of f32.
    fn of(address: u64) -> Self {
        Self {
            address,
            format: Operand::F32,
        }
    }

    /// Where it lies, if it is not packed.
    fn values(self, operator: &'static str) -> Result<u64> {
        match self.format {
            Operand::F32 => Ok(self.address),
            Operand::Bf16 | Operand::Tf32 => Err(packed(operator)),
        }
    }
}

fn packed(operator: &'static str) -> Error {
    Error::InvalidOperand {
        operator,
        problem: "an operand is packed, which this operator does not read".to_owned(),
    }
}

fn foreign(operator: &'static str) -> Error {
    Error::InvalidOperand {
        operator,
        problem: "an operand lives on another device".to_owned(),
    }
}
