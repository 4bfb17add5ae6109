//! Expected outputs of a case.

use super::{Case, EPSILON, MOMENTUM, Operand, Operator};
use crate::operators::activation::Activation;
use crate::operators::adam::Adam;
use crate::operators::batch_norm::{self, Channel};
use crate::operators::convolution::{Convolution, Method, Methods};
use crate::operators::gather::Gather;
use crate::operators::linear::Linear;
use crate::operators::{add, bce, bias, squared_norm};
use crate::{Arithmetic, Bounded, Expected};

impl Case {
    /// Returns every output of the forward and backward pass with bounds for `arithmetic`.
    ///
    /// Each output holds at most `most` elements, chosen at random.
    pub fn expected(&self, arithmetic: &Arithmetic, most: usize) -> Vec<Expected> {
        self.expected_by(Methods::default(), arithmetic, most)
    }

    /// Like [`Case::expected`], for the given algorithms of the convolution GEMMs.
    ///
    /// Other operators ignore `methods`.
    ///
    /// # Panics
    /// If Winograd (minimal) filtering is requested for a convolution that it does not support.
    pub fn expected_by(
        &self,
        methods: Methods,
        arithmetic: &Arithmetic,
        most: usize,
    ) -> Vec<Expected> {
        self.evaluate(&self.operands(), methods, arithmetic, most)
    }

    /// Like [`Case::expected`], for operands of the caller with the names and extents of the case's own.
    pub fn expected_from(
        &self,
        operands: &[Operand],
        arithmetic: &Arithmetic,
        most: usize,
    ) -> Vec<Expected> {
        self.evaluate(operands, Methods::default(), arithmetic, most)
    }

    fn evaluate(
        &self,
        operands: &[Operand],
        methods: Methods,
        arithmetic: &Arithmetic,
        most: usize,
    ) -> Vec<Expected> {
        let job = Job {
            operands,
            methods,
            arithmetic,
            most,
            seed: self.seed,
        };
        match self.operator {
            Operator::Linear(shape) => job.linear(shape),
            Operator::Conv2d(shape) => job.conv2d(&shape),
            Operator::ConvTranspose2d(shape) => job.conv_transpose2d(&shape),
            Operator::BatchNormTraining {
                rows,
                channels,
                slope,
            } => job.batch_norm_training(rows, channels, slope),
            Operator::BatchNormInference {
                rows,
                channels,
                slope,
            } => job.batch_norm_inference(rows, channels, slope),
            Operator::Activation { activation, length } => job.activation(activation, length),
            Operator::BceWithLogits { length, target } => job.bce(length, target),
            Operator::Adam { settings, length } => job.adam(&settings, length),
            Operator::Add { length } => job.add(length),
            Operator::SquaredNorm { .. } => vec![job.evaluate("sum", &[], |_| {
                squared_norm::forward(job.get("x"), arithmetic)
            })],
            Operator::Gather(shape) => job.gather(&shape),
        }
    }
}

struct Job<'a> {
    operands: &'a [Operand],
    methods: Methods,
    arithmetic: &'a Arithmetic,
    most: usize,
    seed: u64,
}

