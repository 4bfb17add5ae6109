//! The interface of a device: one method per operator.
//!
//! Each method writes into memory provided by the caller.

pub mod cache;
pub mod cpu;
#[allow(unsafe_code, reason = "the driver's functions are foreign")]
pub mod cuda;
pub mod launch;
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

pub use cosmogan_kernels::Precision;

/// Memory of one device. Only that device's backend accesses it.
#[derive(Debug)]
pub enum Buffer {
    /// CPU memory.
    Cpu(cpu::CpuBuffer),
    /// Memory of a device that launches kernels.
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

    /// Whether the buffer has no elements.
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

impl Activation {
    /// Slope for negative inputs; `None` for an activation that is not piecewise linear.
    pub fn slope(self) -> Option<f32> {
        match self {
            Self::Relu => Some(0.0),
            Self::LeakyRelu { slope } => Some(slope),
            Self::Tanh => None,
        }
    }
}

/// Batch normalisation followed by a rectifier: per-channel operands and settings.
#[derive(Clone, Copy, Debug)]
pub struct Normalisation<'a> {
    /// Mean, subtracted: `[C]`, or `[parts, C]` if equal parts of the first axis have separate statistics.
    pub mean: &'a Tensor,
    /// Biased variance, with the extents of `mean`.
    pub variance: &'a Tensor,
    /// γ.
    pub scale: &'a Tensor,
    /// β.
    pub shift: &'a Tensor,
    /// ε under the square root.
    pub epsilon: f32,
    /// Factor of negative outputs: 1 for no rectifier, 0 for ReLU, between them LeakyReLU.
    pub slope: f32,
}

/// Operation on a GEMM result before it is stored.
///
/// Only the epilogues that [`Backend::conv_fusion`] or [`Backend::linear_fusion`] offers are supported.
#[derive(Debug)]
pub enum Epilogue<'a> {
    /// None.
    None,
    /// Applies an activation.
    Activation(Activation),
    /// Computes mean and biased variance of each channel, like [`Backend::batch_statistics`].
    Statistics {
        /// Mean, `[C]` or `[parts, C]`.
        mean: &'a mut Tensor,
        /// Biased variance, of the same extents.
        variance: &'a mut Tensor,
    },
    /// Normalises and rectifies, with the same bits as [`Backend::normalise`].
    Normalised(Normalisation<'a>),
}

impl Epilogue<'_> {
    /// Rejects any epilogue, for backends that support none.
    fn expect_none(&self, operator: &'static str) -> Result<()> {
        match self {
            Self::None => Ok(()),
            _ => Err(Error::InvalidOperand {
                operator,
                problem: format!("this device does not support the epilogue {self:?}"),
            }),
        }
    }
}

/// Passes before and after a GEMM with which its kernel can be fused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fusion {
    /// Whether all three GEMMs of the geometry read packed tensors of several channels.
    ///
    /// See [`Backend::empty_packed`].
    pub packed: bool,
    /// Whether [`Epilogue::Statistics`] is supported.
    pub statistics: bool,
    /// Whether [`Epilogue::Activation`] is supported.
    pub activation: bool,
    /// Whether [`Epilogue::Normalised`] is supported.
    pub normalisation: bool,
    /// Whether the result may be packed.
    pub packed_result: bool,
}

impl Fusion {
    /// Whether a tensor of `channels` channels may be packed for these GEMMs.
    pub(crate) fn takes_packed(self, channels: usize) -> bool {
        self.packed && channels > 1
    }
}

/// The operators of a device.
///
/// Tensors are contiguous and belong to this device. Callers guarantee that shapes fit; the files in [`crate::ops`]
/// check them and report errors. A backend may rely on this, but must stay memory-safe if it is violated. Every
/// element of an output is written. The same inputs give the same bits on any number of threads, and the convolution
/// of an image does not depend on the other images of its batch.
pub trait Backend: Send + Sync + fmt::Debug {
    /// One line about the device, e.g. `cpu (2 threads, AVX-512)`.
    fn description(&self) -> String;

    /// Allocates memory with unspecified contents.
    fn empty(&self, shape: Shape) -> Result<Tensor>;

    /// Copies `values` to the device.
    fn upload(&self, shape: Shape, values: &[f32]) -> Result<Tensor>;

    /// Overwrites the elements of `tensor` in place, so that launches recorded for it stay valid.
    fn write(&self, tensor: &mut Tensor, values: &[f32]) -> Result<()> {
        expect_length("upload", values.len(), tensor.shape().len())?;
        self.write_part(tensor, 0, values)
    }

