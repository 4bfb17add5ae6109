//! The list of cases: one operator, one shape and one seed each.
//!
//! It drives tests, `cosmogan verify` and the benches.
//!
//! A case prints as one line, e.g. `conv2d n=2 h=7 w=9 c=3 k=4 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=17`, and that
//! line parses back, so that a failure can be pasted into `cosmogan verify --case`. The padding is top, left, bottom,
//! right; `n h w c` is the shape of the operator's input and `k` its number of output channels.

mod evaluate;
mod generate;
mod model;
mod named;
mod text;

use crate::operators::activation::Activation;
use crate::operators::adam::Adam;
use crate::operators::convolution::Convolution;
use crate::operators::gather::Gather;
use crate::operators::linear::Linear;

pub use generate::Kind;
pub use model::Model;

/// ε of batch normalisation in every case.
pub const EPSILON: f64 = 1e-5;
/// Momentum of the running statistics in every case.
pub const MOMENTUM: f64 = 0.1;
/// Slope of LeakyReLU in every case.
pub const LEAKY_SLOPE: f64 = 0.2;

/// An operator with its shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operator {
    /// A fully connected layer.
    Linear(Linear),
    /// A convolution; its input is x of the shape.
    Conv2d(Convolution),
    /// A transposed convolution; its input is y of the shape.
    ConvTranspose2d(Convolution),
    /// Batch normalisation with the batch's statistics, and the update of the running ones.
    BatchNormTraining {
        /// Values per channel.
        rows: usize,
        /// Channels.
        channels: usize,
        /// Factor of negative outputs; 1 without a rectifier.
        slope: f64,
    },
    /// Batch normalisation with running statistics.
    BatchNormInference {
        /// Values per channel.
        rows: usize,
        /// Channels.
        channels: usize,
        /// Factor of negative outputs; 1 without a rectifier.
        slope: f64,
    },
    /// An elementwise nonlinearity.
    Activation {
        /// The function.
        activation: Activation,
        /// Number of elements.
        length: usize,
    },
    /// The loss.
    BceWithLogits {
        /// Number of logits.
        length: usize,
        /// The target of all of them.
        target: f64,
    },
    /// One optimiser step.
    Adam {
        /// Settings.
        settings: Adam,
        /// Number of parameters.
        length: usize,
    },
    /// The elementwise sum of two tensors.
    Add {
        /// Number of elements of each.
        length: usize,
    },
    /// The sum of squares over one or several tensors.
    SquaredNorm {
        /// Number of elements in all.
        length: usize,
    },
    /// Crops of maps.
    Gather(Gather),
}

/// An operator, its shape, and the seed of its operands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Case {
    /// Operator and shape.
    pub operator: Operator,
    /// Seed of the operands.
    pub seed: u64,
}

/// One input of an operator, or the upstream gradient of its output.
#[derive(Clone, Debug, PartialEq)]
pub struct Operand {
    /// Name in the operator's documentation.
    pub name: &'static str,
    /// Extents.
    pub dims: Vec<usize>,
    /// Values, each exactly representable in f32.
    pub values: Vec<f64>,
}

impl Case {
    /// Multiplications and additions of the forward pass; 0 for a copy.
    ///
    /// Multiplications by the zeros that a transposed convolution inserts are not counted.
    pub fn operations(&self) -> f64 {
        match self.operator {
            Operator::Linear(linear) => {
                2.0 * linear.rows as f64 * linear.inputs as f64 * linear.outputs as f64
            }
            Operator::Conv2d(shape) | Operator::ConvTranspose2d(shape) => {
                let windows: usize = shape.output_dims().iter().product();
                let taps = shape.kernel[0] * shape.kernel[1] * shape.input_channels;
                2.0 * windows as f64 * taps as f64
            }
            Operator::BatchNormTraining { rows, channels, .. } => 7.0 * (rows * channels) as f64,
            Operator::BatchNormInference { rows, channels, .. } => 2.0 * (rows * channels) as f64,
            Operator::Activation { length, .. } | Operator::Add { length } => length as f64,
            Operator::SquaredNorm { length } => 2.0 * length as f64,
            Operator::Gather(_) => 0.0,
            Operator::BceWithLogits { length, .. } => 6.0 * length as f64,
            Operator::Adam { length, .. } => 12.0 * length as f64,
        }
    }