impl Job<'_> {
    fn get(&self, name: &str) -> &[f64] {
        let operand = self.operands.iter().find(|operand| operand.name == name);
        &operand
            .expect("a case makes every operand that its operator reads")
            .values
    }

    fn evaluate(
        &self,
        name: &'static str,
        dims: &[usize],
        element: impl FnMut(usize) -> Bounded,
    ) -> Expected {
        Expected::evaluate(name, dims, self.most, self.seed, element)
    }

    fn bias_gradient(&self, channels: usize) -> Expected {
        let dy = self.get("dy");
        self.evaluate("dbias", &[channels], |channel| {
            bias::gradient(dy, channels, channel, self.arithmetic)
        })
    }

    fn linear(&self, shape: Linear) -> Vec<Expected> {
        let (x, weight, bias, dy) = (
            self.get("x"),
            self.get("weight"),
            self.get("bias"),
            self.get("dy"),
        );
        let Linear {
            rows,
            inputs,
            outputs,
        } = shape;
        vec![
            self.evaluate("y", &[rows, outputs], |element| {
                shape.forward((x, weight, bias), element, self.arithmetic)
            }),
            self.evaluate("dx", &[rows, inputs], |element| {
                shape.dgrad(dy, weight, element, self.arithmetic)
            }),
            self.evaluate("dweight", &[outputs, inputs], |element| {
                shape.wgrad(x, dy, element, self.arithmetic)
            }),
            self.bias_gradient(outputs),
        ]
    }

    fn conv2d(&self, shape: &Convolution) -> Vec<Expected> {
        let (x, weight, bias, dy) = (
            self.get("x"),
            self.get("weight"),
            self.get("bias"),
            self.get("dy"),
        );
        vec![
            self.evaluate("y", &shape.output_dims(), |element| {
                let bias = Bounded::exact(bias[element % shape.output_channels]);
                self.fprop(shape, x, weight, element)
                    .plus(bias, self.arithmetic)
            }),
            self.evaluate("dx", &shape.input_dims(), |element| {
                self.dgrad(shape, dy, weight, element)
            }),
            self.evaluate("dweight", &shape.weight_dims(), |element| {
                self.wgrad(shape, x, dy, element)
            }),
            self.bias_gradient(shape.output_channels),
        ]
    }

    fn conv_transpose2d(&self, shape: &Convolution) -> Vec<Expected> {
        let (x, weight, bias, dy) = (
            self.get("x"),
            self.get("weight"),
            self.get("bias"),
            self.get("dy"),
        );
        vec![
            self.evaluate("y", &shape.input_dims(), |element| {
                let bias = Bounded::exact(bias[element % shape.input_channels]);
                self.dgrad(shape, x, weight, element)
                    .plus(bias, self.arithmetic)
            }),
            self.evaluate("dx", &shape.output_dims(), |element| {
                self.fprop(shape, dy, weight, element)
            }),
            self.evaluate("dweight", &shape.weight_dims(), |element| {
                self.wgrad(shape, dy, x, element)
            }),
            self.bias_gradient(shape.input_channels),
        ]
    }

    /// [`Convolution::fprop`] by the chosen method.
    fn fprop(&self, shape: &Convolution, x: &[f64], w: &[f64], element: usize) -> Bounded {
        match self.methods.fprop {
            Method::Direct => shape.fprop(x, w, element, self.arithmetic),
            Method::Winograd => shape.winograd().fprop(x, w, element, self.arithmetic),
        }
    }

    /// [`Convolution::dgrad`] by the chosen method.
    fn dgrad(&self, shape: &Convolution, y: &[f64], w: &[f64], element: usize) -> Bounded {
        match self.methods.dgrad {
            Method::Direct => shape.dgrad(y, w, element, self.arithmetic),
            Method::Winograd => shape.winograd().dgrad(y, w, element, self.arithmetic),
        }
    }

    /// [`Convolution::wgrad`] by the chosen method.
    fn wgrad(&self, shape: &Convolution, x: &[f64], y: &[f64], element: usize) -> Bounded {
        match self.methods.wgrad {
            Method::Direct => shape.wgrad(x, y, element, self.arithmetic),
            Method::Winograd => shape.winograd().wgrad(x, y, element, self.arithmetic),
        }
    }

    fn batch_norm_training(&self, rows: usize, channels: usize, slope: f64) -> Vec<Expected> {
        let (x, dy) = (self.get("x"), self.get("dy"));
        let arithmetic = self.arithmetic;
        let column = |values: &[f64], channel: usize| -> Vec<f64> {
            values
                .iter()
                .skip(channel)
                .step_by(channels)
                .copied()
                .collect()
        };
        let all: Vec<_> = (0..channels)
            .map(|channel| {
                let values = column(x, channel);
                let [mean, variance] = batch_norm::statistics(values.iter().copied(), arithmetic);
                let state = Channel {
                    kept_roundoff: arithmetic.kept_roundoff,
                    ..self.channel(channel, mean, variance, slope)
                };
                let pairs: Vec<_> = values.into_iter().zip(column(dy, channel)).collect();
                let gradients = state.gradients(pairs.iter().copied(), arithmetic);
                (state, gradients)
            })
            .collect();
        let running = |name, batch: fn(&Channel) -> Bounded, factor| {
            let old = self.get(name);
            self.evaluate(name, &[channels], |channel| {
                let batch = batch(&all[channel].0);
                batch_norm::update_running(old[channel], batch, MOMENTUM, factor, arithmetic)
            })
        };
        let dims = [rows, channels];
        vec![
            self.evaluate("y", &dims, |element| {
                all[element % channels].0.normalise(x[element], arithmetic)
            }),
            self.evaluate("mean", &[channels], |channel| all[channel].0.mean),
            self.evaluate("variance", &[channels], |channel| all[channel].0.variance),
            running("running_mean", |channel| channel.mean, 1.0),
            running(
                "running_variance",
                |channel| channel.variance,
                batch_norm::unbiased_factor(rows),
            ),
            self.evaluate("dx", &dims, |element| {
                let (state, gradients) = &all[element % channels];
                state.dgrad(x[element], dy[element], gradients, arithmetic)
            }),
            self.evaluate("dscale", &[channels], |channel| all[channel].1.scale),
            self.evaluate("dshift", &[channels], |channel| all[channel].1.shift),
        ]
    }

    fn batch_norm_inference(&self, rows: usize, channels: usize, slope: f64) -> Vec<Expected> {
        let x = self.get("x");
        let (means, variances) = (self.get("running_mean"), self.get("running_variance"));
        vec![self.evaluate("y", &[rows, channels], |element| {
            let channel = element % channels;
            let mean = Bounded::exact(means[channel]);
            let variance = Bounded::exact(variances[channel]);
            self.channel(channel, mean, variance, slope)
                .normalise(x[element], self.arithmetic)
        })]
    }

    fn channel(&self, channel: usize, mean: Bounded, variance: Bounded, slope: f64) -> Channel {
        Channel {
            mean,
            variance,
            scale: self.get("scale")[channel],
            shift: self.get("shift")[channel],
            epsilon: EPSILON,
            slope,
            kept_roundoff: 0.0,
        }
    }

    fn activation(&self, activation: Activation, length: usize) -> Vec<Expected> {
        let (x, dy) = (self.get("x"), self.get("dy"));
        vec![
            self.evaluate("y", &[length], |element| {
                activation.forward(x[element], self.arithmetic)
            }),
            self.evaluate("dx", &[length], |element| {
                activation.gradient(x[element], dy[element], self.arithmetic)
            }),
        ]
    }

    fn bce(&self, length: usize, target: f64) -> Vec<Expected> {
        let (x, dloss) = (self.get("x"), self.get("dloss"));
        vec![
            self.evaluate("loss", &[], |_| bce::forward(x, target, self.arithmetic)),
            self.evaluate("dx", &[length], |element| {
                bce::gradient(x[element], target, length, dloss[0], self.arithmetic)
            }),
        ]
    }

    fn add(&self, length: usize) -> Vec<Expected> {
        let (x, other, dy) = (self.get("x"), self.get("other"), self.get("dy"));
        let gradient = |name| self.evaluate(name, &[length], |element| add::gradient(dy[element]));
        vec![
            self.evaluate("y", &[length], |element| {
                add::forward(x[element], other[element], self.arithmetic)
            }),
            gradient("dx"),
            gradient("dother"),
        ]
    }

    fn gather(&self, shape: &Gather) -> Vec<Expected> {
        let (x, table) = (self.get("x"), self.get("table"));
        vec![self.evaluate("y", &shape.crop_dims(), |element| {
            Bounded::exact(x[shape.source(table, element)])
        })]
    }

    fn adam(&self, settings: &Adam, length: usize) -> Vec<Expected> {
        let (parameter, gradient) = (self.get("parameter"), self.get("gradient"));
        let (first, second) = (self.get("first"), self.get("second"));
        let update = |element: usize| {
            let state = [parameter[element], first[element], second[element]];
            settings.update(state, gradient[element], self.arithmetic)
        };
        vec![
            self.evaluate("parameter", &[length], |element| update(element).parameter),
            self.evaluate("first", &[length], |element| update(element).first),
            self.evaluate("second", &[length], |element| update(element).second),
        ]
    }
}
