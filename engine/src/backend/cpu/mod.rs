//! The CPU backend: NHWC activations in f32, rayon, and the `gemm` crate.
//!
//! Work is split by shape, never by the number of threads, and partial sums are combined in a fixed order, so that the
//! same inputs give the same bits on any number of threads. The extents of GEMMs depend on one image only, so that an
//! image's result does not depend on its batch.

mod batch_norm;
mod buffer;
mod convolution;
mod elementwise;
mod gather;
mod linear;
mod loss;
mod matmul;
mod operand;
mod reduce;

use std::borrow::Cow;
use std::sync::Arc;

use super::{Arithmetic, Backend, Fusion, Op, Precision, expect_length, expect_room, parts_of};
use crate::error::{Error, Result};
use crate::geometry::{ConvGeometry, ConvMethod, ConvProduct};
use crate::half::widened;
use crate::shape::Shape;
use crate::simd::InstructionSet;
use crate::tensor::Tensor;

pub use buffer::CpuBuffer;
use buffer::Pool;
use convolution::Convolutions;
pub(crate) use matmul::multiply_rows;
use operand::{precision_of, round, rounded};

/// Backend that runs on the CPU's cores.
#[derive(Debug)]
pub struct CpuBackend {
    pool: Arc<Pool>,
    checked: bool,
    set: InstructionSet,
    convolutions: Convolutions,
    precision: Precision,
}

impl Default for CpuBackend {
    fn default() -> Self {
        Self::with_instructions(InstructionSet::best())
    }
}

impl CpuBackend {
    /// Creates a backend on rayon's threads.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a backend that detects unwritten elements and writes out of bounds.
    ///
    /// It fills fresh memory with NaN and guards both of its ends. See [`CpuBackend::check_guards`].
    pub fn checked() -> Self {
        Self {
            checked: true,
            ..Self::default()
        }
    }

    /// Creates a backend for a given instruction set.
    ///
    /// The `gemm` crate still uses the best one of this CPU.
    pub fn with_instructions(set: InstructionSet) -> Self {
        Self {
            pool: Arc::default(),
            checked: false,
            set,
            convolutions: Convolutions::new(set),
            precision: Precision::F32,
        }
    }

    /// Rounds GEMM operands to `precision` and, for bf16, activations that a GPU stores packed.
    ///
    /// Arithmetic stays in f32 and is no faster. This shows the effect of a precision on results without a GPU.
    #[must_use]
    pub fn multiplying(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Checks that nothing was written outside the memory of `tensor`.
    ///
    /// # Errors
    /// If a guard value has changed.
    pub fn check_guards(tensor: &Tensor) -> Result<()> {
        let buffer = tensor.buffer::<CpuBuffer>();
        if buffer.is_none_or(CpuBuffer::guards_intact) {
            return Ok(());
        }
        Err(Error::Device(format!(
            "memory next to a tensor of shape {} was overwritten",
            tensor.shape()
        )))
    }
}

/// The elements of a tensor; empty for a tensor of another device, which the length check then rejects.
fn read(tensor: &Tensor) -> &[f32] {
    tensor
        .buffer::<CpuBuffer>()
        .map_or(&[], |buffer| &buffer.values()[tensor.range()])
}

/// The elements of a tensor that has no other owner.
fn write<'a>(operator: &'static str, tensor: &'a mut Tensor) -> Result<&'a mut [f32]> {
    let buffer: &mut CpuBuffer = tensor.buffer_mut(operator)?;
    Ok(buffer.values_mut())
}

impl CpuBackend {
    /// Both factors of a GEMM between `channels` channels, rounded to the precision of this backend.
    fn factors<'a>(&self, channels: [usize; 2], tensors: [&'a Tensor; 2]) -> [Cow<'a, [f32]>; 2] {
        let precision = precision_of(self.precision, channels);
        tensors.map(|tensor| rounded(precision, read(tensor)))
    }

    /// Rounds what was written if the tensor is packed.
    fn settle(&self, tensor: &mut Tensor) -> Result<()> {
        let buffer: &mut CpuBuffer = tensor.buffer_mut("pack")?;
        if buffer.is_packed() {
            round(self.precision, buffer.values_mut());
        }
        Ok(())
    }
}

