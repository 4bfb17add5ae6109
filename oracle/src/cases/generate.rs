//! Random cases, and the operands of every case.

use super::{Case, Operand, Operator};
use crate::Random;
use crate::operators::activation::Activation;
use crate::operators::adam::Adam;
use crate::operators::convolution::Convolution;
use crate::operators::gather::Gather;
use crate::operators::linear::Linear;

use super::LEAKY_SLOPE;

/// Kinds of operators, for generating random cases of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A fully connected layer.
    Linear,
    /// A convolution.
    Conv2d,
    /// A transposed convolution.
    ConvTranspose2d,
    /// Batch normalisation in training mode.
    BatchNormTraining,
    /// Batch normalisation in inference mode.
    BatchNormInference,
    /// ReLU.
    Relu,
    /// LeakyReLU.
    LeakyRelu,
    /// tanh.
    Tanh,
    /// The loss.
    BceWithLogits,
    /// One optimiser step.
    Adam,
    /// The elementwise sum.
    Add,
    /// The sum of squares.
    SquaredNorm,
    /// Crops of maps.
    Gather,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Linear,
        Self::Conv2d,
        Self::ConvTranspose2d,
        Self::BatchNormTraining,
        Self::BatchNormInference,
        Self::Relu,
        Self::LeakyRelu,
        Self::Tanh,
        Self::BceWithLogits,
        Self::Adam,
        Self::Add,
        Self::SquaredNorm,
        Self::Gather,
    ];
}

/// Kernel, stride and padding of a convolution, without the extents of its sides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) begin: [usize; 2],
    pub(super) end: [usize; 2],
}

impl Window {
    /// The shape whose x side (`from_input`) or y side has `extents`.
    ///
    /// `None` if the arguments are invalid or the other side would be empty.
    pub(super) fn shape(
        &self,
        from_input: bool,
        batch: usize,
        extents: [usize; 2],
        channels: [usize; 2],
    ) -> Option<Convolution> {
        let mut other = [0; 2];
        for axis in 0..2 {
            let padding = self.begin[axis] + self.end[axis];
            let (kernel, stride) = (self.kernel[axis], self.stride[axis]);
            let legal = kernel > 0
                && stride > 0
                && extents[axis] > 0
                && self.begin[axis].max(self.end[axis]) < kernel;
            if !legal {
                return None;
            }
            other[axis] = if from_input {
                (extents[axis] + padding).checked_sub(kernel)? / stride + 1
            } else {
                ((extents[axis] - 1) * stride + kernel)
                    .checked_sub(padding)
                    .filter(|&rows| rows > 0)?
            };
        }
        let (input, output) = if from_input {
            (extents, other)
        } else {
            (other, extents)
        };
        (batch > 0 && !channels.contains(&0)).then_some(Convolution {
            batch,
            input,
            input_channels: channels[0],
            output,
            output_channels: channels[1],
            kernel: self.kernel,
            stride: self.stride,
            begin: self.begin,
        })
    }
}

