//! Runs a case of the oracle through the tape on a device.

use std::collections::HashMap;
use std::sync::Arc;

use cosmogan_engine::adam::{AdamOperand, AdamSettings, AdamStep};
use cosmogan_engine::backend::cpu::CpuBackend;
use cosmogan_engine::backend::{self, Backend, Fusion, Op};
use cosmogan_engine::ops::{self, BatchNormSettings, update_running_statistics};
use cosmogan_engine::{
    ConvGeometry, ConvProduct, Padding, Part, Result, Shape, Tape, Tensor, Variable,
};
use cosmogan_kernels::convolution::ConvShape;
use cosmogan_oracle::cases::{EPSILON, LEAKY_SLOPE, MOMENTUM};
use cosmogan_oracle::operators::activation::Activation;
use cosmogan_oracle::operators::adam::Adam;
use cosmogan_oracle::operators::convolution::Convolution;
use cosmogan_oracle::{Case, Operand, Operator};

/// Values of a convolution whose epilogue normalises.
pub(crate) const NORMALISED: &str = "normalised";
/// The packed operands that this epilogue writes instead.
pub(crate) const PACKED: &str = "packed";
/// The values as the next GEMM rounds them; must equal [`PACKED`].
pub(crate) const ROUNDED: &str = "rounded";

/// Computes every output of a case on the device.
///
/// # Errors
/// If the device fails or rejects the operands.
pub fn compute(case: &Case, backend: &Arc<dyn Backend>) -> Result<Outputs> {
    let operands = case.operands();
    let job = Job::new(backend, &operands);
    match case.operator {
        Operator::Linear(_) => {
            let [x, weight, bias] = job.parameters(["x", "weight", "bias"])?;
            let y = job.tape.linear(&x, &weight, &bias)?;
            job.differentiate(y, &[("dx", &x), ("dweight", &weight), ("dbias", &bias)])
        }
        Operator::Conv2d(shape) => {
            let (stride, padding) = (shape.stride, padding(&shape));
            let takes_over = backend.conv_fusion(ConvProduct::Fprop, &geometry(&shape));
            job.convolution(takes_over, |x, weight, bias| {
                job.tape.conv2d(x, weight, bias, stride, padding)
            })
        }
        Operator::ConvTranspose2d(shape) => {
            let (stride, padding) = (shape.stride, padding(&shape));
            let takes_over = backend.conv_fusion(ConvProduct::Dgrad, &geometry(&shape));
            job.convolution(takes_over, |x, weight, bias| {
                job.tape.conv_transpose2d(x, weight, bias, stride, padding)
            })
        }
        Operator::BatchNormTraining { slope, .. } => job.batch_norm_training(slope, None),
        Operator::BatchNormInference { slope, .. } => {
            let [x, scale, shift] =
                ["x", "scale", "shift"].map(|name| job.tensor(name).map(|t| job.tape.constant(t)));
            let (mean, variance) = (job.tensor("running_mean")?, job.tensor("running_variance")?);
            let statistics = (&mean, &variance);
            let settings = settings(slope);
            let y = job
                .tape
                .batch_norm_inference(&x?, statistics, &scale?, &shift?, settings)?;
            Ok(HashMap::from([("y", job.download(y.value()?)?)]))
        }
        Operator::Activation { activation, .. } => {
            let [x] = job.parameters(["x"])?;
            let y = job.tape.activate(&x, engine_activation(activation))?;
            job.differentiate(y, &[("dx", &x)])
        }
        Operator::BceWithLogits { target, .. } => {
            let [x] = job.parameters(["x"])?;
            let loss = job.tape.bce_with_logits(&x, target as f32)?;
            let gradients = job.tape.gradients(&loss, job.tensor("dloss")?, &[&x])?;
            Ok(HashMap::from([
                ("loss", job.download(loss.value()?)?),
                ("dx", job.download(&gradients[0])?),
            ]))
        }
        Operator::Adam { settings, .. } => job.adam(&settings),
        Operator::Add { .. } => {
            let [x, other] = job.parameters(["x", "other"])?;
            let y = job.tape.add(&x, &other)?;
            job.differentiate(y, &[("dx", &x), ("dother", &other)])
        }
        Operator::SquaredNorm { length } => job.squared_norm(length),
        Operator::Gather(shape) => {
            let (maps, table) = (job.tensor("x")?, job.tensor("table")?);
            let mut crops = backend.empty(Shape::from(shape.crop_dims()))?;
            backend.run(Op::Gather {
                maps: &maps,
                table: &table,
                crops: &mut crops,
            })?;
            Ok(HashMap::from([("y", job.download(&crops)?)]))
        }
    }
}

