//! What an operator is called, and over what it ran.

use std::fmt;

use crate::backend::Activation;
use crate::geometry::ConvGeometry;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// What an operator computes; see the method of the same name of [`Backend`](crate::backend::Backend).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// y of a convolution.
    Fprop,
    /// x of a convolution.
    Dgrad,
    /// The weights of a convolution.
    Wgrad,
    /// y of a linear layer.
    Linear,
    /// The gradient of its input.
    LinearDgrad,
    /// The gradient of its weights.
    LinearWgrad,
    /// The gradient of a bias.
    BiasGradient,
    /// Mean and variance.
    BatchStatistics,
    /// Normalisation and the rectifier behind it.
    Normalise,
    /// The gradients of both.
    NormaliseGradient,
    /// Running statistics.
    UpdateRunning,
    /// max(x, 0).
    Relu,
    /// Its gradient.
    ReluGradient,
    /// x or slope·x.
    LeakyRelu,
    /// Its gradient.
    LeakyReluGradient,
    /// tanh x.
    Tanh,
    /// Its gradient.
    TanhGradient,
    /// The loss.
    BceWithLogits,
    /// Its gradient.
    BceWithLogitsGradient,
    /// a + b.
    Add,
    /// x, into a part of a larger tensor.
    Copy,
    /// Σ of squares.
    SquaredNorm,
    /// Crops of maps.
    Gather,
    /// A step of the optimiser.
    Adam,
}

impl Kind {
    /// All of them, in the order of [`Backend`](crate::backend::Backend).
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

    /// Its name in tables and on the command line.
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

/// Over what an operator runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extents {
    /// Images, weights and window of a convolution.
    Convolution(ConvGeometry),
    /// A linear layer.
    Linear {
        /// N: vectors.
        rows: usize,
        /// I: features of each.
        inputs: usize,
        /// O: features of the result.
        outputs: usize,
    },
    /// Images `[N, H, W, C]`.
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
        /// In how many tensors.
        tensors: usize,
        /// How many in all.
        length: usize,
    },
}

/// An operator with its extents: what one row of a profile is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operator {
    /// What it computes.
    pub kind: Kind,
    /// Over what.
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
            // Its features may be an image.
            outputs: y.shape().len() / rows.max(1),
        };
        Self { kind, extents }
    }

    /// Something done for each element of `tensor`, or for each of its channels.
    pub(super) fn over(kind: Kind, tensor: &Tensor) -> Self {
        Self {
            kind,
            extents: Extents::of(tensor.shape()),
        }
    }

    /// Something done to `tensors` tensors with `length` values in all.
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

/// The short name, as in `dgrad 256→128 at 64²`: channels from where to where, and the extents of the finer image.
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