impl Backend for CpuBackend {
    fn description(&self) -> String {
        let threads = rayon::current_num_threads();
        let plural = if threads == 1 { "" } else { "s" };
        let products = match self.precision {
            Precision::F32 => String::new(),
            precision => format!(", {precision} operands"),
        };
        format!(
            "cpu ({threads} thread{plural}, {}{products})",
            self.set.name()
        )
    }

    fn arithmetic(&self) -> Arithmetic {
        Arithmetic {
            device: format!("cpu, {}", self.set.name()),
            precision: self.precision,
        }
    }

    fn empty(&self, shape: Shape) -> Result<Tensor> {
        let buffer = CpuBuffer::new(&self.pool, shape.len(), self.checked);
        Ok(Tensor::from_buffer(shape, buffer))
    }

    fn empty_packed(&self, shape: Shape) -> Result<Tensor> {
        let buffer = CpuBuffer::new(&self.pool, shape.len(), self.checked).packed();
        Ok(Tensor::from_buffer(shape, buffer))
    }

    fn keeps_packed(&self) -> bool {
        self.precision == Precision::Bf16
    }

    /// Reports the tensors that a GPU would store packed, for windows that its single-channel kernels support.
    ///
    /// It saves nothing on a CPU.
    fn conv_fusion(&self, product: ConvProduct, geometry: &ConvGeometry) -> Fusion {
        let [channels, outputs] = geometry.channels();
        if !self.keeps_packed() || outputs < 2 || product == ConvProduct::Wgrad {
            return Fusion::default();
        }
        Fusion {
            packed: true,
            packed_result: channels > 1 || product == ConvProduct::Fprop,
            ..Fusion::default()
        }
    }

    fn write_part(&self, tensor: &mut Tensor, first: usize, values: &[f32]) -> Result<()> {
        let to = write("upload", tensor)?;
        expect_room("upload", to.len(), first, values.len())?;
        to[first..first + values.len()].copy_from_slice(values);
        Ok(())
    }

    fn download(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        Ok(read(tensor).to_vec())
    }

