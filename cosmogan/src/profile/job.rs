//! Operators with operands of their own, which run on a backend.

use std::sync::Arc;

use cosmogan_engine::adam::{AdamOperand, AdamSettings, AdamStep};
use cosmogan_engine::backend::{Activation, Backend, Epilogue, Normalisation, Op};
use cosmogan_engine::profile::Kind;
use cosmogan_engine::{ConvGeometry, Shape, Tensor, ops};

use crate::error::{Error, Result};
use crate::model::config::{BATCH_NORM_EPSILON, LEAKY_SLOPE};

/// An operator with its operands, which runs on a backend.
pub(super) type Job = Box<dyn FnMut(&dyn Backend) -> cosmogan_engine::Result<()>>;

/// Values between 0.001 and 1. None is zero or negative, so they can also serve as variances.
fn noise(backend: &Arc<dyn Backend>, dims: &[usize]) -> Result<Tensor> {
    let length = dims.iter().product();
    let values: Vec<f32> = (0..length)
        .map(|index: usize| (index as f32 * 0.37).sin().abs().max(1e-3))
        .collect();
    Ok(backend.upload(Shape::from(dims), &values)?)
}

/// One GEMM of a convolution.
pub(super) fn convolution(
    kind: Kind,
    geometry: ConvGeometry,
    backend: &Arc<dyn Backend>,
) -> Result<Job> {
    let mut x = noise(backend, &geometry.input_dims())?;
    let mut y = noise(backend, &geometry.output_dims())?;
    let mut weight = noise(backend, &geometry.weight_dims())?;
    Ok(Box::new(move |backend| match kind {
        Kind::Fprop => backend.run(Op::ConvFprop {
            geometry: &geometry,
            x: &x,
            weight: &weight,
            bias: None,
            epilogue: Epilogue::None,
            y: &mut y,
        }),
        Kind::Dgrad => backend.run(Op::ConvDgrad {
            geometry: &geometry,
            y: &y,
            weight: &weight,
            bias: None,
            epilogue: Epilogue::None,
            x: &mut x,
        }),
        _ => backend.run(Op::ConvWgrad {
            geometry: &geometry,
            x: &x,
            y: &y,
            weight: &mut weight,
        }),
    }))
}

/// One GEMM of a linear layer.
pub(super) fn linear(
    kind: Kind,
    [rows, inputs, outputs]: [usize; 3],
    backend: &Arc<dyn Backend>,
) -> Result<Job> {
    let mut x = noise(backend, &[rows, inputs])?;
    let mut y = noise(backend, &[rows, outputs])?;
    let mut weight = noise(backend, &[outputs, inputs])?;
    let bias = noise(backend, &[outputs])?;
    Ok(Box::new(move |backend| match kind {
        Kind::Linear => backend.run(Op::Linear {
            x: &x,
            weight: &weight,
            bias: &bias,
            epilogue: Epilogue::None,
            y: &mut y,
        }),
        Kind::LinearDgrad => backend.run(Op::LinearDgrad {
            dy: &y,
            weight: &weight,
            dx: &mut x,
        }),
        _ => backend.run(Op::LinearWgrad {
            x: &x,
            dy: &y,
            dweight: &mut weight,
        }),
    }))
}

/// Gathers whole maps in half precision; all values are zero, which does not affect the time.
pub(super) fn gather_half(dims: &[usize], backend: &Arc<dyn Backend>) -> Result<Job> {
    let extents: [usize; 4] = dims.try_into().map_err(|_| {
        let (problem, remedy) = ("maps have four extents", "give --shape \"n= h= w= c=\"");
        Error::usage("--shape", problem, remedy)
    })?;
    let [count, ..] = extents;
    let lines: Vec<f32> = (0..count)
        .flat_map(|map| [map as f32, 0.0, 0.0, 0.0])
        .collect();
    let table = backend.upload(Shape::from([count, 4]), &lines)?;
    let zeros = vec![0.0; dims.iter().product::<usize>().div_ceil(2)];
    let pairs = backend.upload(Shape::from([zeros.len()]), &zeros)?;
    let mut crops = noise(backend, dims)?;
    Ok(Box::new(move |backend| {
        backend.run(Op::GatherHalf {
            pairs: &pairs,
            extents,
            table: &table,
            crops: &mut crops,
        })
    }))
}

