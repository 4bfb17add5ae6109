//! Names and extents of operators.

use std::fmt;

use crate::backend::{Activation, Op};
use crate::geometry::ConvGeometry;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Defines [`Kind`] with the list of all kinds and their names.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// Kind of an operator; one or several variants of [`Op`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// All kinds, in the order of the operators of a device.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$kind),*];

            /// Name in tables and on the command line.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// Convolution: y from x and the weights.
    Fprop = "fprop",
    /// Gradient of a convolution with respect to x, or transposed convolution.
    Dgrad = "dgrad",
    /// Gradient of a convolution with respect to the weights.
    Wgrad = "wgrad",
    /// Linear layer.
    Linear = "linear",
    /// Gradient of a linear layer with respect to its input.
    LinearDgrad = "linear_dgrad",
    /// Gradient of a linear layer with respect to its weights.
    LinearWgrad = "linear_wgrad",
    /// Gradient with respect to a bias.
    BiasGradient = "bias_gradient",
    /// Per-channel mean and variance.
    BatchStatistics = "batch_statistics",
    /// Batch normalisation with the rectifier that follows it.
    Normalise = "normalise",
    /// Gradients of batch normalisation and rectifier.
    NormaliseGradient = "normalise_gradient",
    /// Update of running statistics.
    UpdateRunning = "update_running",
    /// max(x, 0).
    Relu = "relu",
    /// Gradient of ReLU.
    ReluGradient = "relu_gradient",
    /// x for x > 0, slope·x otherwise.
    LeakyRelu = "leaky_relu",
    /// Gradient of leaky ReLU.
    LeakyReluGradient = "leaky_relu_gradient",
    /// tanh x.
    Tanh = "tanh",
    /// Gradient of tanh.
    TanhGradient = "tanh_gradient",
    /// Binary cross-entropy loss of logits.
    BceWithLogits = "bce_with_logits",
    /// Gradient of the loss.
    BceWithLogitsGradient = "bce_with_logits_gradient",
    /// a + b.
    Add = "add",
    /// Copy into a part of a larger tensor.
    Copy = "copy",
    /// Sum of squares.
    SquaredNorm = "squared_norm",
    /// Crops of maps.
    Gather = "gather",
    /// A step of the Adam optimiser.
    Adam = "adam",
}

/// Extents of an operator's operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extents {
    /// Activations, weights and window of a convolution.
    Convolution(ConvGeometry),
    /// A linear layer.
    Linear {
        /// N: number of vectors.
        rows: usize,
        /// I: features of the input.
        inputs: usize,
        /// O: features of the output.
        outputs: usize,
    },
    /// Activations `[N, H, W, C]`.
    Images {
        /// N.
        batch: usize,
        /// H and W.
        size: [usize; 2],
        /// C.
        channels: usize,
    },
    /// A matrix `[rows, channels]`.
    Matrix {
        /// Values per channel.
        rows: usize,
        /// Channels.
        channels: usize,
    },
    /// Values in any arrangement.
    Values {
        /// Number of tensors.
        tensors: usize,
        /// Total number of values.
        length: usize,
    },
}

/// An operator with its extents; one row of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operator {
    /// Kind of operator.
    pub kind: Kind,
    /// Extents of its operands.
    pub extents: Extents,
}

