//! Gradients compared with finite differences, and the identities that connect the three convolution GEMMs.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use cosmogan_oracle::cases::{EPSILON, Kind};
use cosmogan_oracle::operators::convolution::Convolution;
use cosmogan_oracle::{Arithmetic, Case, Expected, Operand, Operator, Random};
use proptest::prelude::*;

const F32: Arithmetic = Arithmetic::f32();

/// Operands with a gradient, and the name of the gradient.
const GRADIENTS: [(&str, &str); 6] = [
    ("x", "dx"),
    ("other", "dother"),
    ("weight", "dweight"),
    ("bias", "dbias"),
    ("scale", "dscale"),
    ("shift", "dshift"),
];

fn find<'a>(operands: &'a [Operand], name: &str) -> Option<&'a Operand> {
    operands.iter().find(|operand| operand.name == name)
}

fn output<'a>(outputs: &'a [Expected], name: &str) -> Option<&'a Expected> {
    outputs.iter().find(|output| output.name == name)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Σ upstream·value of the forward pass: the function whose gradient the backward pass computes.
fn projection(case: &Case, operands: &[Operand]) -> f64 {
    let outputs = case.expected_from(operands, &F32, usize::MAX);
    match output(&outputs, "loss") {
        Some(loss) => dot(&find(operands, "dloss").unwrap().values, &loss.values),
        None => dot(
            &find(operands, "dy").unwrap().values,
            &output(&outputs, "y").unwrap().values,
        ),
    }
}

/// Σ |upstream|·|value|; the values' own bounds account for cancellation inside them.
fn projection_size(case: &Case, operands: &[Operand]) -> f64 {
    let outputs = case.expected_from(operands, &F32, usize::MAX);
    let (upstream, value) = match output(&outputs, "loss") {
        Some(loss) => (find(operands, "dloss").unwrap(), loss),
        None => (
            find(operands, "dy").unwrap(),
            output(&outputs, "y").unwrap(),
        ),
    };
    let sizes = value
        .values
        .iter()
        .zip(&value.bounds)
        .map(|(value, bound)| value.abs() + bound / F32.roundoff);
    upstream
        .values
        .iter()
        .zip(sizes)
        .map(|(u, size)| u.abs() * size)
        .sum()
}

/// The central difference of the projection along `direction` of one operand.
fn difference(case: &Case, operands: &[Operand], name: &str, direction: &[f64], step: f64) -> f64 {
    let moved = |sign: f64| {
        let mut moved = operands.to_vec();
        let operand = moved
            .iter_mut()
            .find(|operand| operand.name == name)
            .unwrap();
        for (value, direction) in operand.values.iter_mut().zip(direction) {
            *value += sign * step * direction;
        }
        projection(case, &moved)
    };
    (moved(1.0) - moved(-1.0)) / (2.0 * step)
}

/// Step of the differences, as a fraction of the scale on which an operator varies.
const STEP: f64 = 1e-3;

/// Every operator varies on a scale of about 1, except batch normalisation, where the scale is √(variance + ε): it is
/// steep when two values of a channel happen to be close.
fn step(case: &Case, outputs: &[Expected]) -> f64 {
    let Operator::BatchNormTraining { .. } = case.operator else {
        return STEP;
    };
    let variances = &output(outputs, "variance").unwrap().values;
    let least = variances.iter().copied().fold(1.0, f64::min);
    STEP * (least + EPSILON).sqrt()
}

/// The case without its rectifier, if it has a kink that random operands cannot avoid.
fn smooth(case: &Case) -> Case {
    let mut case = *case;
    if let Operator::BatchNormTraining { slope, .. } = &mut case.operator {
        *slope = 1.0;
    }
    case
}

/// Compares one gradient with finite differences along a random direction.
fn check(case: &Case, name: &str, gradient: &str) {
    let case = &smooth(case);
    let operands = case.operands();
    let Some(operand) = find(&operands, name) else {
        return;
    };
    let outputs = case.expected(&F32, usize::MAX);
    let Some(gradient) = output(&outputs, gradient) else {
        return;
    };
    let step = step(case, &outputs);
    let mut random = Random::new(case.seed ^ 77);
    let has_kink = matches!(case.operator, Operator::Activation { .. });
    let direction: Vec<f64> = operand
        .values
        .iter()
        .map(|value| {
            let direction = random.normal();
            // No value moves across a kink: a difference across it does not approximate the derivative.
            let crosses = has_kink && value.abs() <= 8.0 * step;
            if crosses {
                0.0
            } else {
                direction.clamp(-3.0, 3.0)
            }
        })
        .collect();
    let exact = dot(&gradient.values, &direction);
    // The error of a central difference is a·h² + b·h⁴ + …; two of them combine to cancel a·h². With h a thousandth of
    // the scale on which the function varies, the remainder is a million times smaller than the cancelled term; the
    // test relies on a factor of a thousand.
    let fine = difference(case, &operands, name, &direction, step);
    let coarse = difference(case, &operands, name, &direction, 2.0 * step);
    let extrapolated = fine + (fine - coarse) / 3.0;
    // Rounding: fewer than 1e4 consecutive operations on terms of this size, divided by the step.
    let terms = projection_size(case, &operands);
    let tolerance = STEP * (fine - coarse).abs() + 1e4 * f64::EPSILON * terms / step;
    assert!(
        (extrapolated - exact).abs() <= tolerance,
        "{case}: {name}: {exact} but differences give {extrapolated} ± {tolerance:e}"
    );
}

