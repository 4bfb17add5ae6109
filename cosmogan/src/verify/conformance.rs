//! Runs the oracle's cases through the tape on a device, and measures errors in units of the oracle's bounds.

use std::collections::HashMap;
use std::sync::Arc;

use cosmogan_engine::adam::{AdamOperand, AdamSettings, AdamStep};
use cosmogan_engine::backend::cpu::CpuBackend;
use cosmogan_engine::backend::{self, Backend, Fusion, Precision};
use cosmogan_engine::ops::{BatchNormSettings, update_running_statistics};
use cosmogan_engine::{
    ConvGeometry, ConvMethod, ConvProduct, Padding, Part, Shape, Tape, Tensor, Variable,
};
use cosmogan_oracle::cases::{EPSILON, LEAKY_SLOPE, MOMENTUM};
use cosmogan_oracle::operators::activation::Activation;
use cosmogan_oracle::operators::adam::Adam;
use cosmogan_oracle::operators::batch_norm::{self, Channel};
use cosmogan_oracle::operators::convolution::{Convolution, Method, Methods};
use cosmogan_oracle::{Arithmetic, Bounded, Case, Expected, Operand, Operator};

use super::Check;
use crate::error::{Error, Result};

/// What comes out of the epilogue of a convolution that normalises: values, the operands of a product that are written in their
/// place, and the operands that a product makes of the values.
const NORMALISED: &str = "normalised";
const PACKED: &str = "packed";
const ROUNDED: &str = "rounded";

/// Errors are counted in bounds: up to one is right.
const LIMIT: f64 = 1.0;

/// The roundings that a precision stands for.
pub fn arithmetic(precision: Precision) -> Arithmetic {
    match precision {
        Precision::F32 => Arithmetic::f32(),
        Precision::Tf32 => Arithmetic::tf32(),
        Precision::Bf16 => Arithmetic::bf16(),
    }
}

/// How `backend` computes the products of a convolution, whose errors are bounded accordingly.
pub fn methods(case: &Case, backend: &dyn Backend) -> Methods {
    let (Operator::Conv2d(shape) | Operator::ConvTranspose2d(shape)) = case.operator else {
        return Methods::default();
    };
    let geometry = geometry(&shape);
    let method = |product| match backend.conv_method(product, &geometry) {
        ConvMethod::Direct => Method::Direct,
        ConvMethod::Minimal => Method::Minimal,
    };
    Methods {
        fprop: method(ConvProduct::Fprop),
        dgrad: method(ConvProduct::Dgrad),
        wgrad: method(ConvProduct::Wgrad),
    }
}

/// Says which products of a convolution are not computed directly.
fn describe(methods: Methods) -> Option<String> {
    let products = [
        ("fprop", methods.fprop),
        ("dgrad", methods.dgrad),
        ("wgrad", methods.wgrad),
    ];
    let minimal: Vec<&str> = products
        .into_iter()
        .filter(|(_, method)| *method == Method::Minimal)
        .map(|(name, _)| name)
        .collect();
    (!minimal.is_empty()).then(|| format!("minimal filtering: {}", minimal.join(", ")))
}

/// Runs `case` on `backend` and compares every output, and at most `most` elements of each, with the oracle.
///
/// # Errors
/// Where the device fails or refuses the operands.
pub fn check(
    case: &Case,
    backend: &Arc<dyn Backend>,
    arithmetic: &Arithmetic,
    most: usize,
) -> Result<Check> {
    let mut passes = vec![compute(case, backend)?];
    if matches!(case.operator, Operator::BatchNormTraining { .. }) {
        passes.push(compute_as_a_part(case, backend)?);
    }
    let methods = methods(case, &**backend);
    let mut worst = (0.0, String::new());
    let mut all = case.expected_by(methods, arithmetic, most);
    if matches!(
        case.operator,
        Operator::Conv2d(_) | Operator::ConvTranspose2d(_)
    ) {
        let computed = &passes[0];
        all.extend(statistics_of(&computed["y"], &computed["mean"], arithmetic));
        if computed.contains_key(NORMALISED) {
            all.push(normalised_of(computed, arithmetic, most));
            all.push(packed_of(computed));
        }
    }
    let pairs = passes
        .iter()
        .flat_map(|computed| all.iter().map(move |expected| (computed, expected)));
    for (computed, expected) in pairs {
        let Some(values) = computed.get(expected.name) else {
            worst = (f64::INFINITY, format!("{}: not computed", expected.name));
            continue;
        };
        let comparison = expected.compare(values);
        if comparison.error >= worst.0 {
            worst = (
                comparison.error,
                format!(
                    "{}[{}]: {:e} for {:e} ± {:.1e}",
                    expected.name,
                    comparison.index,
                    comparison.computed,
                    comparison.expected,
                    comparison.bound
                ),
            );
        }
    }
    let check = Check::new(case.to_string(), worst.1, worst.0, LIMIT);
    Ok(Check {
        method: describe(methods),
        ..check
    })
}

