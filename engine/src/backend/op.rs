//! The operators of a device, as data.

use crate::adam::AdamStep;
use crate::error::{Error, Result};
use crate::geometry::{ConvGeometry, ConvProduct};
use crate::tensor::Tensor;

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

/// Formula by which kernels compute an activation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ActivationForm {
    /// x where x > 0, the factor times x elsewhere. Its gradient needs only the sign of its output, so that the output may be
    /// packed.
    Rectifier(f32),
    /// The hyperbolic tangent, whose gradient needs all digits of its output.
    Tanh,
}

impl Activation {
    /// The formula by which kernels compute it.
    pub fn form(self) -> ActivationForm {
        match self {
            Self::Relu => ActivationForm::Rectifier(0.0),
            Self::LeakyRelu { slope } => ActivationForm::Rectifier(slope),
            Self::Tanh => ActivationForm::Tanh,
        }
    }

    /// Whether its gradient needs only the sign of its output.
    pub(crate) fn packs(self) -> bool {
        match self.form() {
            ActivationForm::Rectifier(_) => true,
            ActivationForm::Tanh => false,
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
/// Only the epilogues that [`Backend::conv_fusion`](super::Backend::conv_fusion) or [`Backend::linear_fusion`](super::Backend::linear_fusion) offers are supported.
#[derive(Debug)]
pub enum Epilogue<'a> {
    /// None.
    None,
    /// Applies an activation.
    Activation(Activation),
    /// Computes mean and biased variance of each channel, like [`Op::BatchStatistics`].
    Statistics {
        /// Mean, `[C]` or `[parts, C]`.
        mean: &'a mut Tensor,
        /// Biased variance, of the same extents.
        variance: &'a mut Tensor,
    },
    /// Normalises and rectifies, with the same bits as [`Op::Normalise`].
    Normalised(Normalisation<'a>),
}

impl Epilogue<'_> {
    /// Rejects any epilogue, for backends that support none.
    pub(super) fn expect_none(&self, operator: &'static str) -> Result<()> {
        match self {
            Self::None => Ok(()),
            _ => Err(Error::InvalidOperand {
                operator,
                problem: format!("this device does not support the epilogue {self:?}"),
            }),
        }
    }
}

/// An operator with its operands, for [`Backend::run`](super::Backend::run).
///
/// Outputs are the mutable references. Unless stated otherwise, every element of an output is written.
#[derive(Debug)]
pub enum Op<'a> {
    /// `y[n, o] = Σ_i x[n, i]·weight[o, i] + bias[o]`.
    ///
    /// x is `[N, I]`, weight `[O, I]`, bias `[O]`, y `[N, O]`. The bits of row n of y do not depend on N or on other
    /// rows. The features of a row may form an image, with y `[N, H, W, C]`.
    Linear {
        /// Vectors, `[N, I]`.
        x: &'a Tensor,
        /// Weights, `[O, I]`.
        weight: &'a Tensor,
        /// Bias, `[O]`.
        bias: &'a Tensor,
        /// Operation on the result before it is stored.
        epilogue: Epilogue<'a>,
        /// Output.
        y: &'a mut Tensor,
    },
    /// `dx[n, i] = Σ_o dy[n, o]·weight[o, i]`.
    LinearDgrad {
        /// Gradient of the output, `[N, O]`.
        dy: &'a Tensor,
        /// Weights, `[O, I]`.
        weight: &'a Tensor,
        /// Output, `[N, I]`.
        dx: &'a mut Tensor,
    },
    /// `dweight[o, i] = Σ_n dy[n, o]·x[n, i]`.
    LinearWgrad {
        /// Vectors, `[N, I]`.
        x: &'a Tensor,
        /// Gradient of the output, `[N, O]`.
        dy: &'a Tensor,
        /// Output, `[O, I]`.
        dweight: &'a mut Tensor,
    },
    /// `dbias[c]` = Σ of dy over all axes except the last: the gradient of any per-channel bias.
    BiasGradient {
        /// Gradient of the biased tensor, `[…, C]`.
        dy: &'a Tensor,
        /// Output, `[C]`.
        dbias: &'a mut Tensor,
    },
    /// Converts values to the packed form of [`Backend::empty_packed`](super::Backend::empty_packed).
    Pack {
        /// f32 values.
        values: &'a Tensor,
        /// Output of the same extents.
        packed: &'a mut Tensor,
    },
    /// y = conv(x, weight) + bias. See [`ConvGeometry`].
    ConvFprop {
        /// Window, stride and extents.
        geometry: &'a ConvGeometry,
        /// Images, `[N, H, W, C]`.
        x: &'a Tensor,
        /// Weights, `[R, S, C, K]`.
        weight: &'a Tensor,
        /// Bias, `[K]`.
        bias: Option<&'a Tensor>,
        /// Operation on the result before it is stored.
        epilogue: Epilogue<'a>,
        /// Output, `[N, P, Q, K]`.
        y: &'a mut Tensor,
    },
    /// x = convᵀ(y, weight) + bias. See [`ConvGeometry`].
    ConvDgrad {
        /// Window, stride and extents.
        geometry: &'a ConvGeometry,
        /// Images, `[N, P, Q, K]`.
        y: &'a Tensor,
        /// Weights, `[R, S, C, K]`.
        weight: &'a Tensor,
        /// Bias, `[C]`.
        bias: Option<&'a Tensor>,
        /// Operation on the result before it is stored.
        epilogue: Epilogue<'a>,
        /// Output, `[N, H, W, C]`.
        x: &'a mut Tensor,
    },
    /// `weight[r, s, c, k] = Σ x[n, p·stride − begin + r, q·stride − begin + s, c]·y[n, p, q, k]`.
    ConvWgrad {
        /// Window, stride and extents.
        geometry: &'a ConvGeometry,
        /// Images, `[N, H, W, C]`.
        x: &'a Tensor,
        /// Images, `[N, P, Q, K]`.
        y: &'a Tensor,
        /// Output, `[R, S, C, K]`.
        weight: &'a mut Tensor,
    },
    /// Mean and biased variance of each channel, `[C]`, or `[parts, C]` per part.
    ///
    /// They are taken over all other axes, for the whole tensor or for each of several equal parts of the first axis.
    /// Sums are blocked or pairwise, so that their error grows with the logarithm of the count.
    BatchStatistics {
        /// Values, `[…, C]`.
        x: &'a Tensor,
        /// Output.
        mean: &'a mut Tensor,
        /// Output, of the same extents.
        variance: &'a mut Tensor,
    },
    /// y = rectified((x − mean)·scale/√(variance + ε) + shift), per channel and part.
    Normalise {
        /// Values, `[…, C]`.
        x: &'a Tensor,
        /// Statistics, factors and rectifier.
        by: Normalisation<'a>,
        /// Output, of the extents of x.
        y: &'a mut Tensor,
    },
    /// Gradients of batch normalisation in training mode, where `mean` and `variance` are those of x.
    ///
    /// With the output y, g = dy where y > 0 and slope·dy elsewhere, x̂ = (x − mean)/√(variance + ε) and M values per
    /// channel: dshift = Σ g, dscale = Σ g·x̂, dx = scale/√(variance + ε)·(g − dshift/M − x̂·dscale/M). The sign of y
    /// is recomputed with the same roundings as [`Op::Normalise`]. Parts are normalised separately: dx uses M and both
    /// sums of its own part, dshift and dscale add all parts in order.
    NormaliseGradient {
        /// Values, `[…, C]`.
        x: &'a Tensor,
        /// Statistics, factors and rectifier.
        by: Normalisation<'a>,
        /// Gradient of the output, of the extents of x.
        dy: &'a Tensor,
        /// Output, of the extents of x.
        dx: &'a mut Tensor,
        /// Output, `[C]`.
        dscale: &'a mut Tensor,
        /// Output, `[C]`.
        dshift: &'a mut Tensor,
    },
    /// running ← (1 − momentum)·running + momentum·factor·batch, elementwise.
    UpdateRunning {
        /// Running statistic; updated.
        running: &'a mut Tensor,
        /// Statistic of one batch.
        batch: &'a Tensor,
        /// Share of the batch.
        momentum: f32,
        /// Factor of the batch.
        factor: f32,
    },
    /// y = activation(x), elementwise.
    Activate {
        /// Nonlinearity.
        activation: Activation,
        /// Input.
        x: &'a Tensor,
        /// Output.
        y: &'a mut Tensor,
    },
    /// dx = dy·activation′(x), from the activation's *output* y.
    ///
    /// At the kink of ReLU and LeakyReLU the derivative is that of the negative side, as in PyTorch.
    ActivateGradient {
        /// Nonlinearity.
        activation: Activation,
        /// Output of the forward pass.
        y: &'a Tensor,
        /// Gradient of the output.
        dy: &'a Tensor,
        /// Output.
        dx: &'a mut Tensor,
    },
    /// loss = mean over all elements of max(x, 0) − x·target + ln(1 + e^−|x|), a scalar.
    ///
    /// This is the binary cross-entropy of the logits x against one target for all.
    BceWithLogits {
        /// Logits.
        logits: &'a Tensor,
        /// Target probability.
        target: f32,
        /// Output, a scalar.
        loss: &'a mut Tensor,
    },
    /// dlogits = dloss·(σ(x) − target)/count.
    BceWithLogitsGradient {
        /// Logits.
        logits: &'a Tensor,
        /// Target probability.
        target: f32,
        /// Gradient of the loss, a scalar.
        dloss: &'a Tensor,
        /// Output, of the extents of the logits.
        dlogits: &'a mut Tensor,
    },
    /// y = a + b, elementwise.
    Add {
        /// First summand.
        a: &'a Tensor,
        /// Second summand.
        b: &'a Tensor,
        /// Output.
        y: &'a mut Tensor,
    },
    /// Copies the elements of `from` to `to`, from index `first` on; other elements keep their values.
    Copy {
        /// Source.
        from: &'a Tensor,
        /// Destination.
        to: &'a mut Tensor,
        /// Index of the first element written.
        first: usize,
    },
    /// sum = Σ of the squares of all elements of all `tensors`, a scalar, added as in [`Op::BatchStatistics`].
    SquaredNorm {
        /// Tensors of any extents.
        tensors: &'a [Tensor],
        /// Output, a scalar.
        sum: &'a mut Tensor,
    },
    /// Copies crops `[N, h, w, C]` from maps `[M, H, W, C]`.
    ///
    /// Row n of the table `[N, 4]` holds map, first row, first column, and 1 if the crop is mirrored left to right.
    /// These are integers, which f32 holds exactly up to 2²⁴. Coordinates that would place a crop outside its map are
    /// clamped.
    Gather {
        /// Maps, `[M, H, W, C]`.
        maps: &'a Tensor,
        /// Positions, `[N, 4]`.
        table: &'a Tensor,
        /// Output, `[N, h, w, C]`.
        crops: &'a mut Tensor,
    },
    /// Copies crops like [`Op::Gather`] from maps in half precision.
    ///
    /// The maps are IEEE binary16; the conversion is exact. Each element of `pairs` holds two half-precision values in
    /// its bits, the first in the lower half; all are finite.
    GatherHalf {
        /// Maps, two values per element.
        pairs: &'a Tensor,
        /// Extents of the maps, `[M, H, W, C]`.
        extents: [usize; 4],
        /// Positions, `[N, 4]`.
        table: &'a Tensor,
        /// Output, `[N, h, w, C]`.
        crops: &'a mut Tensor,
    },
    /// One step of Adam over all parameters at once.
    Adam(AdamStep<'a>),
}

impl Op<'_> {
    /// Name in error messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Linear { .. } => "linear",
            Self::LinearDgrad { .. } | Self::LinearWgrad { .. } => "linear gradient",
            Self::BiasGradient { .. } => "bias gradient",
            Self::Pack { .. } => "pack",
            Self::ConvFprop { .. } => "convolution",
            Self::ConvDgrad { .. } => "transposed convolution",
            Self::ConvWgrad { .. } => "weight gradient",
            Self::BatchStatistics { .. } | Self::Normalise { .. } | Self::UpdateRunning { .. } => {
                "batch_norm"
            }
            Self::NormaliseGradient { .. } => "batch_norm gradient",
            Self::Activate { .. } => "activation",
            Self::ActivateGradient { .. } => "activation gradient",
            Self::BceWithLogits { .. } => "bce_with_logits",
            Self::BceWithLogitsGradient { .. } => "bce_with_logits gradient",
            Self::Add { .. } => "add",
            Self::Copy { .. } => "copy",
            Self::SquaredNorm { .. } => "squared norm",
            Self::Gather { .. } | Self::GatherHalf { .. } => "gather",
            Self::Adam(_) => "adam",
        }
    }

    /// The convolution GEMM, if the operator is one.
    pub fn convolution(&self) -> Option<(ConvProduct, &ConvGeometry)> {
        match self {
            Self::ConvFprop { geometry, .. } => Some((ConvProduct::Fprop, geometry)),
            Self::ConvDgrad { geometry, .. } => Some((ConvProduct::Dgrad, geometry)),
            Self::ConvWgrad { geometry, .. } => Some((ConvProduct::Wgrad, geometry)),
            _ => None,
        }
    }
}
