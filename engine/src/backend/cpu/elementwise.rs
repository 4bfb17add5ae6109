//! Passes over elements that do not look at their neighbours.

use rayon::prelude::*;

use super::{expect_length, read, write};
use crate::adam::AdamStep;
use crate::backend::Activation;
use crate::error::Result;

/// Elements per task.
const CHUNK: usize = 1 << 15;

/// y = activation(x).
pub(super) fn activate(activation: Activation, x: &[f32], y: &mut [f32]) -> Result<()> {
    match activation {
        Activation::Relu => map(x, y, |x| x.max(0.0)),
        Activation::LeakyRelu { slope } => map(x, y, |x| if x > 0.0 { x } else { slope * x }),
        Activation::Tanh => map(x, y, f32::tanh),
    }
}

/// dx = dy·activation′, from the output y.
pub(super) fn activate_gradient(
    activation: Activation,
    y: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) -> Result<()> {
    match activation {
        Activation::Relu => zip(y, dy, dx, |y, dy| if y > 0.0 { dy } else { 0.0 }),
        Activation::LeakyRelu { slope } => {
            zip(y, dy, dx, |y, dy| if y > 0.0 { dy } else { slope * dy })
        }
        Activation::Tanh => zip(y, dy, dx, |y, dy| dy * (1.0 - y * y)),
    }
}

/// y = a + b.
pub(super) fn add(a: &[f32], b: &[f32], y: &mut [f32]) -> Result<()> {
    zip(a, b, y, |a, b| a + b)
}

fn map(x: &[f32], y: &mut [f32], function: impl Fn(f32) -> f32 + Sync) -> Result<()> {
    expect_length("activation", x.len(), y.len())?;
    y.par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .for_each(|(y, x)| {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = function(x);
            }
        });
    Ok(())
}

fn zip(
    a: &[f32],
    b: &[f32],
    y: &mut [f32],
    function: impl Fn(f32, f32) -> f32 + Sync,
) -> Result<()> {
    expect_length("elementwise", a.len(), y.len())?;
    expect_length("elementwise", b.len(), y.len())?;
    y.par_chunks_mut(CHUNK)
        .zip(a.par_chunks(CHUNK))
        .zip(b.par_chunks(CHUNK))
        .for_each(|((y, a), b)| {
            for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                *y = function(a, b);
            }
        });
    Ok(())
}

/// One piece of a parameter with what belongs to it: θ, g, m, v.
type Piece<'a> = (&'a mut [f32], &'a [f32], &'a mut [f32], &'a mut [f32]);

/// One step of Adam over all parameters, in one parallel pass.
pub(super) fn adam(step: AdamStep<'_>) -> Result<()> {
    let settings = step.settings;
    // Differences to 1 are taken in double precision: in f32, 1 − 0.999 would be off by 5e-5.
    let beta1 = settings.beta1 as f32;
    let gain1 = (1.0 - settings.beta1) as f32;
    let beta2 = settings.beta2 as f32;
    let gain2 = (1.0 - settings.beta2) as f32;
    expect_length("adam", read(step.state).len(), 2)?;
    let (rate, second_correction) = (read(step.state)[0], read(step.state)[1]);
    let epsilon = settings.epsilon as f32;

    let mut pieces: Vec<Piece<'_>> = Vec::new();
    for operand in step.operands {
        let parameter = write("adam", operand.parameter)?;
        let first = write("adam", operand.first)?;
        let second = write("adam", operand.second)?;
        let gradient = read(operand.gradient);
        for length in [gradient.len(), first.len(), second.len()] {
            expect_length("adam", length, parameter.len())?;
        }
        pieces.extend(
            parameter
                .chunks_mut(CHUNK)
                .zip(gradient.chunks(CHUNK))
                .zip(first.chunks_mut(CHUNK))
                .zip(second.chunks_mut(CHUNK))
                .map(|(((parameter, gradient), first), second)| {
                    (parameter, gradient, first, second)
                }),
        );
    }
    pieces
        .into_par_iter()
        .for_each(|(parameter, gradient, first, second)| {
            let moments = first.iter_mut().zip(second);
            for ((parameter, &gradient), (first, second)) in
                parameter.iter_mut().zip(gradient).zip(moments)
            {
                *first = beta1 * *first + gain1 * gradient;
                *second = beta2 * *second + gain2 * (gradient * gradient);
                *parameter -= rate * *first / ((*second * second_correction).sqrt() + epsilon);
            }
        });
    Ok(())
}
