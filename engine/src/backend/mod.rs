//! What a device must be able to do: one method per operator, each writing into memory that its caller provides.

pub mod cache;
pub mod cpu;
#[allow(unsafe_code, reason = "the driver's functions are foreign")]
pub mod cuda;
pub mod launch;
mod precision;
#[allow(
    unsafe_code,
    reason = "the executor switches stacks and calls compiled kernels"
)]
pub mod simt;

use std::fmt;

use self::launch::Recording;
use crate::adam::AdamStep;
use crate::error::{Error, Result};
use crate::geometry::{ConvGeometry, ConvMethod, ConvProduct};
use crate::shape::Shape;
use crate::tensor::Tensor;

pub use self::precision::Precision;

/// Memory of one device. Only that device's backend looks inside.
#[derive(Debug)]
pub enum Buffer {
    /// Memory of the processor.
    Cpu(cpu::CpuBuffer),
    /// Memory of a device that takes kernels.
    Device(launch::DeviceBuffer),
}

impl Buffer {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Cpu(buffer) => buffer.len(),
            Self::Device(buffer) => buffer.len(),
        }
    }

    /// Whether there is no element at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An elementwise nonlinearity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// x where x > 0, slope·x elsewhere; 0 < slope < 1.
    LeakyRelu {
        /// Factor of negative inputs.
        slope: f32,
    },
    /// The hyperbolic tangent.
    Tanh,
}

/// Batch normalisation with the rectifier behind it: operands with one value per channel each, and settings.
#[derive(Clone, Copy, Debug)]
pub struct Normalisation<'a> {
    /// Mean that is subtracted: `[C]`, or `[parts, C]` where equal parts of the first axis have means of their own.
    pub mean: &'a Tensor,
    /// Biased variance that is divided out, of the same extents.
    pub variance: &'a Tensor,
    /// γ.
    pub scale: &'a Tensor,
    /// β.
    pub shift: &'a Tensor,
    /// ε under the square root.
    pub epsilon: f32,
    /// Factor of what comes out negative: 1 leaves it, 0 makes a ReLU, what is between a LeakyReLU.
    pub slope: f32,
}

/// What is done to the result of a product on its way to memory, where [`Backend::conv_fusion`] or
/// [`Backend::linear_fusion`] offers it.
#[derive(Debug)]
pub enum Epilogue<'a> {
    /// Nothing.
    None,
    /// An activation.
    Activation(Activation),
    /// Mean and biased variance of each channel are taken, as [`Backend::batch_statistics`] takes them.
    Statistics {
        /// Mean, `[C]` or `[parts, C]`.
        mean: &'a mut Tensor,
        /// Biased variance, of the same extents.
        variance: &'a mut Tensor,
    },
    /// Normalisation and the rectifier behind it, to the very bits of [`Backend::normalise`].
    Normalised(Normalisation<'a>),
}

impl Epilogue<'_> {
    /// Refuses anything to be done: for backends that offer none of it.
    fn expect_none(&self, operator: &'static str) -> Result<()> {
        match self {
            Self::None => Ok(()),
            _ => Err(Error::InvalidOperand {
                operator,
                problem: format!("this device does nothing on the way out, but is to do {self:?}"),
            }),
        }
    }
}

/// What kernels take over from the passes before and after a product.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fusion {
    /// Whether all three products of the geometry take images of several channels in the form in which
    /// [`Backend::empty_packed`] keeps them.
    pub packed: bool,
    /// Whether [`Epilogue::Statistics`] is offered.
    pub statistics: bool,
    /// Whether [`Epilogue::Activation`] is offered.
    pub activation: bool,
    /// Whether [`Epilogue::Normalised`] is offered.
    pub normalisation: bool,
    /// Whether the result may be packed.
    pub packed_result: bool,
}

impl Fusion {
    /// Whether an image of so many channels may be packed for these products.
    pub(crate) fn takes_packed(self, channels: usize) -> bool {
        self.packed && channels > 1
    }
}

