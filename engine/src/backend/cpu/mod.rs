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

use super::{
    Activation, Backend, Buffer, Epilogue, Fusion, Normalisation, Precision, expect_length,
    expect_room, parts_of,
};
use crate::adam::AdamStep;
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
        match tensor.buffer() {
            Buffer::Cpu(buffer) if !buffer.guards_intact() => {}
            _ => return Ok(()),
        }
        Err(Error::Device(format!(
            "memory next to a tensor of shape {} was overwritten",
            tensor.shape()
        )))
    }
}

/// The elements of a tensor; empty for a tensor of another device, which the length check then rejects.
fn read(tensor: &Tensor) -> &[f32] {
    match tensor.buffer() {
        Buffer::Cpu(buffer) => &buffer.values()[tensor.range()],
        Buffer::Device(_) => &[],
    }
}

/// Both factors of a GEMM between `channels` channels, rounded to `precision`.
fn factors<'a>(
    precision: Precision,
    channels: [usize; 2],
    tensors: [&'a Tensor; 2],
) -> [Cow<'a, [f32]>; 2] {
    let precision = precision_of(precision, channels);
    tensors.map(|tensor| rounded(precision, read(tensor)))
}

/// The elements of a tensor that has no other owner.
fn write<'a>(operator: &'static str, tensor: &'a mut Tensor) -> Result<&'a mut [f32]> {
    match tensor.buffer_mut(operator)? {
        Buffer::Cpu(buffer) => Ok(buffer.values_mut()),
        Buffer::Device(_) => Ok(&mut []),
    }
}