impl Case {
    /// A random small case: odd extents, single channels, batches of one, kernels of 1 to 5, strides of 1 to 3.
    pub fn random(kind: Kind, seed: u64) -> Self {
        // Each kind draws its own shapes from a seed.
        let mut random = Random::new(seed ^ ((kind as u64 + 1) << 32));
        let operator = match kind {
            Kind::Linear => Operator::Linear(Linear {
                rows: random.between(1, 9),
                inputs: random.between(1, 70),
                outputs: random.between(1, 40),
            }),
            Kind::Conv2d => Operator::Conv2d(random_convolution(&mut random, true)),
            Kind::ConvTranspose2d => {
                Operator::ConvTranspose2d(random_convolution(&mut random, false))
            }
            Kind::BatchNormTraining => Operator::BatchNormTraining {
                rows: random.between(2, 400),
                channels: random.between(1, 20),
                slope: random_slope(&mut random),
            },
            Kind::BatchNormInference => Operator::BatchNormInference {
                rows: random.between(1, 100),
                channels: random.between(1, 20),
                slope: random_slope(&mut random),
            },
            Kind::Relu => activation(Activation::Relu, &mut random),
            Kind::LeakyRelu => {
                activation(Activation::LeakyRelu { slope: LEAKY_SLOPE }, &mut random)
            }
            Kind::Tanh => activation(Activation::Tanh, &mut random),
            Kind::BceWithLogits => Operator::BceWithLogits {
                length: random.between(1, 90),
                target: random.between(0, 1) as f64,
            },
            Kind::Adam => Operator::Adam {
                settings: Adam {
                    learning_rate: 2e-4,
                    beta1: 0.5,
                    beta2: 0.999,
                    epsilon: 1e-8,
                    step: random.between(1, 2000) as u32,
                },
                length: random.between(1, 300),
            },
            Kind::Add => Operator::Add {
                length: random.between(1, 300),
            },
            Kind::SquaredNorm => Operator::SquaredNorm {
                length: random.between(1, 9000),
            },
            Kind::Gather => {
                let size = [random.between(1, 12), random.between(1, 12)];
                Operator::Gather(Gather {
                    maps: random.between(1, 4),
                    size,
                    channels: random.between(1, 3),
                    crops: random.between(1, 5),
                    crop: size.map(|extent| random.between(1, extent)),
                })
            }
        };
        Self { operator, seed }
    }

    /// `count` random cases of every kind.
    pub fn random_set(count: usize, seed: u64) -> Vec<Self> {
        let seeds = (0..count as u64).map(|index| seed.wrapping_mul(1_000_003).wrapping_add(index));
        seeds
            .flat_map(|seed| Kind::ALL.map(|kind| Self::random(kind, seed)))
            .collect()
    }

    /// The operands: inputs, and random upstream gradients.
    pub fn operands(&self) -> Vec<Operand> {
        let mut random = Random::new(self.seed);
        let mut normal = |name, dims: &[usize], mean: f64, deviation: f64| Operand {
            name,
            dims: dims.to_vec(),
            values: (0..dims.iter().product())
                .map(|_| representable(mean + deviation * random.normal()))
                .collect(),
        };
        match self.operator {
            Operator::Linear(Linear {
                rows,
                inputs,
                outputs,
            }) => vec![
                normal("x", &[rows, inputs], 0.1, 1.0),
                normal("weight", &[outputs, inputs], 0.0, 0.1),
                normal("bias", &[outputs], 0.0, 0.5),
                normal("dy", &[rows, outputs], 0.05, 1.0),
            ],
            Operator::Conv2d(shape) => vec![
                normal("x", &shape.input_dims(), 0.1, 1.0),
                normal("weight", &shape.weight_dims(), 0.0, 0.1),
                normal("bias", &[shape.output_channels], 0.0, 0.5),
                normal("dy", &shape.output_dims(), 0.05, 1.0),
            ],
            Operator::ConvTranspose2d(shape) => vec![
                normal("x", &shape.output_dims(), 0.1, 1.0),
                normal("weight", &shape.weight_dims(), 0.0, 0.1),
                normal("bias", &[shape.input_channels], 0.0, 0.5),
                normal("dy", &shape.input_dims(), 0.05, 1.0),
            ],
            Operator::BatchNormTraining { rows, channels, .. }
            | Operator::BatchNormInference { rows, channels, .. } => {
                let mut operands = vec![
                    // A mean far from zero exposes the cancellation of E[x²] − E[x]².
                    normal("x", &[rows, channels], 3.0, 1.5),
                    normal("scale", &[channels], 1.0, 0.2),
                    normal("shift", &[channels], 0.0, 0.3),
                    normal("dy", &[rows, channels], 0.05, 1.0),
                    normal("running_mean", &[channels], 2.5, 0.5),
                    normal("running_variance", &[channels], 0.0, 1.0),
                ];
                for variance in &mut operands[5].values {
                    *variance = representable(0.2 + variance.abs());
                }
                operands
            }
            Operator::Activation { length, .. } => {
                let mut x = normal("x", &[length], 0.0, 1.5);
                // The kink itself, and the tiny values typical of convergence maps.
                for (index, value) in x.values.iter_mut().enumerate() {
                    match index % 7 {
                        2 => *value = 0.0,
                        5 => *value = representable(*value * 1e-3),
                        _ => {}
                    }
                }
                vec![x, normal("dy", &[length], 0.05, 1.0)]
            }
            Operator::BceWithLogits { length, .. } => vec![
                normal("x", &[length], 0.0, 8.0),
                normal("dloss", &[], 1.0, 0.5),
            ],
            Operator::Adam { length, .. } => {
                let mut operands = vec![
                    normal("parameter", &[length], 0.0, 0.02),
                    normal("gradient", &[length], 0.0, 1.0),
                    normal("first", &[length], 0.0, 1.0),
                    normal("second", &[length], 0.0, 1.0),
                ];
                // Gradients of a GAN span many orders of magnitude; one operand covers them.
                for index in 0..length {
                    let size = 10_f64.powi(-((index % 9) as i32));
                    for (operand, power) in [(1, 1), (2, 1), (3, 2)] {
                        let value = &mut operands[operand].values[index];
                        *value = representable(*value * size.powi(power));
                    }
                    operands[3].values[index] = operands[3].values[index].abs();
                }
                operands
            }
            Operator::Add { length } => vec![
                normal("x", &[length], 0.1, 1.0),
                normal("other", &[length], 0.0, 1.0),
                normal("dy", &[length], 0.05, 1.0),
            ],
            Operator::SquaredNorm { length } => vec![normal("x", &[length], 0.1, 1.0)],
            Operator::Gather(shape) => {
                let maps = normal("x", &shape.map_dims(), 0.0, 1.0);
                vec![maps, gather_table(&shape, &mut random)]
            }
        }
    }
}

