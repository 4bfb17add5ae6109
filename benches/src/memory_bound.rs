//! The memory-bound operators of the paper's model, prepared to run: linear layers, batch normalisation, activations,
//! the loss and Adam.

use cosmogan_engine::adam::{AdamOperand, AdamSettings, AdamStep};
use cosmogan_engine::backend::cpu::CpuBackend;
use cosmogan_engine::backend::{Activation, Backend, Epilogue, Normalisation, Op};
use cosmogan_engine::{Result, Shape, Tensor, ops};
use cosmogan_oracle::cases::{EPSILON, LEAKY_SLOPE, Model};
use cosmogan_oracle::operators::activation::Activation as OracleActivation;
use cosmogan_oracle::operators::linear::Linear;
use cosmogan_oracle::{Case, Operator};

/// An operator with operands in memory.
pub struct MemoryBound {
    /// The oracle's text for the operator, without the seed.
    pub name: String,
    /// Bytes that a run must read and write at least.
    pub bytes: f64,
    run: Box<dyn FnMut() -> Result<()>>,
}

impl MemoryBound {
    /// Runs once.
    pub fn run(&mut self) {
        (self.run)().expect("operands fit their operator");
    }
}

/// All memory-bound operators of the paper's model at batch size `batch`, forward and backward together.
pub fn paper(batch: usize) -> Vec<MemoryBound> {
    Case::model_set(&Model::PAPER, batch, 0)
        .into_iter()
        .filter_map(|case| {
            let line = case.to_string();
            let name = line
                .rsplit_once(" seed=")
                .map_or(line.as_str(), |(name, _)| name);
            let (elements, run) = prepare(&case.operator)?;
            Some(MemoryBound {
                name: name.to_owned(),
                bytes: (elements * size_of::<f32>()) as f64,
                run,
            })
        })
        .collect()
}

/// The number of elements that must be read and written, and the operator as a closure.
type Job = (usize, Box<dyn FnMut() -> Result<()>>);

fn prepare(operator: &Operator) -> Option<Job> {
    let backend = CpuBackend::new();
    let noise = |dims: &[usize]| -> Tensor {
        let values: Vec<f32> = (0..dims.iter().product())
            .map(|index| (index as f32 * 0.37).sin().abs())
            .collect();
        backend
            .upload(Shape::from(dims), &values)
            .expect("there are as many values as elements")
    };
    Some(match *operator {
        Operator::Linear(Linear {
            rows,
            inputs,
            outputs,
        }) => {
            let (x, weight, bias) = (
                noise(&[rows, inputs]),
                noise(&[outputs, inputs]),
                noise(&[outputs]),
            );
            let (mut y, mut dx, mut dweight) = (
                noise(&[rows, outputs]),
                noise(&[rows, inputs]),
                noise(&[outputs, inputs]),
            );
            let elements = 3 * inputs * outputs + 3 * rows * (inputs + outputs);
            let run = move || {
                backend.run(Op::Linear {
                    x: &x,
                    weight: &weight,
                    bias: &bias,
                    epilogue: Epilogue::None,
                    y: &mut y,
                })?;
                backend.run(Op::LinearDgrad {
                    dy: &y,
                    weight: &weight,
                    dx: &mut dx,
                })?;
                backend.run(Op::LinearWgrad {
                    x: &x,
                    dy: &y,
                    dweight: &mut dweight,
                })
            };
            (elements, Box::new(run))
        }
        Operator::BatchNormTraining {
            rows,
            channels,
            slope,
        } => {
            let image = [rows, channels];
            let (x, scale, shift) = (noise(&image), noise(&[channels]), noise(&[channels]));
            let (mut mean, mut variance) = (noise(&[channels]), noise(&[channels]));
            let (mut dscale, mut dshift) = (noise(&[channels]), noise(&[channels]));
            let (mut y, mut dx) = (noise(&image), noise(&image));
            let run = move || {
                backend.run(Op::BatchStatistics {
                    x: &x,
                    mean: &mut mean,
                    variance: &mut variance,
                })?;
                let by = Normalisation {
                    mean: &mean,
                    variance: &variance,
                    scale: &scale,
                    shift: &shift,
                    epsilon: EPSILON as f32,
                    slope: slope as f32,
                };
                backend.run(Op::Normalise {
                    x: &x,
                    by,
                    y: &mut y,
                })?;
                backend.run(Op::NormaliseGradient {
                    x: &x,
                    by,
                    dy: &y,
                    dx: &mut dx,
                    dscale: &mut dscale,
                    dshift: &mut dshift,
                })
            };
            // Statistics: x; normalisation: x, y; sums of the gradient: x, dy; gradient: x, dy, dx.
            (8 * rows * channels, Box::new(run))
        }
        Operator::Activation { activation, length } => {
            let activation = match activation {
                OracleActivation::Relu => Activation::Relu,
                OracleActivation::LeakyRelu { .. } => Activation::LeakyRelu {
                    slope: LEAKY_SLOPE as f32,
                },
                OracleActivation::Tanh => Activation::Tanh,
            };
            let (x, dy) = (noise(&[length]), noise(&[length]));
            let (mut y, mut dx) = (noise(&[length]), noise(&[length]));
            let run = move || {
                backend.run(Op::Activate {
                    activation,
                    x: &x,
                    y: &mut y,
                })?;
                backend.run(Op::ActivateGradient {
                    activation,
                    y: &y,
                    dy: &dy,
                    dx: &mut dx,
                })
            };
            (5 * length, Box::new(run))
        }
        Operator::BceWithLogits { length, target } => {
            let (x, one) = (noise(&[length]), noise(&[]));
            let (mut loss, mut dx) = (noise(&[]), noise(&[length]));
            let run = move || {
                backend.run(Op::BceWithLogits {
                    logits: &x,
                    target: target as f32,
                    loss: &mut loss,
                })?;
                backend.run(Op::BceWithLogitsGradient {
                    logits: &x,
                    target: target as f32,
                    dloss: &one,
                    dlogits: &mut dx,
                })
            };
            (3 * length, Box::new(run))
        }
        Operator::Adam { settings, length } => {
            let gradient = noise(&[length]);
            let (mut parameter, mut first, mut second) =
                (noise(&[length]), noise(&[length]), noise(&[length]));
            let adam = AdamSettings {
                learning_rate: settings.learning_rate,
                beta1: settings.beta1,
                beta2: settings.beta2,
                epsilon: settings.epsilon,
            };
            let state = backend
                .upload(Shape::from([2]), &adam.state(settings.step.into()))
                .expect("two values fit");
            let run = move || {
                let operand = AdamOperand {
                    parameter: &mut parameter,
                    gradient: &gradient,
                    first: &mut first,
                    second: &mut second,
                };
                let step = AdamStep {
                    settings: adam,
                    state: &state,
                    operands: vec![operand],
                };
                ops::adam(&backend, step)
            };
            (7 * length, Box::new(run))
        }
        Operator::Conv2d(_)
        | Operator::ConvTranspose2d(_)
        | Operator::BatchNormInference { .. }
        | Operator::Add { .. }
        | Operator::SquaredNorm { .. }
        | Operator::Gather(_) => {
            return None;
        }
    })
}