impl CpuBackend {
    /// Rounds what was written if the tensor is packed.
    fn settle(&self, tensor: &mut Tensor) -> Result<()> {
        if let Buffer::Cpu(buffer) = tensor.buffer_mut("pack")?
            && buffer.is_packed()
        {
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

    fn empty(&self, shape: Shape) -> Result<Tensor> {
        let buffer = CpuBuffer::new(&self.pool, shape.len(), self.checked);
        Ok(Tensor::from_buffer(shape, Buffer::Cpu(buffer)))
    }

    fn empty_packed(&self, shape: Shape) -> Result<Tensor> {
        let buffer = CpuBuffer::new(&self.pool, shape.len(), self.checked).packed();
        Ok(Tensor::from_buffer(shape, Buffer::Cpu(buffer)))
    }

    fn keeps_packed(&self) -> bool {
        self.precision == Precision::Bf16
    }

    fn pack(&self, values: &Tensor, packed: &mut Tensor) -> Result<()> {
        let to = write("pack", packed)?;
        expect_length("pack", read(values).len(), to.len())?;
        to.copy_from_slice(read(values));
        self.settle(packed)
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

    fn upload(&self, shape: Shape, values: &[f32]) -> Result<Tensor> {
        expect_length("upload", values.len(), shape.len())?;
        let mut tensor = self.empty(shape)?;
        self.write(&mut tensor, values)?;
        Ok(tensor)
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

    fn linear(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        epilogue: Epilogue<'_>,
        y: &mut Tensor,
    ) -> Result<()> {
        epilogue.expect_none("linear")?;
        let (inputs, outputs) = (x.shape().channels(), bias.shape().len());
        let [x, weight] = factors(self.precision, [inputs, outputs], [x, weight]);
        linear::forward(&x, &weight, read(bias), inputs, write("linear", y)?)
    }

    fn linear_dgrad(&self, dy: &Tensor, weight: &Tensor, dx: &mut Tensor) -> Result<()> {
        let (outputs, inputs) = (dy.shape().channels(), dx.shape().channels());
        let [dy, weight] = factors(self.precision, [inputs, outputs], [dy, weight]);
        linear::dgrad(&dy, &weight, outputs, inputs, write("linear", dx)?)
    }

    fn linear_wgrad(&self, x: &Tensor, dy: &Tensor, dweight: &mut Tensor) -> Result<()> {
        let (outputs, inputs) = (dy.shape().channels(), x.shape().channels());
        let [x, dy] = factors(self.precision, [inputs, outputs], [x, dy]);
        linear::wgrad(&x, &dy, outputs, inputs, write("linear", dweight)?)
    }

    fn bias_gradient(&self, dy: &Tensor, dbias: &mut Tensor) -> Result<()> {
        let dbias = write("bias gradient", dbias)?;
        expect_length("bias gradient", dbias.len(), dy.shape().channels())?;
        reduce::store(&reduce::column_sums(self.set, read(dy), dbias.len()), dbias);
        Ok(())
    }

    fn conv_fprop(
        &self,
        geometry: &ConvGeometry,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        epilogue: Epilogue<'_>,
        y: &mut Tensor,
    ) -> Result<()> {
        epilogue.expect_none("convolution")?;
        let [x, weight] = factors(self.precision, geometry.channels(), [x, weight]);
        self.convolutions.fprop(
            geometry,
            &x,
            &weight,
            bias.map(read),
            write("convolution", y)?,
        )?;
        self.settle(y)
    }

    fn conv_dgrad(
        &self,
        geometry: &ConvGeometry,
        y: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        epilogue: Epilogue<'_>,
        x: &mut Tensor,
    ) -> Result<()> {
        epilogue.expect_none("convolution")?;
        let [y, weight] = factors(self.precision, geometry.channels(), [y, weight]);
        self.convolutions.dgrad(
            geometry,
            &y,
            &weight,
            bias.map(read),
            write("convolution", x)?,
        )?;
        self.settle(x)
    }

    fn conv_wgrad(
        &self,
        geometry: &ConvGeometry,
        x: &Tensor,
        y: &Tensor,
        weight: &mut Tensor,
    ) -> Result<()> {
        let [x, y] = factors(self.precision, geometry.channels(), [x, y]);
        let weight = write("convolution", weight)?;
        self.convolutions.wgrad(geometry, &x, &y, weight)
    }

    fn conv_method(&self, _: ConvProduct, geometry: &ConvGeometry) -> ConvMethod {
        convolution::method(geometry)
    }

    fn batch_statistics(&self, x: &Tensor, mean: &mut Tensor, variance: &mut Tensor) -> Result<()> {
        let [parts, _] = parts_of("batch_norm", x, mean)?;
        let (mean, variance) = (write("batch_norm", mean)?, write("batch_norm", variance)?);
        batch_norm::statistics(self.set, read(x), parts, mean, variance)
    }

    fn normalise(&self, x: &Tensor, by: Normalisation<'_>, y: &mut Tensor) -> Result<()> {
        parts_of("batch_norm", x, by.mean)?;
        batch_norm::normalise(self.set, read(x), &by, write("batch_norm", y)?)?;
        self.settle(y)
    }

    fn recomputes(&self) -> bool {
        true
    }

    fn normalise_gradient(
        &self,
        x: &Tensor,
        by: Normalisation<'_>,
        dy: &Tensor,
        dx: &mut Tensor,
        dscale: &mut Tensor,
        dshift: &mut Tensor,
    ) -> Result<()> {
        parts_of("batch_norm", x, by.mean)?;
        let sums = (write("batch_norm", dscale)?, write("batch_norm", dshift)?);
        batch_norm::gradient(
            self.set,
            [read(x), read(dy)],
            &by,
            write("batch_norm", dx)?,
            sums,
        )?;
        self.settle(dx)
    }

    fn update_running(
        &self,
        running: &mut Tensor,
        batch: &Tensor,
        momentum: f32,
        factor: f32,
    ) -> Result<()> {
        let running = write("batch_norm", running)?;
        expect_length("batch_norm", read(batch).len(), running.len())?;
        for (running, &batch) in running.iter_mut().zip(read(batch)) {
            *running = (1.0 - momentum) * *running + momentum * factor * batch;
        }
        Ok(())
    }

    fn activate(&self, activation: Activation, x: &Tensor, y: &mut Tensor) -> Result<()> {
        elementwise::activate(self.set, activation, read(x), write("activation", y)?)
    }

    fn activate_gradient(
        &self,
        activation: Activation,
        y: &Tensor,
        dy: &Tensor,
        dx: &mut Tensor,
    ) -> Result<()> {
        let to = write("activation", dx)?;
        elementwise::activate_gradient(self.set, activation, read(y), read(dy), to)?;
        self.settle(dx)
    }

    fn bce_with_logits(&self, logits: &Tensor, target: f32, loss: &mut Tensor) -> Result<()> {
        loss::bce_with_logits(read(logits), target, write("bce_with_logits", loss)?)
    }

    fn bce_with_logits_gradient(
        &self,
        logits: &Tensor,
        target: f32,
        dloss: &Tensor,
        dlogits: &mut Tensor,
    ) -> Result<()> {
        let dlogits = write("bce_with_logits", dlogits)?;
        loss::bce_with_logits_gradient(read(logits), target, read(dloss), dlogits)
    }

    fn add(&self, a: &Tensor, b: &Tensor, y: &mut Tensor) -> Result<()> {
        elementwise::add(self.set, read(a), read(b), write("add", y)?)
    }

    fn copy(&self, from: &Tensor, to: &mut Tensor, first: usize) -> Result<()> {
        expect_length("copy", read(from).len(), from.shape().len())?;
        self.write_part(to, first, read(from))
    }

    fn squared_norm(&self, tensors: &[Tensor], sum: &mut Tensor) -> Result<()> {
        let sum = write("squared norm", sum)?;
        expect_length("squared norm", sum.len(), 1)?;
        let total: f64 = tensors
            .iter()
            .map(|tensor| reduce::squares(self.set, read(tensor)))
            .sum();
        sum[0] = total as f32;
        Ok(())
    }

    fn gather(&self, maps: &Tensor, table: &Tensor, crops: &mut Tensor) -> Result<()> {
        let values = read(maps);
        expect_length("gather", values.len(), maps.shape().len())?;
        gather::crops(maps.shape(), read(table), crops, |index| values[index])
    }

    fn gather_half(
        &self,
        pairs: &Tensor,
        extents: [usize; 4],
        table: &Tensor,
        crops: &mut Tensor,
    ) -> Result<()> {
        let shape = Shape::from(extents);
        let values = read(pairs);
        expect_length("gather", values.len(), shape.len().div_ceil(2))?;
        gather::crops(&shape, read(table), crops, |index| {
            widened((values[index / 2].to_bits() >> (16 * (index % 2))) as u16)
        })
    }

    fn adam(&self, step: AdamStep<'_>) -> Result<()> {
        elementwise::adam(self.set, step)
    }
}