impl Operator {
    /// The row of a profile to which `op` belongs; `None` for the packing of an operand, which is part of another
    /// operator.
    pub(super) fn of(op: &Op<'_>) -> Option<Self> {
        let convolution = |kind, geometry: &ConvGeometry| Self {
            kind,
            extents: Extents::Convolution(*geometry),
        };
        // Over the elements or channels of a tensor.
        let over = |kind, tensor: &Tensor| Self {
            kind,
            extents: Extents::of(tensor.shape()),
        };
        let values = |kind, tensors, length| Self {
            kind,
            extents: Extents::Values { tensors, length },
        };
        Some(match op {
            Op::Linear { x, y, .. } => Self::linear(Kind::Linear, x, y),
            Op::LinearDgrad { dy, dx, .. } => Self::linear(Kind::LinearDgrad, dx, dy),
            Op::LinearWgrad { x, dy, .. } => Self::linear(Kind::LinearWgrad, x, dy),
            Op::BiasGradient { dy, .. } => over(Kind::BiasGradient, dy),
            Op::Pack { .. } => return None,
            Op::ConvFprop { geometry, .. } => convolution(Kind::Fprop, geometry),
            Op::ConvDgrad { geometry, .. } => convolution(Kind::Dgrad, geometry),
            Op::ConvWgrad { geometry, .. } => convolution(Kind::Wgrad, geometry),
            Op::BatchStatistics { x, .. } => over(Kind::BatchStatistics, x),
            Op::Normalise { x, .. } => over(Kind::Normalise, x),
            Op::NormaliseGradient { x, .. } => over(Kind::NormaliseGradient, x),
            Op::UpdateRunning { batch, .. } => over(Kind::UpdateRunning, batch),
            Op::Activate { activation, x, .. } => {
                let kind = match activation {
                    Activation::Relu => Kind::Relu,
                    Activation::LeakyRelu { .. } => Kind::LeakyRelu,
                    Activation::Tanh => Kind::Tanh,
                };
                over(kind, x)
            }
            Op::ActivateGradient { activation, y, .. } => {
                let kind = match activation {
                    Activation::Relu => Kind::ReluGradient,
                    Activation::LeakyRelu { .. } => Kind::LeakyReluGradient,
                    Activation::Tanh => Kind::TanhGradient,
                };
                over(kind, y)
            }
            Op::BceWithLogits { logits, .. } => {
                values(Kind::BceWithLogits, 1, logits.shape().len())
            }
            Op::BceWithLogitsGradient { logits, .. } => {
                values(Kind::BceWithLogitsGradient, 1, logits.shape().len())
            }
            // Mostly weight gradients, whose extents would be taken for those of activations.
            Op::Add { a, .. } => values(Kind::Add, 1, a.shape().len()),
            Op::Copy { from, .. } => over(Kind::Copy, from),
            Op::SquaredNorm { tensors, .. } => {
                let lengths = tensors.iter().map(|tensor| tensor.shape().len());
                values(Kind::SquaredNorm, tensors.len(), lengths.sum())
            }
            Op::Gather { crops, .. } | Op::GatherHalf { crops, .. } => over(Kind::Gather, crops),
            Op::Adam(step) => {
                let operands = step.operands.iter();
                let lengths = operands.map(|operand| operand.gradient.shape().len());
                values(Kind::Adam, step.operands.len(), lengths.sum())
            }
        })
    }

    /// A linear layer with input and output of these shapes.
    fn linear(kind: Kind, x: &Tensor, y: &Tensor) -> Self {
        let rows = x.shape().rows();
        let extents = Extents::Linear {
            rows,
            inputs: x.shape().channels(),
            // The output features may be shaped as an image.
            outputs: y.shape().len() / rows.max(1),
        };
        Self { kind, extents }
    }
}

impl Extents {
    fn of(shape: &Shape) -> Self {
        match *shape.dims() {
            [batch, height, width, channels] => Self::Images {
                batch,
                size: [height, width],
                channels,
            },
            [rows, channels] => Self::Matrix { rows, channels },
            _ => Self::Values {
                tensors: 1,
                length: shape.len(),
            },
        }
    }
}

/// Short name, as in `dgrad 256→128 at 64²`: channels from input to output, and the extents of the finer side.
impl fmt::Display for Operator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.kind.name())?;
        match self.extents {
            Extents::Convolution(geometry) => {
                let (fine, coarse) = (geometry.input_channels, geometry.output_channels);
                let (from, to) = if self.kind == Kind::Dgrad {
                    (coarse, fine)
                } else {
                    (fine, coarse)
                };
                write!(formatter, " {from}→{to} at {}", Size(geometry.input))
            }
            Extents::Linear {
                inputs, outputs, ..
            } => {
                let (from, to) = if self.kind == Kind::LinearDgrad {
                    (outputs, inputs)
                } else {
                    (inputs, outputs)
                };
                write!(formatter, " {from}→{to}")
            }
            Extents::Images { size, channels, .. } => {
                write!(formatter, " {channels} at {}", Size(size))
            }
            Extents::Matrix { rows, channels } => write!(formatter, " {rows}×{channels}"),
            Extents::Values { tensors: 1, length } => write!(formatter, " {length}"),
            Extents::Values { tensors, length } => {
                write!(formatter, " {length} in {tensors} tensors")
            }
        }
    }
}

/// Rows and columns: `64²`, or `64×48`.
struct Size([usize; 2]);

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [height, width] if height == width => write!(formatter, "{height}²"),
            [height, width] => write!(formatter, "{height}×{width}"),
        }
    }
}