/// Mean and variance of a convolution's result, as it was computed: they are sums of those very values. There is one mean for
/// each channel.
fn statistics_of(y: &[f32], means: &[f32], arithmetic: &Arithmetic) -> [Expected; 2] {
    let channels = means.len();
    let all: Vec<_> = (0..channels)
        .map(|channel| {
            let values = y.iter().skip(channel).step_by(channels);
            batch_norm::statistics(values.map(|&value| f64::from(value)), arithmetic)
        })
        .collect();
    ["mean", "variance"].map(|name| {
        let which = usize::from(name == "variance");
        Expected::evaluate(name, &[channels], channels, 0, |channel| {
            all[channel][which]
        })
    })
}

/// What a normalisation by the mean and variance of a convolution's result makes of it, as it was computed, with the variance
/// for a scale and the mean for a shift.
fn normalised_of(computed: &Outputs, arithmetic: &Arithmetic, most: usize) -> Expected {
    let [y, mean, variance] = ["y", "mean", "variance"].map(|name| &computed[name]);
    let channels: Vec<_> = mean
        .iter()
        .zip(variance)
        .map(|(&mean, &variance)| Channel {
            mean: Bounded::exact(mean.into()),
            variance: Bounded::exact(variance.into()),
            scale: variance.into(),
            shift: mean.into(),
            epsilon: EPSILON,
            slope: LEAKY_SLOPE,
            kept_roundoff: 0.0,
        })
        .collect();
    Expected::evaluate(NORMALISED, &[y.len()], most, 0, |index| {
        channels[index % channels.len()].normalise(y[index].into(), arithmetic)
    })
}

/// The same as products multiply it, to the bit.
fn packed_of(computed: &Outputs) -> Expected {
    let expected = &computed[ROUNDED];
    Expected::evaluate(PACKED, &[expected.len()], expected.len(), 0, |index| {
        Bounded::exact(expected[index].into())
    })
}

/// Every output of a case, as the device computes it.
///
/// # Errors
/// As [`check`].
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
            backend.gather(&maps, &table, &mut crops)?;
            Ok(HashMap::from([("y", job.download(&crops)?)]))
        }
    }
}

/// The outputs of a batch normalisation whose batch comes behind another one, which has a gradient of zero: they are what
/// they were without it.
fn compute_as_a_part(case: &Case, backend: &Arc<dyn Backend>) -> Result<Outputs> {
    let Operator::BatchNormTraining { slope, .. } = case.operator else {
        return compute(case, backend);
    };
    let operands = case.operands();
    let job = Job::new(backend, &operands);
    // Any values of these extents with other means and variances.
    let other = job.tape.constant(job.tensor("dy")?);
    job.batch_norm_training(slope, Some(&other))
}

/// Outputs of an operator by name.
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
        Ok(self
            .backend
            .upload(Shape::from(&operand.dims[..]), &values)?)
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

    /// Also looks whether anything beside the tensor was overwritten, where the device can tell.
    fn download(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        CpuBackend::check_guards(tensor)?;
        Ok(self.backend.download(tensor)?)
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

    /// The outputs of a convolution, and the statistics of its result, which a batch normalisation behind it has taken: on
    /// some devices in the convolution's epilogue. Where that normalises, too, what it writes.
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
            Ok::<_, Error>(self.tape.constant(vector))
        };
        let (_, statistics) =
            self.tape
                .batch_norm_training(&y, 1, &vector(1.0)?, &vector(0.0)?, settings(1.0))?;
        let mut outputs =
            self.differentiate(y, &[("dx", &x), ("dweight", &weight), ("dbias", &bias)])?;
        // Of the one part that there is.
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
            // Read as operands first, as values are taken where there are any.
            outputs.insert(PACKED, self.multiplied_by_one(&y)?);
            outputs.insert(NORMALISED, self.download(y.value()?)?);
            outputs.insert(ROUNDED, self.multiplied_by_one(&constant(y.value()?))?);
        }
        Ok(outputs)
    }

    /// A product with the unit matrix: an image as products read it.
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

    /// Of x alone, or of x as the second of two parts.
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

    /// In two tensors, a short and a long one, where there are values for both.
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
        self.backend.squared_norm(&tensors, &mut sum)?;
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
        step.run(self.backend)?;
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

fn geometry(shape: &Convolution) -> ConvGeometry {
    ConvGeometry {
        batch: shape.batch,
        input: shape.input,
        input_channels: shape.input_channels,
        output: shape.output,
        output_channels: shape.output_channels,
        kernel: shape.kernel,
        stride: shape.stride,
        padding: padding(shape),
    }
}

/// The padding that gives a shape its extents.
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