/// The operators of a device.
///
/// Tensors are contiguous and belong to this device. Callers guarantee that shapes fit (the files in [`crate::ops`]
/// check them and word the errors); a backend may rely on it but must stay memory-safe when it is violated. Every
/// element of an output is written. Results are the same bits for the same inputs, however many threads run, and one
/// image's convolution does not depend on the others in its batch.
pub trait Backend: Send + Sync + fmt::Debug {
    /// One line on what computes here, e.g. `cpu (2 threads, AVX-512)`.
    fn description(&self) -> String;

    /// Fresh memory with unspecified contents.
    fn empty(&self, shape: Shape) -> Result<Tensor>;

    /// Copies `values` to the device.
    fn upload(&self, shape: Shape, values: &[f32]) -> Result<Tensor>;

    /// Overwrites the elements of `tensor`, in place: what was recorded for it stays right.
    fn write(&self, tensor: &mut Tensor, values: &[f32]) -> Result<()> {
        expect_length("upload", values.len(), tensor.shape().len())?;
        self.write_part(tensor, 0, values)
    }

    /// Overwrites elements of `tensor` from number `first` on, in place: what is too large for the processor's memory comes
    /// in parts.
    fn write_part(&self, tensor: &mut Tensor, first: usize, values: &[f32]) -> Result<()>;

    /// Copies the elements of `tensor` from the device, after everything queued before.
    fn download(&self, tensor: &Tensor) -> Result<Vec<f32>>;

    /// `y[n, o] = Σ_i x[n, i]·weight[o, i] + bias[o]`, with x `[N, I]`, weight `[O, I]`, bias `[O]`, y `[N, O]`.
    /// Row n of y does not depend on N nor on other rows, to the last bit. The features of a row may be an image, and y
    /// `[N, H, W, C]`.
    fn linear(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        epilogue: Epilogue<'_>,
        y: &mut Tensor,
    ) -> Result<()>;

    /// What a linear layer from I to O features does along with it for N vectors, whose features are images of `channels`
    /// channels. It depends on these numbers alone.
    fn linear_fusion(&self, [rows, inputs, outputs]: [usize; 3], channels: usize) -> Fusion {
        let _ = (rows, inputs, outputs, channels);
        Fusion::default()
    }

    /// `dx[n, i] = Σ_o dy[n, o]·weight[o, i]`.
    fn linear_dgrad(&self, dy: &Tensor, weight: &Tensor, dx: &mut Tensor) -> Result<()>;

    /// `dweight[o, i] = Σ_n dy[n, o]·x[n, i]`.
    fn linear_wgrad(&self, x: &Tensor, dy: &Tensor, dweight: &mut Tensor) -> Result<()>;

    /// `dbias[c]` = Σ of dy over all axes but the last: the gradient of any per-channel bias.
    fn bias_gradient(&self, dy: &Tensor, dbias: &mut Tensor) -> Result<()>;

    /// How a product of a convolution is computed here, which decides how its rounding errors are bounded. It depends
    /// on the geometry alone.
    fn conv_method(&self, product: ConvProduct, geometry: &ConvGeometry) -> ConvMethod {
        let _ = (product, geometry);
        ConvMethod::Direct
    }

    /// What a product of a convolution does along with it here. It depends on the geometry alone.
    fn conv_fusion(&self, product: ConvProduct, geometry: &ConvGeometry) -> Fusion {
        let _ = (product, geometry);
        Fusion::default()
    }

    /// Fresh memory with unspecified contents for an image that is not read as values: rounded and laid out as products of
    /// convolutions multiply it. It cannot be downloaded. A product that offers it writes it, and [`Backend::pack`], a
    /// normalisation and its gradient, and the gradient of a ReLU or LeakyReLU. Products read it, normalisations and their
    /// gradients, as x and dy, the gradient of a bias, and that of a ReLU or LeakyReLU, as dy and in place of the output.
    fn empty_packed(&self, shape: Shape) -> Result<Tensor> {
        self.empty(shape)
    }

    /// Whether what is normalised in training, and gradients between products, normalisations and rectifiers, are
    /// kept packed, because that halves them. Statistics are those of the values before they are rounded.
    fn keeps_packed(&self) -> bool {
        false
    }