    /// Values of all operands and results, without overflow.
    pub fn values(&self) -> f64 {
        let product =
            |dims: &[usize]| -> f64 { dims.iter().map(|&extent| extent as f64).product() };
        match self.operator {
            Operator::Linear(shape) => {
                product(&[shape.inputs, shape.rows + shape.outputs])
                    + product(&[shape.outputs, 2 * shape.rows + 1])
            }
            Operator::Conv2d(shape) | Operator::ConvTranspose2d(shape) => {
                let dims = [shape.input_dims(), shape.weight_dims(), shape.output_dims()];
                2.0 * dims.iter().map(|dims| product(dims)).sum::<f64>()
            }
            Operator::BatchNormTraining { rows, channels, .. }
            | Operator::BatchNormInference { rows, channels, .. } => product(&[4, rows, channels]),
            Operator::Activation { length, .. } | Operator::BceWithLogits { length, .. } => {
                product(&[3, length])
            }
            Operator::Add { length } => product(&[4, length]),
            Operator::SquaredNorm { length } => product(&[length]),
            Operator::Gather(shape) => {
                product(&shape.map_dims()) + 2.0 * product(&shape.crop_dims())
            }
            Operator::Adam { length, .. } => product(&[7, length]),
        }
    }

    /// Simpler cases of the same operator, to narrow a failure down: each halves one extent.
    pub fn shrink(&self) -> Vec<Self> {
        let mut simpler = Vec::new();
        let mut try_operator = |operator: Operator| {
            let case = Self { operator, ..*self };
            // A halved extent may leave a convolution without any window.
            if case != *self && case.to_string().parse() == Ok(case) {
                simpler.push(case);
            }
        };
        let half = |extent: usize| extent.div_ceil(2);
        match self.operator {
            Operator::Linear(shape) => {
                for changed in [
                    Linear {
                        rows: half(shape.rows),
                        ..shape
                    },
                    Linear {
                        inputs: half(shape.inputs),
                        ..shape
                    },
                    Linear {
                        outputs: half(shape.outputs),
                        ..shape
                    },
                ] {
                    try_operator(Operator::Linear(changed));
                }
            }
            Operator::Conv2d(shape) => {
                for changed in halved(shape, true) {
                    try_operator(Operator::Conv2d(changed));
                }
            }
            Operator::ConvTranspose2d(shape) => {
                for changed in halved(shape, false) {
                    try_operator(Operator::ConvTranspose2d(changed));
                }
            }
            Operator::BatchNormTraining {
                rows,
                channels,
                slope,
            } => {
                try_operator(Operator::BatchNormTraining {
                    rows: half(rows),
                    channels,
                    slope,
                });
                try_operator(Operator::BatchNormTraining {
                    rows,
                    channels: half(channels),
                    slope,
                });
            }
            Operator::BatchNormInference {
                rows,
                channels,
                slope,
            } => {
                try_operator(Operator::BatchNormInference {
                    rows: half(rows),
                    channels,
                    slope,
                });
                try_operator(Operator::BatchNormInference {
                    rows,
                    channels: half(channels),
                    slope,
                });
            }
            Operator::Activation { activation, length } => {
                try_operator(Operator::Activation {
                    activation,
                    length: half(length),
                });
            }
            Operator::BceWithLogits { length, target } => {
                try_operator(Operator::BceWithLogits {
                    length: half(length),
                    target,
                });
            }
            Operator::Add { length } => {
                try_operator(Operator::Add {
                    length: half(length),
                });
            }
            Operator::SquaredNorm { length } => {
                try_operator(Operator::SquaredNorm {
                    length: half(length),
                });
            }
            Operator::Gather(shape) => {
                for changed in [
                    Gather {
                        maps: half(shape.maps),
                        ..shape
                    },
                    Gather {
                        size: shape.size.map(half),
                        crop: shape.crop.map(half),
                        ..shape
                    },
                    Gather {
                        channels: half(shape.channels),
                        ..shape
                    },
                    Gather {
                        crops: half(shape.crops),
                        ..shape
                    },
                ] {
                    try_operator(Operator::Gather(changed));
                }
            }
            Operator::Adam { settings, length } => {
                try_operator(Operator::Adam {
                    settings,
                    length: half(length),
                });
            }
        }
        simpler
    }
}

/// Convolutions with batch, channels or one extent halved, one at a time; the other side follows.
fn halved(shape: Convolution, from_input: bool) -> Vec<Convolution> {
    let half = |extent: usize| extent.div_ceil(2);
    let mut all = vec![
        Convolution {
            batch: half(shape.batch),
            ..shape
        },
        Convolution {
            input_channels: half(shape.input_channels),
            ..shape
        },
        Convolution {
            output_channels: half(shape.output_channels),
            ..shape
        },
    ];
    let end = shape.end();
    for axis in 0..2 {
        let mut extents = if from_input {
            shape.input
        } else {
            shape.output
        };
        extents[axis] = half(extents[axis]);
        let geometry = generate::Window {
            kernel: shape.kernel,
            stride: shape.stride,
            begin: shape.begin,
            end,
        };
        all.extend(geometry.shape(
            from_input,
            shape.batch,
            extents,
            [shape.input_channels, shape.output_channels],
        ));
    }
    all
}