/// Outputs of a batch normalisation whose batch is the second of two parts.
///
/// The first part has a gradient of zero, so the outputs equal those of [`compute`].
pub(crate) fn compute_as_a_part(case: &Case, backend: &Arc<dyn Backend>) -> Result<Outputs> {
    let Operator::BatchNormTraining { slope, .. } = case.operator else {
        return compute(case, backend);
    };
    let operands = case.operands();
    let job = Job::new(backend, &operands);
    // Any values of the same extents with other means and variances will do.
    let other = job.tape.constant(job.tensor("dy")?);
    job.batch_norm_training(slope, Some(&other))
}

/// Outputs of an operator, by name.
pub type Outputs = HashMap<&'static str, Vec<f32>>;

struct Job<'a> {
    tape: Tape,
    backend: &'a dyn Backend,
    operands: &'a [Operand],
}

impl<'a> Job<'a> {
    fn new(backend: &'a Arc<dyn Backend>, operands: &'a [Operand]) -> Self {
        Self {
            tape: Tape::new(Arc::clone(backend)),
            backend: &**backend,
            operands,
        }
    }

    fn operand(&self, name: &str) -> &Operand {
        let mut operands = self.operands.iter();
        operands
            .find(|operand| operand.name == name)
            .expect("a case makes every operand that its operator reads")
    }

    fn tensor(&self, name: &str) -> Result<Tensor> {
        let operand = self.operand(name);
        // The oracle's operands are exactly representable.
        let values: Vec<f32> = operand.values.iter().map(|&value| value as f32).collect();
        self.backend.upload(Shape::from(&operand.dims[..]), &values)
    }

    fn parameters<const N: usize>(&self, names: [&str; N]) -> Result<[Variable; N]> {
        let variables: Vec<Variable> = names
            .into_iter()
            .map(|name| Ok(self.tape.parameter(self.tensor(name)?)))
            .collect::<Result<_>>()?;
        Ok(variables
            .try_into()
            .expect("there are as many variables as names"))
    }

    /// Downloads a tensor. If the device guards its tensors, also checks that their guards were not overwritten.
    fn download(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        CpuBackend::check_guards(tensor)?;
        self.backend.download(tensor)
    }

