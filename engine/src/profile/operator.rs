//! Names and extents of operators.

use std::fmt;

use crate::backend::Activation;
use crate::geometry::ConvGeometry;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Kind of an operator; see the method of the same name of [`Backend`](crate::backend::Backend).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Convolution: y from x and the weights.
    Fprop,
    /// Gradient of a convolution with respect to x, or transposed convolution.
    Dgrad,
    /// Gradient of a convolution with respect to the weights.
    Wgrad,
    /// Linear layer.
    Linear,
    /// Gradient of a linear layer with respect to its input.
    LinearDgrad,
    /// Gradient of a linear layer with respect to its weights.
    LinearWgrad,
    /// Gradient with respect to a bias.
    BiasGradient,
    /// Per-channel mean and variance.
    BatchStatistics,
    /// Batch normalisation with the rectifier that follows it.
    Normalise,
    /// Gradients of batch normalisation and rectifier.
    NormaliseGradient,
    /// Update of running statistics.
    UpdateRunning,
    /// max(x, 0).
    Relu,
    /// Gradient of ReLU.
    ReluGradient,
    /// x for x > 0, slope·x otherwise.
    LeakyRelu,
    /// Gradient of leaky ReLU.
    LeakyReluGradient,
    /// tanh x.
    Tanh,
    /// Gradient of tanh.
    TanhGradient,
    /// Binary cross-entropy loss of logits.
    BceWithLogits,
    /// Gradient of the loss.
    BceWithLogitsGradient,
    /// a + b.
    Add,
    /// Copy into a part of a larger tensor.
    Copy,
    /// Sum of squares.
    SquaredNorm,
    /// Crops of maps.
    Gather,
    /// A step of the Adam optimiser.
    Adam,
}

impl Kind {
    /// All kinds, in the order of [`Backend`](crate::backend::Backend).
    pub const ALL: [Self; 24] = [
        Self::Fprop,
        Self::Dgrad,
        Self::Wgrad,
        Self::Linear,
        Self::LinearDgrad,
        Self::LinearWgrad,
        Self::BiasGradient,
        Self::BatchStatistics,
        Self::Normalise,
        Self::NormaliseGradient,
        Self::UpdateRunning,
        Self::Relu,
        Self::ReluGradient,
        Self::LeakyRelu,
        Self::LeakyReluGradient,
        Self::Tanh,
        Self::TanhGradient,
        Self::BceWithLogits,
        Self::BceWithLogitsGradient,
        Self::Add,
        Self::Copy,
        Self::SquaredNorm,
        Self::Gather,
        Self::Adam,
    ];

    /// Name in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fprop => "fprop",
            Self::Dgrad => "dgrad",
            Self::Wgrad => "wgrad",
            Self::Linear => "linear",
            Self::LinearDgrad => "linear_dgrad",
            Self::LinearWgrad => "linear_wgrad",
            Self::BiasGradient => "bias_gradient",
            Self::BatchStatistics => "batch_statistics",
            Self::Normalise => "normalise",
            Self::NormaliseGradient => "normalise_gradient",
            Self::UpdateRunning => "update_running",
            Self::Relu => "relu",
            Self::ReluGradient => "relu_gradient",
            Self::LeakyRelu => "leaky_relu",
            Self::LeakyReluGradient => "leaky_relu_gradient",
            Self::Tanh => "tanh",
            Self::TanhGradient => "tanh_gradient",
            Self::BceWithLogits => "bce_with_logits",
            Self::BceWithLogitsGradient => "bce_with_logits_gradient",
            Self::Add => "add",
            Self::Copy => "copy",
            Self::SquaredNorm => "squared_norm",
            Self::Gather => "gather",
            Self::Adam => "adam",
        }
    }

    pub(super) fn activation(activation: Activation) -> Self {
        match activation {
            Activation::Relu => Self::Relu,
            Activation::LeakyRelu { .. } => Self::LeakyRelu,
            Activation::Tanh => Self::Tanh,
        }
    }

    pub(super) fn activation_gradient(activation: Activation) -> Self {
        match activation {
            Activation::Relu => Self::ReluGradient,
            Activation::LeakyRelu { .. } => Self::LeakyReluGradient,
            Activation::Tanh => Self::TanhGradient,
        }
    }
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
    pub(super) fn convolution(kind: Kind, geometry: &ConvGeometry) -> Self {
        Self {
            kind,
            extents: Extents::Convolution(*geometry),
        }
    }

    /// A linear layer with input and output of these shapes.
    pub(super) fn linear(kind: Kind, x: &Tensor, y: &Tensor) -> Self {
        let rows = x.shape().rows();
        let extents = Extents::Linear {
            rows,
            inputs: x.shape().channels(),
            // The output features may be shaped as an image.
            outputs: y.shape().len() / rows.max(1),
        };
        Self { kind, extents }
    }

    /// An operator over the elements or channels of `tensor`.
    pub(super) fn over(kind: Kind, tensor: &Tensor) -> Self {
        Self {
            kind,
            extents: Extents::of(tensor.shape()),
        }
    }

    /// An operator over `tensors` tensors with `length` values in total.
    pub(super) fn values(kind: Kind, tensors: usize, length: usize) -> Self {
        Self {
            kind,
            extents: Extents::Values { tensors, length },
        }
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
