//! The generator and the discriminator as lists of layers, each an operator of the oracle.
//!
//! Activations are `[N, H, W, C]` inside and `[N, C, H, W]` at both ends and in files.

use std::path::Path;

use cosmogan_oracle::Arithmetic;
use cosmogan_oracle::operators::activation::Activation;
use cosmogan_oracle::operators::batch_norm::{self, Channel};
use cosmogan_oracle::operators::bias;
use cosmogan_oracle::operators::convolution::Convolution;
use cosmogan_oracle::operators::linear::Linear;

use super::files::{Tensors, with_shapes};

const F32: Arithmetic = Arithmetic::f32();
const EPSILON: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Training,
    Inference,
}

#[derive(Clone, Debug)]
enum Layer {
    Linear {
        inputs: usize,
        outputs: usize,
    },
    /// Convolution or transposed convolution; the extents follow from the input.
    Convolution {
        name: String,
        channels: [usize; 2],
        transposed: bool,
    },
    BatchNorm {
        name: String,
        channels: usize,
    },
    Activation(Activation),
    /// `[N, C·H·W]` to `[N, H, W, C]`; [`Layer::ChannelsFirst`] is the inverse.
    ChannelsLast {
        channels: usize,
    },
    ChannelsFirst {
        channels: usize,
    },
}

/// One network with its tensors in the file's layout.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    layers: Vec<Layer>,
    tensors: Tensors,
    convolutions: usize,
}

/// The input of each layer and the output of the last one.
pub(crate) struct Trace {
    activations: Vec<Vec<f64>>,
    batch: usize,
    mode: Mode,
}

impl Trace {
    pub(crate) fn output(&self) -> &[f64] {
        self.activations.last().expect("a network has layers")
    }
}

impl Network {
    pub(crate) fn load(path: &Path) -> Self {
        let shaped = with_shapes(path);
        let shape = |name: &str| shaped.get(name).map(|(shape, _)| shape.clone());
        let fc = shape("fc.weight").expect("both networks have a linear layer");
        let linear = Layer::Linear {
            inputs: fc[1],
            outputs: fc[0],
        };
        let mut layers = Vec::new();
        let mut convolutions = 0;
        if shape("deconv1.weight").is_some() {
            let channels = shape("deconv1.weight").expect("just found")[0];
            layers.extend([linear, Layer::ChannelsLast { channels }]);
            layers.push(Layer::BatchNorm {
                name: "bn0".to_owned(),
                channels,
            });
            layers.push(Layer::Activation(Activation::Relu));
            while let Some(weight) = shape(&format!("deconv{}.weight", convolutions + 1)) {
                convolutions += 1;
                layers.push(Layer::Convolution {
                    name: format!("deconv{convolutions}"),
                    channels: [weight[1], weight[0]],
                    transposed: true,
                });
                let name = format!("bn{convolutions}");
                if shape(&format!("{name}.weight")).is_some() {
                    layers.push(Layer::BatchNorm {
                        name,
                        channels: weight[1],
                    });
                    layers.push(Layer::Activation(Activation::Relu));
                } else {
                    layers.push(Layer::Activation(Activation::Tanh));
                    layers.push(Layer::ChannelsFirst {
                        channels: weight[1],
                    });
                }
            }
        } else {
            let leaky = Layer::Activation(Activation::LeakyRelu { slope: 0.2 });
            let mut channels = shape("conv0.weight").expect("a discriminator has one")[1];
            layers.push(Layer::ChannelsLast { channels });
            while let Some(weight) = shape(&format!("conv{convolutions}.weight")) {
                channels = weight[0];
                layers.push(Layer::Convolution {
                    name: format!("conv{convolutions}"),
                    channels: [weight[1], weight[0]],
                    transposed: false,
                });
                if convolutions > 0 {
                    layers.push(Layer::BatchNorm {
                        name: format!("bn{convolutions}"),
                        channels,
                    });
                }
                layers.push(leaky.clone());
                convolutions += 1;
            }
            layers.extend([Layer::ChannelsFirst { channels }, linear]);
        }
        Self {
            layers,
            tensors: shaped
                .into_iter()
                .map(|(name, (_, values))| (name, values))
                .collect(),
            convolutions,
        }
    }

    /// Number of convolutions.
    pub(crate) fn layers(&self) -> usize {
        self.convolutions
    }

    pub(crate) fn state(&self) -> Tensors {
        self.tensors.clone()
    }

    pub(crate) fn parameter_mut(&mut self, name: &str) -> &mut Vec<f64> {
        self.tensors
            .get_mut(name)
            .expect("gradients are named like parameters")
    }

    /// Runs all layers; in training mode also updates the running statistics.
    pub(crate) fn forward(&mut self, input: &[f64], mode: Mode) -> Trace {
        let batch = self.batch(input.len());
        let mut activations = vec![input.to_vec()];
        for layer in self.layers.clone() {
            let x = activations.last().expect("the input stands first");
            let y = self.layer_forward(&layer, x, batch, mode);
            activations.push(y);
        }
        Trace {
            activations,
            batch,
            mode,
        }
    }

