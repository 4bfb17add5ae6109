//! Elementwise operators and Adam.

use rayon::prelude::*;

use super::{expect_length, read, write};
use crate::adam::AdamStep;
use crate::backend::Activation;
use crate::error::Result;
use crate::simd::tanh::tanh;
use crate::simd::{InstructionSet, Kernel, Simd};

/// Elements per task.
const CHUNK: usize = 1 << 15;

/// y = activation(x).
pub(super) fn activate(
    set: InstructionSet,
    activation: Activation,
    x: &[f32],
    y: &mut [f32],
) -> Result<()> {
    match activation {
        Activation::Relu => map(set, x, y, |x| x.max(0.0)),
        Activation::LeakyRelu { slope } => map(set, x, y, |x| if x > 0.0 { x } else { slope * x }),
        Activation::Tanh => map(set, x, y, tanh),
    }
}

/// dx = dy·activation′(x), from the output y.
pub(super) fn activate_gradient(
    set: InstructionSet,
    activation: Activation,
    y: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) -> Result<()> {
    match activation {
        Activation::Relu => zip(set, y, dy, dx, |y, dy| if y > 0.0 { dy } else { 0.0 }),
        Activation::LeakyRelu { slope } => zip(set, y, dy, dx, |y, dy| {
            let sloped = slope * dy;
            if y > 0.0 { dy } else { sloped }
        }),
        Activation::Tanh => zip(set, y, dy, dx, |y, dy| dy * (1.0 - y * y)),
    }
}

/// y = a + b.
pub(super) fn add(set: InstructionSet, a: &[f32], b: &[f32], y: &mut [f32]) -> Result<()> {
    zip(set, a, b, y, |a, b| a + b)
}

fn map<F: Fn(f32) -> f32 + Sync>(
    set: InstructionSet,
    x: &[f32],
    y: &mut [f32],
    function: F,
) -> Result<()> {
    struct Map<'a, F> {
        x: &'a [f32],
        y: &'a mut [f32],
        function: &'a F,
    }
    impl<F: Fn(f32) -> f32> Kernel for Map<'_, F> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, _: S) {
            for (y, &x) in self.y.iter_mut().zip(self.x) {
                *y = (self.function)(x);
            }
        }
    }
    expect_length("activation", x.len(), y.len())?;
    let function = &function;
    y.par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .for_each(|(y, x)| set.dispatch(Map { x, y, function }));
    Ok(())
}

fn zip<F: Fn(f32, f32) -> f32 + Sync>(
    set: InstructionSet,
    a: &[f32],
    b: &[f32],
    y: &mut [f32],
    function: F,
) -> Result<()> {
    struct Zip<'a, F> {
        a: &'a [f32],
        b: &'a [f32],
        y: &'a mut [f32],
        function: &'a F,
    }
    impl<F: Fn(f32, f32) -> f32> Kernel for Zip<'_, F> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, _: S) {
            for ((y, &a), &b) in self.y.iter_mut().zip(self.a).zip(self.b) {
                *y = (self.function)(a, b);
            }
        }
    }
    expect_length("elementwise", a.len(), y.len())?;
    expect_length("elementwise", b.len(), y.len())?;
    let function = &function;
    y.par_chunks_mut(CHUNK)
        .zip(a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK)))
        .for_each(|(y, (a, b))| set.dispatch(Zip { a, b, y, function }));
    Ok(())
}

/// Factors of an Adam step.
#[derive(Clone, Copy)]
struct Factors {
    beta1: f32,
    gain1: f32,
    beta2: f32,
    gain2: f32,
    rate: f32,
    second_correction: f32,
    epsilon: f32,
}

/// One piece of a parameter with its gradient and moments.
struct Piece<'a> {
    parameter: &'a mut [f32],
    gradient: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    factors: Factors,
}

impl Kernel for Piece<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let factors = self.factors;
        let moments = self.first.iter_mut().zip(self.second);
        for ((parameter, &gradient), (first, second)) in
            self.parameter.iter_mut().zip(self.gradient).zip(moments)
        {
            *first = factors.beta1 * *first + factors.gain1 * gradient;
            *second = factors.beta2 * *second + factors.gain2 * (gradient * gradient);
            let deviation = (*second * factors.second_correction).sqrt();
            *parameter -= factors.rate * *first / (deviation + factors.epsilon);
        }
    }
}

/// One step of Adam over all parameters, in one parallel pass.
pub(super) fn adam(set: InstructionSet, step: AdamStep<'_>) -> Result<()> {
    let settings = step.settings;
    // Differences to 1 are taken in double precision: in f32, 1 − 0.999 would be off by 5e-5.
    expect_length("adam", read(step.state).len(), 2)?;
    let factors = Factors {
        beta1: settings.beta1 as f32,
        gain1: (1.0 - settings.beta1) as f32,
        beta2: settings.beta2 as f32,
        gain2: (1.0 - settings.beta2) as f32,
        rate: read(step.state)[0],
        second_correction: read(step.state)[1],
        epsilon: settings.epsilon as f32,
    };
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
                .map(|(((parameter, gradient), first), second)| Piece {
                    parameter,
                    gradient,
                    first,
                    second,
                    factors,
                }),
        );
    }
    pieces.into_par_iter().for_each(|piece| set.dispatch(piece));
    Ok(())
}