    /// Rounds and lays out `values` as [`Backend::empty_packed`] keeps them.
    fn pack(&self, values: &Tensor, packed: &mut Tensor) -> Result<()> {
        let _ = (values, packed);
        Err(Error::InvalidOperand {
            operator: "pack",
            problem: "this device keeps no image but as values".to_owned(),
        })
    }

    /// y = conv(x, weight) + bias. See [`ConvGeometry`].
    fn conv_fprop(
        &self,
        geometry: &ConvGeometry,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        epilogue: Epilogue<'_>,
        y: &mut Tensor,
    ) -> Result<()>;

    /// x = convᵀ(y, weight) + bias. See [`ConvGeometry`].
    fn conv_dgrad(
        &self,
        geometry: &ConvGeometry,
        y: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        epilogue: Epilogue<'_>,
        x: &mut Tensor,
    ) -> Result<()>;

    /// `weight[r, s, c, k] = Σ x[n, p·stride − begin + r, q·stride − begin + s, c]·y[n, p, q, k]`.
    fn conv_wgrad(
        &self,
        geometry: &ConvGeometry,
        x: &Tensor,
        y: &Tensor,
        weight: &mut Tensor,
    ) -> Result<()>;

    /// Mean and biased variance of each channel over all other axes, `[C]`, or of each of several equal parts of the first
    /// axis, `[parts, C]`. Sums are blocked or pairwise, so that their error grows with the logarithm of the count and not
    /// with the count.
    fn batch_statistics(&self, x: &Tensor, mean: &mut Tensor, variance: &mut Tensor) -> Result<()>;