    fn run(&self, op: Op<'_>) -> Result<()> {
        let (name, set) = (op.name(), self.set);
        match op {
            Op::Linear {
                x,
                weight,
                bias,
                epilogue,
                y,
            } => {
                epilogue.expect_none(name)?;
                let (inputs, outputs) = (x.shape().channels(), bias.shape().len());
                let [x, weight] = self.factors([inputs, outputs], [x, weight]);
                linear::forward(&x, &weight, read(bias), inputs, write(name, y)?)
            }
            Op::LinearDgrad { dy, weight, dx } => {
                let (outputs, inputs) = (dy.shape().channels(), dx.shape().channels());
                let [dy, weight] = self.factors([inputs, outputs], [dy, weight]);
                linear::dgrad(&dy, &weight, outputs, inputs, write(name, dx)?)
            }
            Op::LinearWgrad { x, dy, dweight } => {
                let (outputs, inputs) = (dy.shape().channels(), x.shape().channels());
                let [x, dy] = self.factors([inputs, outputs], [x, dy]);
                linear::wgrad(&x, &dy, outputs, inputs, write(name, dweight)?)
            }
            Op::BiasGradient { dy, dbias } => {
                let dbias = write(name, dbias)?;
                expect_length(name, dbias.len(), dy.shape().channels())?;
                reduce::store(&reduce::column_sums(set, read(dy), dbias.len()), dbias);
                Ok(())
            }
            Op::Pack { values, packed } => {
                let to = write(name, packed)?;
                expect_length(name, to.len(), read(values).len())?;
                to.copy_from_slice(read(values));
                self.settle(packed)
            }
            Op::ConvFprop {
                geometry,
                x,
                weight,
                bias,
                epilogue,
                y,
            } => {
                epilogue.expect_none(name)?;
                let [x, weight] = self.factors(geometry.channels(), [x, weight]);
                let (bias, to) = (bias.map(read), write(name, y)?);
                self.convolutions.fprop(geometry, &x, &weight, bias, to)?;
                self.settle(y)
            }
            Op::ConvDgrad {
                geometry,
                y,
                weight,
                bias,
                epilogue,
                x,
            } => {
                epilogue.expect_none(name)?;
                let [y, weight] = self.factors(geometry.channels(), [y, weight]);
                let (bias, to) = (bias.map(read), write(name, x)?);
                self.convolutions.dgrad(geometry, &y, &weight, bias, to)?;
                self.settle(x)
            }
            Op::ConvWgrad {
                geometry,
                x,
                y,
                weight,
            } => {
                let [x, y] = self.factors(geometry.channels(), [x, y]);
                let weight = write(name, weight)?;
                self.convolutions.wgrad(geometry, &x, &y, weight)
            }
            Op::BatchStatistics { x, mean, variance } => {
                let [parts, _] = parts_of(name, x, mean)?;
                let (mean, variance) = (write(name, mean)?, write(name, variance)?);
                batch_norm::statistics(set, read(x), parts, mean, variance)
            }
            Op::Normalise { x, by, y } => {
                parts_of(name, x, by.mean)?;
                batch_norm::normalise(set, read(x), &by, write(name, y)?)?;
                self.settle(y)
            }
            Op::NormaliseGradient {
                x,
                by,
                dy,
                dx,
                dscale,
                dshift,
            } => {
                parts_of(name, x, by.mean)?;
                let sums = (write(name, dscale)?, write(name, dshift)?);
                batch_norm::gradient(set, [read(x), read(dy)], &by, write(name, dx)?, sums)?;
                self.settle(dx)
            }
            Op::UpdateRunning {
                running,
                batch,
                momentum,
                factor,
            } => {
                let running = write(name, running)?;
                expect_length(name, read(batch).len(), running.len())?;
                for (running, &batch) in running.iter_mut().zip(read(batch)) {
                    *running = (1.0 - momentum) * *running + momentum * factor * batch;
                }
                Ok(())
            }
            Op::Activate { activation, x, y } => {
                elementwise::activate(set, activation, read(x), write(name, y)?)
            }
            Op::ActivateGradient {
                activation,
                y,
                dy,
                dx,
            } => {
                let to = write(name, dx)?;
                elementwise::activate_gradient(set, activation, read(y), read(dy), to)?;
                self.settle(dx)
            }
            Op::BceWithLogits {
                logits,
                target,
                loss,
            } => loss::bce_with_logits(read(logits), target, write(name, loss)?),
            Op::BceWithLogitsGradient {
                logits,
                target,
                dloss,
                dlogits,
            } => {
                let to = write(name, dlogits)?;
                loss::bce_with_logits_gradient(read(logits), target, read(dloss), to)
            }
            Op::Add { a, b, y } => elementwise::add(set, read(a), read(b), write(name, y)?),
            Op::Copy { from, to, first } => {
                expect_length(name, read(from).len(), from.shape().len())?;
                self.write_part(to, first, read(from))
            }
            Op::SquaredNorm { tensors, sum } => {
                let sum = write(name, sum)?;
                expect_length(name, sum.len(), 1)?;
                let squares = tensors
                    .iter()
                    .map(|tensor| reduce::squares(set, read(tensor)));
                sum[0] = squares.sum::<f64>() as f32;
                Ok(())
            }
            Op::Gather { maps, table, crops } => {
                let values = read(maps);
                expect_length(name, values.len(), maps.shape().len())?;
                gather::crops(maps.shape(), read(table), crops, |index| values[index])
            }
            Op::GatherHalf {
                pairs,
                extents,
                table,
                crops,
            } => {
                let (shape, values) = (Shape::from(extents), read(pairs));
                expect_length(name, values.len(), shape.len().div_ceil(2))?;
                gather::crops(&shape, read(table), crops, |index| {
                    widened((values[index / 2].to_bits() >> (16 * (index % 2))) as u16)
                })
            }
            Op::Adam(step) => elementwise::adam(set, step),
        }
    }

    fn conv_method(&self, _: ConvProduct, geometry: &ConvGeometry) -> ConvMethod {
        convolution::method(geometry)
    }

    fn recomputes(&self) -> bool {
        true
    }
}