    fn differentiate(&self, y: Variable, wanted: &[(&'static str, &Variable)]) -> Result<Outputs> {
        let variables: Vec<&Variable> = wanted.iter().map(|(_, variable)| *variable).collect();
        let gradients = self.tape.gradients(&y, self.tensor("dy")?, &variables)?;
        let mut outputs = HashMap::from([("y", self.download(y.value()?)?)]);
        for ((name, _), gradient) in wanted.iter().zip(&gradients) {
            outputs.insert(name, self.download(gradient)?);
        }
        Ok(outputs)
    }

    /// The outputs of a convolution, and the statistics of its result from the batch normalisation that follows it.
    ///
    /// Some devices compute the statistics in the epilogue of the convolution. If the epilogue can also normalise, its
    /// outputs are included.
    fn convolution(
        &self,
        takes_over: Fusion,
        run: impl Fn(&Variable, &Variable, &Variable) -> cosmogan_engine::Result<Variable>,
    ) -> Result<Outputs> {
        let [x, weight, bias] = self.parameters(["x", "weight", "bias"])?;
        let y = run(&x, &weight, &bias)?;
        let channels = y.shape().channels();
        let vector = |value: f32| {
            let vector = self
                .backend
                .upload(Shape::from([channels]), &vec![value; channels])?;
            Ok::<_, cosmogan_engine::Error>(self.tape.constant(vector))
        };
        let (_, statistics) =
            self.tape
                .batch_norm_training(&y, 1, &vector(1.0)?, &vector(0.0)?, settings(1.0))?;
        let mut outputs =
            self.differentiate(y, &[("dx", &x), ("dweight", &weight), ("dbias", &bias)])?;
        // The batch has a single part.
        let mean = &statistics.mean.reshape([channels])?;
        let variance = &statistics.variance.reshape([channels])?;
        outputs.insert("mean", self.download(mean)?);
        outputs.insert("variance", self.download(variance)?);
        if takes_over.normalisation {
            let constant = |tensor: &Tensor| self.tape.constant(tensor.clone());
            let [x, weight, bias] = [&x, &weight, &bias].map(Variable::value);
            let y = run(&constant(x?), &constant(weight?), &constant(bias?))?;
            let (scale, shift) = (constant(variance), constant(mean));
            let settings = settings(LEAKY_SLOPE);
            let y =
                self.tape
                    .batch_norm_inference(&y, (mean, variance), &scale, &shift, settings)?;
            // Read as operands first: once the values exist, operands are made from them.
            outputs.insert(PACKED, self.multiplied_by_one(&y)?);
            outputs.insert(NORMALISED, self.download(y.value()?)?);
            outputs.insert(ROUNDED, self.multiplied_by_one(&constant(y.value()?))?);
        }
        Ok(outputs)
    }

    /// Multiplies by the unit matrix, which gives the activations as GEMMs round them.
    fn multiplied_by_one(&self, image: &Variable) -> Result<Vec<f32>> {
        let channels = image.shape().channels();
        let mut unit = vec![0.0; channels * channels];
        unit.iter_mut()
            .step_by(channels + 1)
            .for_each(|one| *one = 1.0);
        let unit = self
            .backend
            .upload(Shape::from([1, 1, channels, channels]), &unit)?;
        let bias = self
            .backend
            .upload(Shape::from([channels]), &vec![0.0; channels])?;
        let [unit, bias] = [unit, bias].map(|tensor| self.tape.constant(tensor));
        let none = Padding {
            begin: [0, 0],
            end: [0, 0],
        };
        let same = self.tape.conv2d(image, &unit, &bias, [1, 1], none)?;
        self.download(same.value()?)
    }

    /// Batch normalisation of x, alone or as the second of two parts.
    fn batch_norm_training(&self, slope: f64, before: Option<&Variable>) -> Result<Outputs> {
        let [x, scale, shift] = self.parameters(["x", "scale", "shift"])?;
        let parts: Vec<&Variable> = before.into_iter().chain([&x]).collect();
        let last = Part {
            index: parts.len() - 1,
            of: parts.len(),
        };
        let batch = self.tape.concatenate(&parts)?;
        let (y, statistics) =
            self.tape
                .batch_norm_training(&batch, parts.len(), &scale, &shift, settings(slope))?;
        let statistics = statistics.part(last)?;
        let (mut mean, mut variance) = (
            self.tensor("running_mean")?,
            self.tensor("running_variance")?,
        );
        update_running_statistics(
            self.backend,
            &statistics,
            MOMENTUM as f32,
            &mut mean,
            &mut variance,
        )?;
        let mut outputs = HashMap::from([("y", self.download(&y.value()?.part(last)?)?)]);
        let mut dy = vec![0.0; y.shape().len() - x.shape().len()];
        dy.extend(self.operand("dy").values.iter().map(|&value| value as f32));
        let dy = self.backend.upload(y.shape().clone(), &dy)?;
        let gradients = self.tape.gradients(&y, dy, &[&x, &scale, &shift])?;
        for (name, gradient) in ["dx", "dscale", "dshift"].into_iter().zip(&gradients) {
            outputs.insert(name, self.download(gradient)?);
        }
        for (name, tensor) in [
            ("mean", &statistics.mean),
            ("variance", &statistics.variance),
            ("running_mean", &mean),
            ("running_variance", &variance),
        ] {
            outputs.insert(name, self.download(tensor)?);
        }
        Ok(outputs)
    }

    /// Squared norm of a short and a long tensor; of one tensor if there are too few values for both.
    fn squared_norm(&self, length: usize) -> Result<Outputs> {
        let operand = &self.operand("x").values;
        let values: Vec<f32> = operand.iter().map(|&value| value as f32).collect();
        let (short, long) = values.split_at(length / 8);
        let tensors = [short, long]
            .into_iter()
            .filter(|values| !values.is_empty())
            .map(|values| self.backend.upload(Shape::from([values.len()]), values))
            .collect::<cosmogan_engine::Result<Vec<_>>>()?;
        let mut sum = self.backend.empty(Shape::from([]))?;
        self.backend.run(Op::SquaredNorm {
            tensors: &tensors,
            sum: &mut sum,
        })?;
        Ok(HashMap::from([("sum", self.download(&sum)?)]))
    }

    fn adam(&self, settings: &Adam) -> Result<Outputs> {
        let (mut parameter, gradient) = (self.tensor("parameter")?, self.tensor("gradient")?);
        let (mut first, mut second) = (self.tensor("first")?, self.tensor("second")?);
        let adam = AdamSettings {
            learning_rate: settings.learning_rate,
            beta1: settings.beta1,
            beta2: settings.beta2,
            epsilon: settings.epsilon,
        };
        let state = adam.state(settings.step.into());
        let state = self.backend.upload(Shape::from([2]), &state)?;
        let step = AdamStep {
            settings: adam,
            state: &state,
            operands: vec![AdamOperand {
                parameter: &mut parameter,
                gradient: &gradient,
                first: &mut first,
                second: &mut second,
            }],
        };
        ops::adam(self.backend, step)?;
        Ok(HashMap::from([
            ("parameter", self.download(&parameter)?),
            ("first", self.download(&first)?),
            ("second", self.download(&second)?),
        ]))
    }
}

fn settings(slope: f64) -> BatchNormSettings {
    BatchNormSettings {
        epsilon: EPSILON as f32,
        slope: slope as f32,
    }
}

pub(crate) fn geometry(shape: &Convolution) -> ConvGeometry {
    (&conv_shape(shape)).into()
}

/// The padding of a shape.
fn padding(shape: &Convolution) -> Padding {
    Padding {
        begin: shape.begin,
        end: shape.end(),
    }
}

fn engine_activation(activation: Activation) -> backend::Activation {
    match activation {
        Activation::Relu => backend::Activation::Relu,
        Activation::LeakyRelu { .. } => backend::Activation::LeakyRelu {
            slope: LEAKY_SLOPE as f32,
        },
        Activation::Tanh => backend::Activation::Tanh,
    }
}

/// Converts a shape of the oracle to one of the kernels.
pub fn conv_shape(shape: &Convolution) -> ConvShape {
    ConvShape {
        batch: shape.batch,
        input: shape.input,
        channels: shape.input_channels,
        output: shape.output,
        outputs: shape.output_channels,
        kernel: shape.kernel,
        stride: shape.stride,
        begin: shape.begin,
    }
}

/// Converts a shape of the kernels to one of the oracle.
pub fn convolution_of(shape: &ConvShape) -> Convolution {
    Convolution {
        batch: shape.batch,
        input: shape.input,
        input_channels: shape.channels,
        output: shape.output,
        output_channels: shape.outputs,
        kernel: shape.kernel,
        stride: shape.stride,
        begin: shape.begin,
    }
}