    /// Overwrites elements of `tensor` from index `first` on, in place.
    ///
    /// Data that exceeds host memory is uploaded in parts.
    fn write_part(&self, tensor: &mut Tensor, first: usize, values: &[f32]) -> Result<()>;

    /// Copies the elements of `tensor` from the device, after all work queued before.
    fn download(&self, tensor: &Tensor) -> Result<Vec<f32>>;

    /// `y[n, o] = Σ_i x[n, i]·weight[o, i] + bias[o]`.
    ///
    /// x is `[N, I]`, weight `[O, I]`, bias `[O]`, y `[N, O]`. The bits of row n of y do not depend on N or on other
    /// rows. The features of a row may form an image, with y `[N, H, W, C]`.
    fn linear(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        epilogue: Epilogue<'_>,
        y: &mut Tensor,
    ) -> Result<()>;

    /// Fusions that the device supports for a linear layer.
    ///
    /// The layer maps N vectors from I to O features, which are images of `channels` channels. The result depends only
    /// on these numbers.
    fn linear_fusion(&self, [rows, inputs, outputs]: [usize; 3], channels: usize) -> Fusion {
        let _ = (rows, inputs, outputs, channels);
        Fusion::default()
    }

    /// `dx[n, i] = Σ_o dy[n, o]·weight[o, i]`.
    fn linear_dgrad(&self, dy: &Tensor, weight: &Tensor, dx: &mut Tensor) -> Result<()>;

    /// `dweight[o, i] = Σ_n dy[n, o]·x[n, i]`.
    fn linear_wgrad(&self, x: &Tensor, dy: &Tensor, dweight: &mut Tensor) -> Result<()>;

    /// `dbias[c]` = Σ of dy over all axes except the last: the gradient of any per-channel bias.
    fn bias_gradient(&self, dy: &Tensor, dbias: &mut Tensor) -> Result<()>;

    /// Algorithm of a convolution GEMM; depends only on the geometry.
    ///
    /// It determines the bound on the rounding errors.
    fn conv_method(&self, product: ConvProduct, geometry: &ConvGeometry) -> ConvMethod {
        let _ = (product, geometry);
        ConvMethod::Direct
    }

    /// Fusions that the device supports for a convolution GEMM. Depends only on the geometry.
    fn conv_fusion(&self, product: ConvProduct, geometry: &ConvGeometry) -> Fusion {
        let _ = (product, geometry);
        Fusion::default()
    }

    /// Allocates memory with unspecified contents for a packed tensor.
    ///
    /// A packed tensor is rounded and laid out as an operand of convolution GEMMs. It cannot be downloaded. Writers
    /// are GEMMs that offer a packed result, [`Backend::pack`], normalisation and its gradient, and the gradient of
    /// ReLU or LeakyReLU. Readers are GEMMs, normalisation and its gradient (as x and dy), the gradient of a bias, and
    /// the gradient of ReLU or LeakyReLU (as dy and as the output).
    fn empty_packed(&self, shape: Shape) -> Result<Tensor> {
        self.empty(shape)
    }

    /// Whether intermediate tensors of training are stored packed, in half the memory.
    ///
    /// These are the inputs of normalisation, and gradients between GEMMs, normalisations and rectifiers. Statistics
    /// are those of the values before rounding.
    fn keeps_packed(&self) -> bool {
        false
    }

