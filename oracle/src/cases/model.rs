//! The cases of a whole model: every operator at its training shape.

use super::{Case, LEAKY_SLOPE, Operator};
use crate::operators::activation::Activation;
use crate::operators::adam::Adam;
use crate::operators::convolution::Convolution;
use crate::operators::gather::Gather;
use crate::operators::linear::Linear;

/// Extents of a generator and a discriminator, named as in the configuration of weight files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// Rows and columns of a map.
    pub output_size: usize,
    /// Convolutions in each network.
    pub layers: usize,
    /// Channels of the generator's last hidden layer.
    pub gf_dim: usize,
    /// Channels of the discriminator's first layer.
    pub df_dim: usize,
    /// Width of the latent vector.
    pub z_dim: usize,
    /// Channels of a map.
    pub c_dim: usize,
}

impl Model {
    /// The model of the paper: 256×256 maps.
    pub const PAPER: Self = Self {
        output_size: 256,
        layers: 4,
        gf_dim: 64,
        df_dim: 64,
        z_dim: 64,
        c_dim: 1,
    };
}

impl Case {
    /// Every operator of the model at its own shape, for a batch of `batch` maps.
    pub fn model_set(model: &Model, batch: usize, seed: u64) -> Vec<Self> {
        let mut operators = Vec::new();
        let coarse = model.output_size >> model.layers;

        // The generator.
        let first = model.gf_dim << (model.layers - 1);
        operators.push(Operator::Linear(Linear {
            rows: batch,
            inputs: model.z_dim,
            outputs: first * coarse * coarse,
        }));
        let (mut size, mut channels) = (coarse, first);
        for layer in 1..=model.layers {
            push_normalised(&mut operators, batch * size * size, channels, 0.0);
            let outputs = if layer == model.layers {
                model.c_dim
            } else {
                channels / 2
            };
            operators.push(Operator::ConvTranspose2d(halving(
                batch,
                2 * size,
                [outputs, channels],
            )));
            (size, channels) = (2 * size, outputs);
        }
        operators.push(Operator::Activation {
            activation: Activation::Tanh,
            length: batch * size * size * channels,
        });

        // The discriminator.
        let leaky = Activation::LeakyRelu { slope: LEAKY_SLOPE };
        for layer in 0..model.layers {
            let outputs = model.df_dim << layer;
            operators.push(Operator::Conv2d(halving(batch, size, [channels, outputs])));
            (size, channels) = (size / 2, outputs);
            if layer == 0 {
                operators.push(Operator::Activation {
                    activation: leaky,
                    length: batch * size * size * channels,
                });
            } else {
                push_normalised(&mut operators, batch * size * size, channels, LEAKY_SLOPE);
            }
        }
        let features = size * size * channels;
        operators.push(Operator::Linear(Linear {
            rows: batch,
            inputs: features,
            outputs: 1,
        }));
        for target in [0.0, 1.0] {
            operators.push(Operator::BceWithLogits {
                length: batch,
                target,
            });
        }
        operators.push(Operator::Adam {
            settings: Adam {
                learning_rate: 2e-4,
                beta1: 0.5,
                beta2: 0.999,
                epsilon: 1e-8,
                step: 1000,
            },
            length: model.z_dim * first * coarse * coarse,
        });
        // The sum of the last convolution's weight gradients from real and from generated maps, the gradient norm of
        // the largest tensor, and a batch of crops from the training maps.
        operators.push(Operator::Add {
            length: WINDOW * WINDOW * channels * (channels / 2).max(1),
        });
        operators.push(Operator::SquaredNorm {
            length: model.z_dim * first * coarse * coarse,
        });
        operators.push(Operator::Gather(Gather {
            maps: 2 * batch,
            size: [model.output_size; 2],
            channels: model.c_dim,
            crops: batch,
            crop: [model.output_size; 2],
        }));

        let mut cases: Vec<Self> = Vec::new();
        for operator in operators {
            // The two networks mirror each other, so some shapes occur in both.
            if cases.iter().all(|case| case.operator != operator) {
                let seed = seed.wrapping_add(cases.len() as u64);
                cases.push(Self { operator, seed });
            }
        }
        cases
    }
}

fn push_normalised(operators: &mut Vec<Operator>, rows: usize, channels: usize, slope: f64) {
    operators.push(Operator::BatchNormTraining {
        rows,
        channels,
        slope,
    });
    operators.push(Operator::BatchNormInference {
        rows,
        channels,
        slope,
    });
}

/// Rows and columns of the window of every convolution.
const WINDOW: usize = 5;

/// The model's convolution: 5×5, stride 2, one zero before and two after, which halves the extents exactly.
fn halving(
    batch: usize,
    size: usize,
    [input_channels, output_channels]: [usize; 2],
) -> Convolution {
    Convolution {
        batch,
        input: [size; 2],
        input_channels,
        output: [size / 2; 2],
        output_channels,
        kernel: [WINDOW; 2],
        stride: [2; 2],
        begin: [1; 2],
    }
}