    /// Returns the gradients of the input and of every parameter, from the gradient of the output.
    pub(crate) fn backward(&self, trace: &Trace, gradient: &[f64]) -> (Vec<f64>, Tensors) {
        assert_eq!(trace.mode, Mode::Training);
        let mut gradients = Tensors::new();
        let mut gradient = gradient.to_vec();
        for (layer, x) in self.layers.iter().zip(&trace.activations).rev() {
            gradient = self.layer_backward(layer, x, &gradient, trace.batch, &mut gradients);
        }
        (gradient, gradients)
    }

    /// Number of maps: the length of the input divided by the width of the first layer.
    ///
    /// Golden sets have 4 or 6 per batch.
    fn batch(&self, length: usize) -> usize {
        let width = match &self.layers[0] {
            Layer::Linear { inputs, .. } => *inputs,
            _ => {
                let fc = self.tensors["fc.weight"].len();
                let last = self.tensors[&format!("conv{}.bias", self.convolutions - 1)].len();
                (fc / last) << (2 * self.convolutions)
            }
        };
        length / width
    }

    fn tensor(&self, layer: &str, part: &str) -> &[f64] {
        &self.tensors[&format!("{layer}.{part}")]
    }

    fn layer_forward(&mut self, layer: &Layer, x: &[f64], batch: usize, mode: Mode) -> Vec<f64> {
        match layer {
            Layer::Linear { inputs, outputs } => {
                let shape = Linear {
                    rows: batch,
                    inputs: *inputs,
                    outputs: *outputs,
                };
                let operands = (x, self.tensor("fc", "weight"), self.tensor("fc", "bias"));
                all(batch * outputs, |element| {
                    shape.forward(operands, element, &F32).value
                })
            }
            Layer::Convolution {
                name,
                channels,
                transposed,
            } => {
                let shape = geometry(x.len(), batch, *channels, *transposed);
                let weight = channels_last_weight(self.tensor(name, "weight"), &shape);
                let bias = self.tensor(name, "bias");
                let dims = if *transposed {
                    shape.input_dims()
                } else {
                    shape.output_dims()
                };
                all(dims.iter().product(), |element| {
                    let product = if *transposed {
                        shape.dgrad(x, &weight, element, &F32)
                    } else {
                        shape.fprop(x, &weight, element, &F32)
                    };
                    product.value + bias[element % bias.len()]
                })
            }
            Layer::BatchNorm { name, channels } => {
                let state: Vec<Channel> = (0..*channels)
                    .map(|channel| self.channel(name, x, *channels, channel, mode))
                    .collect();
                if mode == Mode::Training {
                    self.follow(name, &state, x.len() / channels);
                }
                all(x.len(), |element| {
                    state[element % channels].normalise(x[element], &F32).value
                })
            }
            Layer::Activation(activation) => all(x.len(), |element| {
                activation.forward(x[element], &F32).value
            }),
            Layer::ChannelsLast { channels } => permuted(x, batch, *channels, false),
            Layer::ChannelsFirst { channels } => permuted(x, batch, *channels, true),
        }
    }

    fn layer_backward(
        &self,
        layer: &Layer,
        x: &[f64],
        dy: &[f64],
        batch: usize,
        gradients: &mut Tensors,
    ) -> Vec<f64> {
        let mut keep = |layer: &str, part: &str, values: Vec<f64>| {
            gradients.insert(format!("{layer}.{part}"), values);
        };
        let column_sums = |channels: usize| {
            all(channels, |channel| {
                bias::gradient(dy, channels, channel, &F32).value
            })
        };
        match layer {
            Layer::Linear { inputs, outputs } => {
                let shape = Linear {
                    rows: batch,
                    inputs: *inputs,
                    outputs: *outputs,
                };
                let weights = inputs * outputs;
                keep(
                    "fc",
                    "weight",
                    all(weights, |e| shape.wgrad(x, dy, e, &F32).value),
                );
                keep("fc", "bias", column_sums(*outputs));
                let weight = self.tensor("fc", "weight");
                all(x.len(), |element| {
                    shape.dgrad(dy, weight, element, &F32).value
                })
            }
            Layer::Convolution {
                name,
                channels,
                transposed,
            } => {
                let shape = geometry(x.len(), batch, *channels, *transposed);
                let weight = channels_last_weight(self.tensor(name, "weight"), &shape);
                // The sides x and y of the convolution's geometry.
                let sides = if *transposed { (dy, x) } else { (x, dy) };
                let dweight = all(weight.len(), |e| {
                    shape.wgrad(sides.0, sides.1, e, &F32).value
                });
                keep(name, "weight", channels_first_weight(&dweight, &shape));
                keep(
                    name,
                    "bias",
                    column_sums(if *transposed {
                        channels[0]
                    } else {
                        channels[1]
                    }),
                );
                all(x.len(), |element| {
                    if *transposed {
                        shape.fprop(dy, &weight, element, &F32).value
                    } else {
                        shape.dgrad(dy, &weight, element, &F32).value
                    }
                })
            }
            Layer::BatchNorm { name, channels } => {
                let all_channels: Vec<_> = (0..*channels)
                    .map(|channel| {
                        let state = self.channel(name, x, *channels, channel, Mode::Training);
                        let pairs: Vec<_> = x
                            .iter()
                            .copied()
                            .zip(dy.iter().copied())
                            .skip(channel)
                            .step_by(*channels)
                            .collect();
                        let sums = state.gradients(pairs.iter().copied(), &F32);
                        (state, sums)
                    })
                    .collect();
                keep(
                    name,
                    "weight",
                    all(*channels, |c| all_channels[c].1.scale.value),
                );
                keep(
                    name,
                    "bias",
                    all(*channels, |c| all_channels[c].1.shift.value),
                );
                all(x.len(), |element| {
                    let (state, sums) = &all_channels[element % channels];
                    state.dgrad(x[element], dy[element], sums, &F32).value
                })
            }
            Layer::Activation(activation) => all(x.len(), |element| {
                activation.gradient(x[element], dy[element], &F32).value
            }),
            Layer::ChannelsLast { channels } => permuted(dy, batch, *channels, true),
            Layer::ChannelsFirst { channels } => permuted(dy, batch, *channels, false),
        }
    }