    /// Converts `values` to the packed form of [`Backend::empty_packed`].
    fn pack(&self, values: &Tensor, packed: &mut Tensor) -> Result<()> {
        let _ = (values, packed);
        Err(Error::InvalidOperand {
            operator: "pack",
            problem: "this device does not support packed tensors".to_owned(),
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

    /// Mean and biased variance of each channel, `[C]`, or `[parts, C]` per part.
    ///
    /// They are taken over all other axes, for the whole tensor or for each of several equal parts of the first axis.
    ///
    /// Sums are blocked or pairwise, so that their error grows with the logarithm of the count.
    fn batch_statistics(&self, x: &Tensor, mean: &mut Tensor, variance: &mut Tensor) -> Result<()>;

    /// y = rectified((x − mean)·scale/√(variance + ε) + shift), per channel and part.
    fn normalise(&self, x: &Tensor, by: Normalisation<'_>, y: &mut Tensor) -> Result<()>;

    /// Gradients of batch normalisation in training mode, where `mean` and `variance` are those of x.
    ///
    /// With the output y, g = dy where y > 0 and slope·dy elsewhere, x̂ = (x − mean)/√(variance + ε) and M values per
    /// channel: dshift = Σ g, dscale = Σ g·x̂, dx = scale/√(variance + ε)·(g − dshift/M − x̂·dscale/M). The sign of y
    /// is recomputed with the same roundings as [`Backend::normalise`]. Parts are normalised separately: dx uses M and
    /// both sums of its own part, dshift and dscale add all parts in order.
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

    /// dx = dy·activation′(x), from the activation's *output* y.
    ///
    /// At the kink of ReLU and LeakyReLU the derivative is that of the negative side, as in PyTorch.
    fn activate_gradient(
        &self,
        activation: Activation,
        y: &Tensor,
        dy: &Tensor,
        dx: &mut Tensor,
    ) -> Result<()>;

    /// loss = mean over all elements of max(x, 0) − x·target + ln(1 + e^−|x|), a scalar.
    ///
    /// This is the binary cross-entropy of the logits x against one target for all.
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

    /// Copies the elements of `from` to `to`, from index `first` on; other elements keep their values.
    fn copy(&self, from: &Tensor, to: &mut Tensor, first: usize) -> Result<()>;

    /// sum = Σ of the squares of all elements of all `tensors`, a scalar, added as in [`Backend::batch_statistics`].
    fn squared_norm(&self, tensors: &[Tensor], sum: &mut Tensor) -> Result<()>;

    /// Whether backward passes recompute cheap operands instead of storing them.
    ///
    /// Normalised activations are cheap. True for devices where memory is scarcer than time.
    fn recomputes(&self) -> bool {
        false
    }

    /// Free memory in bytes, for a device with memory of its own.
    fn free_memory(&self) -> Option<usize> {
        None
    }

    /// Copies crops `[N, h, w, C]` from maps `[M, H, W, C]`.
    ///
    /// Row n of the table `[N, 4]` holds map, first row, first column, and 1 if the crop is mirrored left to right.
    /// These are integers, which f32 holds exactly up to 2²⁴. Coordinates that would place a crop outside its map are
    /// clamped.
    fn gather(&self, maps: &Tensor, table: &Tensor, crops: &mut Tensor) -> Result<()>;

    /// Copies crops like [`gather`](Self::gather) from maps in half precision.
    ///
    /// The maps have `extents` `[M, H, W, C]` and are IEEE binary16; the conversion is exact. Each element of `pairs`
    /// holds two half-precision values in its bits, the first in the lower half; all are finite.
    fn gather_half(
        &self,
        pairs: &Tensor,
        extents: [usize; 4],
        table: &Tensor,
        crops: &mut Tensor,
    ) -> Result<()>;

    /// One step of Adam over all parameters at once; see [`AdamStep`].
    fn adam(&self, step: AdamStep<'_>) -> Result<()>;

    /// Records the work that `body` queues, to repeat it for the cost of one launch.
    ///
    /// `body` must neither upload nor download, and no other thread may queue work meanwhile. Returns `None` without
    /// running `body` on a device that gains nothing from recording.
    fn record(&self, body: &mut dyn FnMut() -> Result<()>) -> Result<Option<Box<dyn Recording>>> {
        let _ = body;
        Ok(None)
    }
}

/// Extents of maps `[M, H, W, C]`, and number, rows and columns of their crops `[N, h, w, C]`.
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

/// Rejects values that would be written beyond the end of an operand.
fn expect_room(operator: &'static str, length: usize, first: usize, count: usize) -> Result<()> {
    if first.checked_add(count).is_some_and(|end| end <= length) {
        return Ok(());
    }
    Err(Error::InvalidOperand {
        operator,
        problem: format!("an operand of {length} elements has no room for {count} from {first} on"),
    })
}

/// Number of equal parts of `x` that `statistics`, `[C]` or `[parts, C]`, describes, and rows per part.
fn parts_of(operator: &'static str, x: &Tensor, statistics: &Tensor) -> Result<[usize; 2]> {
    let (rows, parts) = (x.shape().rows(), statistics.shape().rows());
    if parts > 0 && rows.is_multiple_of(parts) {
        return Ok([parts, rows / parts]);
    }
    Err(Error::InvalidOperand {
        operator,
        problem: format!("{rows} values per channel cannot be split into {parts} equal parts"),
    })
}

/// Rejects an operand that does not have the number of elements that the operator accesses.
fn expect_length(operator: &'static str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::InvalidOperand {
        operator,
        problem: format!("an operand has {found} elements where {expected} are needed"),
    })
}