    /// y = rectified (x − mean)·scale/√(variance + ε) + shift, per channel, in each part with its own mean and variance.
    fn normalise(&self, x: &Tensor, by: Normalisation<'_>, y: &mut Tensor) -> Result<()>;

    /// Gradients of training-mode batch normalisation, whose `mean` and `variance` are those of x itself. With the
    /// output y, g = dy where y > 0 and slope·dy elsewhere, x̂ = (x − mean)/√(variance + ε) and M values per channel:
    /// dshift = Σ g, dscale = Σ g·x̂, dx = scale/√(variance + ε)·(g − dshift/M − x̂·dscale/M). The sign of y is computed
    /// again, with the very roundings of [`Backend::normalise`]. Parts are normalised each by itself, so that dx takes M and both
    /// sums of its own part; dshift and dscale add up all parts, in their order.
    fn normalise_gradient(
        &self,
        x: &Tensor,
        by: Normalisation<'_>,
        dy: &Tensor,
        dx: &mut Tensor,
        dscale: &mut Tensor,
        dshift: &mut Tensor,
    ) -> Result<()>;

    /// running ← (1 − momentum)·running + momentum·factor·batch, elementwise.
    fn update_running(
        &self,
        running: &mut Tensor,
        batch: &Tensor,
        momentum: f32,
        factor: f32,
    ) -> Result<()>;

    /// y = activation(x), elementwise.
    fn activate(&self, activation: Activation, x: &Tensor, y: &mut Tensor) -> Result<()>;

    /// dx = dy·activation′, from the activation's *output* y. At the kink of ReLU and LeakyReLU the derivative is
    /// that of the negative side, as in PyTorch.
    fn activate_gradient(
        &self,
        activation: Activation,
        y: &Tensor,
        dy: &Tensor,
        dx: &mut Tensor,
    ) -> Result<()>;

    /// loss = mean over all elements of max(x, 0) − x·target + ln(1 + e^−|x|), a scalar: binary cross-entropy of
    /// the logits x against one target for all.
    fn bce_with_logits(&self, logits: &Tensor, target: f32, loss: &mut Tensor) -> Result<()>;

    /// dlogits = dloss·(σ(x) − target)/count.
    fn bce_with_logits_gradient(
        &self,
        logits: &Tensor,
        target: f32,
        dloss: &Tensor,
        dlogits: &mut Tensor,
    ) -> Result<()>;

    /// y = a + b, elementwise.
    fn add(&self, a: &Tensor, b: &Tensor, y: &mut Tensor) -> Result<()>;

    /// Copies the elements of `from` to those of `to` from number `first` on, and leaves the others as they are.
    fn copy(&self, from: &Tensor, to: &mut Tensor, first: usize) -> Result<()>;

    /// sum = Σ of the squares of all elements of all `tensors`, a scalar, added as in [`Backend::batch_statistics`].
    fn squared_norm(&self, tensors: &[Tensor], sum: &mut Tensor) -> Result<()>;

    /// Whether a backward pass shall compute cheap operands again, as normalised images are, rather than keep them: where
    /// memory is scarcer than time.
    fn recomputes(&self) -> bool {
        false
    }

    /// Free memory in bytes, on a device with memory of its own, to which data must be brought.
    fn free_memory(&self) -> Option<usize> {
        None
    }

    /// Cuts crops `[N, h, w, C]` out of maps `[M, H, W, C]`. Line n of the table `[N, 4]` is map, first row, first column,
    /// and 1 where the crop is mirrored left to right: whole numbers, which f32 holds exactly up to 2²⁴. A crop that
    /// would leave its map is moved inside.
    fn gather(&self, maps: &Tensor, table: &Tensor, crops: &mut Tensor) -> Result<()>;

    /// Cuts crops as [`gather`](Self::gather) does out of maps of `extents` `[M, H, W, C]` in half precision (IEEE binary16),
    /// exactly. Each element of `pairs` holds two of their values in its bits, the first in the lower half; all are finite.
    fn gather_half(
        &self,
        pairs: &Tensor,
        extents: [usize; 4],
        table: &Tensor,
        crops: &mut Tensor,
    ) -> Result<()>;

    /// One step of Adam over all parameters at once; see [`AdamStep`].
    fn adam(&self, step: AdamStep<'_>) -> Result<()>;

    /// Keeps the work that `body` queues, so that it can be queued again at the cost of one launch; `body` may neither
    /// upload nor download, and no other thread may queue work meanwhile. `None`, without running `body`, on a device
    /// that gains nothing by it.
    fn record(&self, body: &mut dyn FnMut() -> Result<()>) -> Result<Option<Box<dyn Recording>>> {
        let _ = body;
        Ok(None)
    }
}

/// Extents of maps `[M, H, W, C]`, and number, rows and columns of the crops `[N, h, w, C]` to be cut out of them.
fn gather_extents(maps: &Shape, crops: &Tensor) -> Result<([usize; 4], [usize; 3])> {
    match (maps.dims(), crops.shape().dims()) {
        (&[count, height, width, channels], &[taken, rows, columns, same])
            if count > 0 && rows <= height && columns <= width && same == channels =>
        {
            Ok(([count, height, width, channels], [taken, rows, columns]))
        }
        _ => Err(Error::ShapeMismatch {
            operator: "gather",
            left_name: "the crops",
            left: crops.shape().clone(),
            right_name: "the maps",
            right: maps.clone(),
        }),
    }
}

/// Refuses values that would be written beyond the end of an operand.
fn expect_room(operator: &'static str, length: usize, first: usize, count: usize) -> Result<()> {
    if first.checked_add(count).is_some_and(|end| end <= length) {
        return Ok(());
    }
    Err(Error::InvalidOperand {
        operator,
        problem: format!("an operand of {length} elements has no room for {count} from {first} on"),
    })
}

/// The equal parts of `x` that `statistics` `[C]` or `[parts, C]` are of, and the rows of each.
fn parts_of(operator: &'static str, x: &Tensor, statistics: &Tensor) -> Result<[usize; 2]> {
    let (rows, parts) = (x.shape().rows(), statistics.shape().rows());
    if parts > 0 && rows.is_multiple_of(parts) {
        return Ok([parts, rows / parts]);
    }
    Err(Error::InvalidOperand {
        operator,
        problem: format!("{rows} values per channel do not come in {parts} equal parts"),
    })
}

/// Refuses an operand without the number of elements that the operator is about to touch.
fn expect_length(operator: &'static str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::InvalidOperand {
        operator,
        problem: format!("an operand has {found} elements where {expected} are needed"),
    })
}