proptest! {
    #[test]
    fn gradients_are_the_slopes_of_the_values(kind in 0..Kind::ALL.len(), seed in any::<u64>()) {
        let case = Case::random(Kind::ALL[kind], seed);
        if !matches!(case.operator, Operator::Adam { .. }) {
            for (name, gradient) in GRADIENTS {
                check(&case, name, gradient);
            }
        }
    }

    #[test]
    fn the_three_products_are_one_trilinear_form(transposed in any::<bool>(), seed in any::<u64>()) {
        let kind = if transposed { Kind::ConvTranspose2d } else { Kind::Conv2d };
        let (Operator::Conv2d(shape) | Operator::ConvTranspose2d(shape)) =
            Case::random(kind, seed).operator
        else {
            unreachable!("the kind says what it is");
        };
        let mut random = Random::new(seed);
        let mut normals = |dims: [usize; 4]| -> Vec<f64> {
            (0..dims.iter().product()).map(|_| random.normal()).collect()
        };
        let (x, w, y) =
            (normals(shape.input_dims()), normals(shape.weight_dims()), normals(shape.output_dims()));
        // ⟨conv(x, w), y⟩ = ⟨x, convᵀ(y, w)⟩ = ⟨w, wgrad(x, y)⟩.
        let through_y = dot(&all(y.len(), |element| shape.fprop(&x, &w, element, &F32).value), &y);
        let through_x = dot(&all(x.len(), |element| shape.dgrad(&y, &w, element, &F32).value), &x);
        let through_w = dot(&all(w.len(), |element| shape.wgrad(&x, &y, element, &F32).value), &w);
        let size = trilinear_size(&shape, &x, &w, &y);
        let tolerance = 1e4 * f64::EPSILON * size;
        prop_assert!((through_y - through_x).abs() <= tolerance);
        prop_assert!((through_y - through_w).abs() <= tolerance);
    }
}

fn all(length: usize, element: impl Fn(usize) -> f64) -> Vec<f64> {
    (0..length).map(element).collect()
}

/// Σ|x·w·y|, to which the rounding errors of the form are proportional.
///
/// At most 1e4 additions follow one another.
fn trilinear_size(shape: &Convolution, x: &[f64], w: &[f64], y: &[f64]) -> f64 {
    let absolute =
        |values: &[f64]| -> Vec<f64> { values.iter().map(|value| value.abs()).collect() };
    let (x, w, y) = (absolute(x), absolute(w), absolute(y));
    dot(
        &all(y.len(), |element| shape.fprop(&x, &w, element, &F32).value),
        &y,
    )
}

#[test]
fn two_values_that_are_almost_equal() {
    let line = "batch_norm_training rows=2 channels=19 slope=1 seed=1771496269993645049";
    check(&line.parse().unwrap(), "x", "dx");
}

/// A rectifier after batch normalisation multiplies the upstream gradient by a factor that depends on the output's
/// sign.
#[test]
fn a_rectifier_behind_batch_normalisation() {
    for seed in 0..60 {
        let case = Case::random(Kind::BatchNormTraining, seed);
        let Operator::BatchNormTraining { slope, .. } = case.operator else {
            unreachable!("the kind says so")
        };
        let plain = smooth(&case);
        let mut operands = case.operands();
        let rectified = case.expected_from(&operands, &F32, usize::MAX);
        let before = plain.expected_from(&operands, &F32, usize::MAX);
        let upstream = operands
            .iter_mut()
            .find(|operand| operand.name == "dy")
            .unwrap();
        for ((dy, y), after) in upstream
            .values
            .iter_mut()
            .zip(&output(&before, "y").unwrap().values)
            .zip(&output(&rectified, "y").unwrap().values)
        {
            let factor = if *y > 0.0 { 1.0 } else { slope };
            assert!((after - factor * y).abs() < 1e-15);
            *dy *= factor;
        }
        let expected = plain.expected_from(&operands, &F32, usize::MAX);
        for name in ["dx", "dscale", "dshift"] {
            let (found, expected) = (output(&rectified, name), output(&expected, name));
            for (found, expected) in found.unwrap().values.iter().zip(&expected.unwrap().values) {
                assert!(
                    (found - expected).abs() <= 1e-12 * (1.0 + expected.abs()),
                    "{case} {name}"
                );
            }
        }
    }
}