/// Rows of random crops. Some leave their map, some name a map that does not exist.
fn gather_table(shape: &Gather, random: &mut Random) -> Operand {
    let most = [shape.maps, shape.size[0], shape.size[1], 1];
    Operand {
        name: "table",
        dims: vec![shape.crops, 4],
        values: (0..4 * shape.crops)
            .map(|index| random.between(0, most[index % 4]) as f64)
            .collect(),
    }
}

fn activation(activation: Activation, random: &mut Random) -> Operator {
    Operator::Activation {
        activation,
        length: random.between(1, 300),
    }
}

fn random_convolution(random: &mut Random, from_input: bool) -> Convolution {
    loop {
        let mut window = Window {
            kernel: [random.between(1, 5), random.between(1, 5)],
            stride: [random.between(1, 3), random.between(1, 3)],
            begin: [0; 2],
            end: [0; 2],
        };
        // Half of all cases have the kernel and stride of the model.
        if random.between(0, 1) == 0 {
            window.kernel = [5, 5];
            window.stride = [2, 2];
        }
        for axis in 0..2 {
            window.begin[axis] = random.between(0, window.kernel[axis] - 1);
            window.end[axis] = random.between(0, window.kernel[axis] - 1);
        }
        let extents = [random.between(1, 11), random.between(1, 11)];
        let channels = [random.between(1, 9), random.between(1, 9)];
        let batch = random.between(1, 3);
        if let Some(shape) = window.shape(from_input, batch, extents, channels) {
            return shape;
        }
    }
}

/// Rounds to the nearest f32.
fn representable(value: f64) -> f64 {
    f64::from(value as f32)
}

/// No rectifier, a ReLU, or a LeakyReLU.
fn random_slope(random: &mut Random) -> f64 {
    [1.0, 0.0, LEAKY_SLOPE][random.between(0, 2)]
}