    fn channel(
        &self,
        name: &str,
        x: &[f64],
        channels: usize,
        channel: usize,
        mode: Mode,
    ) -> Channel {
        let [mean, variance] = match mode {
            Mode::Training => {
                batch_norm::statistics(x.iter().copied().skip(channel).step_by(channels), &F32)
            }
            Mode::Inference => ["running_mean", "running_var"]
                .map(|part| cosmogan_oracle::Bounded::exact(self.tensor(name, part)[channel])),
        };
        Channel {
            mean,
            variance,
            scale: self.tensor(name, "weight")[channel],
            shift: self.tensor(name, "bias")[channel],
            epsilon: EPSILON,
            slope: 1.0,
            kept_roundoff: 0.0,
        }
    }

    fn follow(&mut self, name: &str, state: &[Channel], count: usize) {
        let factor = batch_norm::unbiased_factor(count);
        for (channel, state) in state.iter().enumerate() {
            for (part, batch, factor) in [
                ("running_mean", state.mean, 1.0),
                ("running_var", state.variance, factor),
            ] {
                let running = self
                    .tensors
                    .get_mut(&format!("{name}.{part}"))
                    .expect("it was loaded");
                running[channel] =
                    batch_norm::update_running(running[channel], batch, MOMENTUM, factor, &F32)
                        .value;
            }
        }
    }
}

fn all(length: usize, element: impl Fn(usize) -> f64) -> Vec<f64> {
    (0..length).map(element).collect()
}

/// The model's halving convolution for an input of `length` elements; `channels` are those of x and y.
fn geometry(length: usize, batch: usize, channels: [usize; 2], transposed: bool) -> Convolution {
    let here = if transposed { channels[1] } else { channels[0] };
    let size = (length / batch / here).isqrt();
    let (input, output) = if transposed {
        (2 * size, size)
    } else {
        (size, size / 2)
    };
    Convolution {
        batch,
        input: [input; 2],
        input_channels: channels[0],
        output: [output; 2],
        output_channels: channels[1],
        kernel: [5; 2],
        stride: [2; 2],
        begin: [1; 2],
    }
}

/// Converts PyTorch's `[K, C, R, S]` (both kinds of layer) to `[R, S, C, K]`.
fn channels_last_weight(weight: &[f64], shape: &Convolution) -> Vec<f64> {
    let mut result = vec![0.0; weight.len()];
    for (file, engine) in weight_positions(shape) {
        result[engine] = weight[file];
    }
    result
}

fn channels_first_weight(weight: &[f64], shape: &Convolution) -> Vec<f64> {
    let mut result = vec![0.0; weight.len()];
    for (file, engine) in weight_positions(shape) {
        result[file] = weight[engine];
    }
    result
}

fn weight_positions(shape: &Convolution) -> Vec<(usize, usize)> {
    let [rows, columns, c_count, k_count] = shape.weight_dims();
    let taps = rows * columns;
    (0..k_count * c_count * taps)
        .map(|file| {
            let (k, c, tap) = (file / taps / c_count, file / taps % c_count, file % taps);
            (file, (tap * c_count + c) * k_count + k)
        })
        .collect()
}

/// Moves the channels of each image to the first or the last axis.
fn permuted(x: &[f64], batch: usize, channels: usize, first: bool) -> Vec<f64> {
    let image = x.len() / batch;
    let pixels = image / channels;
    all(x.len(), |element| {
        let (n, within) = (element / image, element % image);
        let source = if first {
            (within % pixels) * channels + within / pixels
        } else {
            (within % channels) * pixels + within / channels
        };
        x[n * image + source]
    })
}