/// Operators over tensors of one shape, with per-channel vectors if they need any.
pub(super) fn elementwise(kind: Kind, dims: &[usize], backend: &Arc<dyn Backend>) -> Result<Job> {
    let image = || noise(backend, dims);
    let channels = [dims.last().copied().unwrap_or(1)];
    let vector = || noise(backend, &channels);
    let (x, mut y) = (image()?, image()?);
    let leaky = Activation::LeakyRelu { slope: LEAKY_SLOPE };
    Ok(match kind {
        Kind::BiasGradient => {
            let mut sums = vector()?;
            Box::new(move |backend| {
                backend.run(Op::BiasGradient {
                    dy: &x,
                    dbias: &mut sums,
                })
            })
        }
        Kind::BatchStatistics => {
            let (mut mean, mut variance) = (vector()?, vector()?);
            Box::new(move |backend| {
                backend.run(Op::BatchStatistics {
                    x: &x,
                    mean: &mut mean,
                    variance: &mut variance,
                })
            })
        }
        Kind::Normalise => {
            let by = Vectors::new(vector)?;
            Box::new(move |backend| {
                backend.run(Op::Normalise {
                    x: &x,
                    by: by.normalisation(),
                    y: &mut y,
                })
            })
        }
        Kind::NormaliseGradient => {
            let by = Vectors::new(vector)?;
            let (mut dscale, mut dshift, dy) = (vector()?, vector()?, image()?);
            Box::new(move |backend| {
                let (dscale, dshift) = (&mut dscale, &mut dshift);
                backend.run(Op::NormaliseGradient {
                    x: &x,
                    by: by.normalisation(),
                    dy: &dy,
                    dx: &mut y,
                    dscale,
                    dshift,
                })
            })
        }
        Kind::UpdateRunning => Box::new(move |backend| {
            backend.run(Op::UpdateRunning {
                running: &mut y,
                batch: &x,
                momentum: 0.1,
                factor: 1.0,
            })
        }),
        Kind::Relu => Box::new(move |backend| {
            backend.run(Op::Activate {
                activation: Activation::Relu,
                x: &x,
                y: &mut y,
            })
        }),
        Kind::LeakyRelu => Box::new(move |backend| {
            backend.run(Op::Activate {
                activation: leaky,
                x: &x,
                y: &mut y,
            })
        }),
        Kind::Tanh => Box::new(move |backend| {
            backend.run(Op::Activate {
                activation: Activation::Tanh,
                x: &x,
                y: &mut y,
            })
        }),
        Kind::ReluGradient | Kind::LeakyReluGradient | Kind::TanhGradient => {
            let activation = match kind {
                Kind::ReluGradient => Activation::Relu,
                Kind::LeakyReluGradient => leaky,
                _ => Activation::Tanh,
            };
            let dy = image()?;
            Box::new(move |backend| {
                backend.run(Op::ActivateGradient {
                    activation,
                    y: &x,
                    dy: &dy,
                    dx: &mut y,
                })
            })
        }
        Kind::BceWithLogits => {
            let mut loss = noise(backend, &[])?;
            Box::new(move |backend| {
                backend.run(Op::BceWithLogits {
                    logits: &x,
                    target: 1.0,
                    loss: &mut loss,
                })
            })
        }
        Kind::BceWithLogitsGradient => {
            let dloss = noise(backend, &[])?;
            Box::new(move |backend| {
                backend.run(Op::BceWithLogitsGradient {
                    logits: &x,
                    target: 1.0,
                    dloss: &dloss,
                    dlogits: &mut y,
                })
            })
        }
        Kind::Copy => Box::new(move |backend| {
            backend.run(Op::Copy {
                from: &x,
                to: &mut y,
                first: 0,
            })
        }),
        Kind::SquaredNorm => {
            let mut sum = noise(backend, &[])?;
            let tensors = [x];
            Box::new(move |backend| {
                backend.run(Op::SquaredNorm {
                    tensors: &tensors,
                    sum: &mut sum,
                })
            })
        }
        Kind::Gather => {
            let count = dims.first().copied().unwrap_or(1);
            let lines: Vec<f32> = (0..count)
                .flat_map(|map| [map as f32, 0.0, 0.0, 0.0])
                .collect();
            let table = backend.upload(Shape::from([count, 4]), &lines)?;
            Box::new(move |backend| {
                backend.run(Op::Gather {
                    maps: &x,
                    table: &table,
                    crops: &mut y,
                })
            })
        }
        Kind::Adam => {
            let settings = AdamSettings {
                learning_rate: 2e-4,
                beta1: 0.5,
                beta2: 0.999,
                epsilon: 1e-8,
            };
            let state = backend.upload(Shape::from([2]), &settings.state(1000))?;
            let (mut first, mut second) = (image()?, image()?);
            Box::new(move |backend| {
                let operand = AdamOperand {
                    parameter: &mut y,
                    gradient: &x,
                    first: &mut first,
                    second: &mut second,
                };
                let step = AdamStep {
                    settings,
                    state: &state,
                    operands: vec![operand],
                };
                ops::adam(backend, step)
            })
        }
        // `Add`; GEMMs have other extents.
        _ => {
            let other = image()?;
            Box::new(move |backend| {
                backend.run(Op::Add {
                    a: &x,
                    b: &other,
                    y: &mut y,
                })
            })
        }
    })
}

/// Per-channel vectors of a normalisation.
struct Vectors {
    mean: Tensor,
    variance: Tensor,
    scale: Tensor,
    shift: Tensor,
}

impl Vectors {
    fn new(vector: impl Fn() -> Result<Tensor>) -> Result<Self> {
        Ok(Self {
            mean: vector()?,
            variance: vector()?,
            scale: vector()?,
            shift: vector()?,
        })
    }

    fn normalisation(&self) -> Normalisation<'_> {
        Normalisation {
            mean: &self.mean,
            variance: &self.variance,
            scale: &self.scale,
            shift: &self.shift,
            epsilon: BATCH_NORM_EPSILON,
            slope: LEAKY_SLOPE,
        }
    }
}
