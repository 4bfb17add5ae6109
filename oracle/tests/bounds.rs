//! The bounds hold for correct f32 computations in any order, and detect faults.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use cosmogan_oracle::cases::Kind;
use cosmogan_oracle::operators::adam::Adam;
use cosmogan_oracle::operators::convolution::Convolution;
use cosmogan_oracle::operators::linear::Linear;
use cosmogan_oracle::{Arithmetic, Case, Expected, Operand, Operator};
use proptest::prelude::*;

/// The order in which f32 terms are added.
#[derive(Clone, Copy, Debug)]
enum Order {
    Forward,
    Backward,
    Pairwise,
    Fused,
}

const ORDERS: [Order; 4] = [
    Order::Forward,
    Order::Backward,
    Order::Pairwise,
    Order::Fused,
];

fn sum(terms: &[(f32, f32)], order: Order) -> f32 {
    match order {
        Order::Forward => terms.iter().fold(0.0, |sum, (a, b)| sum + a * b),
        Order::Backward => terms.iter().rev().fold(0.0, |sum, (a, b)| sum + a * b),
        Order::Fused => terms.iter().fold(0.0, |sum, (a, b)| a.mul_add(*b, sum)),
        Order::Pairwise => match terms {
            [] => 0.0,
            [(a, b)] => a * b,
            _ => {
                let (left, right) = terms.split_at(terms.len() / 2);
                sum(left, order) + sum(right, order)
            }
        },
    }
}

/// Rounds to the nearest number with `bits` significant bits.
fn rounded(value: f64, bits: i32) -> f32 {
    if value == 0.0 {
        return 0.0;
    }
    let unit = 2_f64.powi(value.abs().log2().floor() as i32 + 1 - bits);
    ((value / unit).round() * unit) as f32
}

/// Significant bits of GEMM operands, and the corresponding arithmetic.
const FORMATS: [(i32, Arithmetic); 3] = [
    (24, Arithmetic::f32()),
    (11, Arithmetic::tf32()),
    (8, Arithmetic::bf16()),
];

fn get<'a>(operands: &'a [Operand], name: &str) -> &'a [f64] {
    &operands
        .iter()
        .find(|operand| operand.name == name)
        .unwrap()
        .values
}

fn compare(expected: &[Expected], name: &str, computed: &[f32]) -> f64 {
    expected
        .iter()
        .find(|output| output.name == name)
        .unwrap()
        .compare(computed)
        .error
}

/// The products behind every element of y = conv(x, w), collected by a scatter loop, independently of the oracle.
fn convolution_terms(shape: &Convolution, x: &[f32], w: &[f32]) -> Vec<Vec<(f32, f32)>> {
    let mut terms = vec![Vec::new(); shape.output_dims().iter().product()];
    let [height, width] = shape.input;
    let [windows_down, windows_across] = shape.output;
    let (channels, outputs) = (shape.input_channels, shape.output_channels);
    for n in 0..shape.batch {
        for h in 0..height {
            for column in 0..width {
                for r in 0..shape.kernel[0] {
                    for s in 0..shape.kernel[1] {
                        let (down, across) = (
                            (h + shape.begin[0]) as isize - r as isize,
                            (column + shape.begin[1]) as isize - s as isize,
                        );
                        let (stride_down, stride_across) =
                            (shape.stride[0] as isize, shape.stride[1] as isize);
                        if down < 0
                            || across < 0
                            || down % stride_down != 0
                            || across % stride_across != 0
                        {
                            continue;
                        }
                        let (p, q) = (
                            (down / stride_down) as usize,
                            (across / stride_across) as usize,
                        );
                        if p >= windows_down || q >= windows_across {
                            continue;
                        }
                        for c in 0..channels {
                            for k in 0..outputs {
                                terms[((n * windows_down + p) * windows_across + q) * outputs + k]
                                    .push((
                                        x[((n * height + h) * width + column) * channels + c],
                                        w[((r * shape.kernel[1] + s) * channels + c) * outputs + k],
                                    ));
                            }
                        }
                    }
                }
            }
        }
    }
    terms
}

proptest! {
    #[test]
    fn convolutions_in_any_order_and_format(seed in any::<u64>()) {
        let case = Case::random(Kind::Conv2d, seed);
        let Operator::Conv2d(shape) = case.operator else { unreachable!("the kind says so") };
        let operands = case.operands();
        for (bits, arithmetic) in FORMATS {
            let prepare = |name| -> Vec<f32> {
                get(&operands, name).iter().map(|&value| rounded(value, bits)).collect()
            };
            let terms = convolution_terms(&shape, &prepare("x"), &prepare("weight"));
            let bias = get(&operands, "bias");
            let expected = case.expected(&arithmetic, usize::MAX);
            for order in ORDERS {
                let y: Vec<f32> = terms
                    .iter()
                    .enumerate()
                    .map(|(element, terms)| sum(terms, order) + bias[element % bias.len()] as f32)
                    .collect();
                let error = compare(&expected, "y", &y);
                prop_assert!(error <= 1.0, "{case} {order:?} {bits} bits: {error}");
            }
        }
    }

    #[test]
    fn a_lost_term_is_noticed(seed in any::<u64>()) {
        let case = Case::random(Kind::Conv2d, seed);
        let Operator::Conv2d(shape) = case.operator else { unreachable!("the kind says so") };
        let operands = case.operands();
        let single = |name| -> Vec<f32> { get(&operands, name).iter().map(|&v| v as f32).collect() };
        let terms = convolution_terms(&shape, &single("x"), &single("weight"));
        let bias = get(&operands, "bias");
        let expected = case.expected(&Arithmetic::f32(), usize::MAX);
        let y: Vec<f32> = terms
            .iter()
            .enumerate()
            .map(|(element, terms)| {
                let rest = terms.get(1..).unwrap_or_default();
                sum(rest, Order::Forward) + bias[element % bias.len()] as f32
            })
            .collect();
        // If every window lies in the padding, there is no term to lose.
        if terms.iter().any(|terms| terms.iter().any(|(a, b)| (a * b).abs() > 1e-2)) {
            prop_assert!(compare(&expected, "y", &y) > 1.0, "{case}");
        }
    }

    #[test]
    fn linear_layers_in_any_order(seed in any::<u64>()) {
        let case = Case::random(Kind::Linear, seed);
        let Operator::Linear(Linear { rows, inputs, outputs }) = case.operator else {
            unreachable!("the kind says so")
        };
        let operands = case.operands();
        let expected = case.expected(&Arithmetic::f32(), usize::MAX);
        let (x, weight, dy) =
            (get(&operands, "x"), get(&operands, "weight"), get(&operands, "dy"));
        for order in ORDERS {
            let dweight: Vec<f32> = (0..outputs * inputs)
                .map(|element| {
                    let (o, i) = (element / inputs, element % inputs);
                    let terms: Vec<_> = (0..rows)
                        .map(|n| (dy[n * outputs + o] as f32, x[n * inputs + i] as f32))
                        .collect();
                    sum(&terms, order)
                })
                .collect();
            prop_assert!(compare(&expected, "dweight", &dweight) <= 1.0);
            let dx: Vec<f32> = (0..rows * inputs)
                .map(|element| {
                    let (n, i) = (element / inputs, element % inputs);
                    let terms: Vec<_> = (0..outputs)
                        .map(|o| (dy[n * outputs + o] as f32, weight[o * inputs + i] as f32))
                        .collect();
                    sum(&terms, order)
                })
                .collect();
            prop_assert!(compare(&expected, "dx", &dx) <= 1.0);
            let scaled: Vec<f32> = dx.iter().map(|value| value * 1.001).collect();
            prop_assert!(compare(&expected, "dx", &scaled) > 1.0);
        }
    }

    #[test]
    fn batch_norm_in_single_precision(seed in any::<u64>()) {
        let case = Case::random(Kind::BatchNormTraining, seed);
        let Operator::BatchNormTraining { rows, channels, slope } = case.operator else {
            unreachable!("the kind says so")
        };
        let operands = case.operands();
        let single = |name| -> Vec<f32> { get(&operands, name).iter().map(|&v| v as f32).collect() };
        let (x, dy, scale, shift) = (single("x"), single("dy"), single("scale"), single("shift"));
        let ones = |values: &[f32]| -> Vec<(f32, f32)> { values.iter().map(|&v| (v, 1.0)).collect() };
        let reduce = |values: &[f32]| sum(&ones(values), Order::Pairwise);
        let column = |values: &[f32], channel: usize| -> Vec<f32> {
            values.iter().skip(channel).step_by(channels).copied().collect()
        };
        let count = rows as f32;
        for (bits, arithmetic) in [FORMATS[0], FORMATS[2]] {
            let expected = case.expected(&arithmetic, usize::MAX);
            let (mut mean, mut variance, mut dscale) = (vec![0.0; channels], vec![0.0; channels], vec![0.0; channels]);
            let (mut y, mut dx) = (vec![0.0; rows * channels], vec![0.0; rows * channels]);
            for channel in 0..channels {
                let (x, mut dy) = (column(&x, channel), column(&dy, channel));
                let slope = slope as f32;
                mean[channel] = reduce(&x) / count;
                let squares: Vec<f32> = x.iter().map(|x| (x - mean[channel]).powi(2)).collect();
                variance[channel] = reduce(&squares) / count;
                let inverse = 1.0 / (variance[channel] + 1e-5).sqrt();
                // The statistics are those of the unrounded x, everything else uses the stored x.
                let kept = x.iter().map(|&x| rounded(f64::from(x), bits));
                let normalised: Vec<f32> = kept.map(|x| (x - mean[channel]) * inverse).collect();
                for row in 0..rows {
                    let value = normalised[row] * scale[channel] + shift[channel];
                    let factor = if value > 0.0 { 1.0 } else { slope };
                    y[row * channels + channel] = factor * value;
                    dy[row] *= factor;
                }
                let products: Vec<f32> = dy.iter().zip(&normalised).map(|(dy, x)| dy * x).collect();
                dscale[channel] = reduce(&products);
                let dshift = reduce(&dy);
                for row in 0..rows {
                    dx[row * channels + channel] = scale[channel]
                        * inverse
                        * (dy[row] - dshift / count - normalised[row] * (dscale[channel] / count));
                }
            }
            for (name, computed) in [("mean", &mean), ("variance", &variance), ("dscale", &dscale), ("y", &y), ("dx", &dx)] {
                let error = compare(&expected, name, computed);
                prop_assert!(error <= 1.0, "{case} {name} {bits} bits: {error}");
            }
            // The bounds detect a variance that is unbiased by mistake and a mean that is off by a thousandth.
            if rows > 2 && rows < 300 {
                let unbiased: Vec<f32> = variance.iter().map(|v| v * count / (count - 1.0)).collect();
                prop_assert!(compare(&expected, "variance", &unbiased) > 1.0);
            }
            let shifted: Vec<f32> = mean.iter().map(|mean| mean * 1.001).collect();
            prop_assert!(compare(&expected, "mean", &shifted) > 1.0);
        }
    }

    #[test]
    fn adam_in_single_precision(seed in any::<u64>()) {
        let case = Case::random(Kind::Adam, seed);
        let Operator::Adam { settings, length } = case.operator else { unreachable!("the kind says so") };
        let Adam { learning_rate, beta1, beta2, epsilon, step } = settings;
        let operands = case.operands();
        let expected = case.expected(&Arithmetic::f32(), usize::MAX);
        let run = |rate: f32| -> Vec<[f32; 3]> {
            let step_one = |element: usize| {
                let [theta, g, m, v] = ["parameter", "gradient", "first", "second"]
                    .map(|name| get(&operands, name)[element] as f32);
                let m = beta1 as f32 * m + (1.0 - beta1) as f32 * g;
                let v = beta2 as f32 * v + (1.0 - beta2) as f32 * g * g;
                let m_hat = m / (1.0 - beta1.powi(step as i32)) as f32;
                let v_hat = v / (1.0 - beta2.powi(step as i32)) as f32;
                [theta - rate * m_hat / (v_hat.sqrt() + epsilon as f32), m, v]
            };
            (0..length).map(step_one).collect()
        };
        let column = |values: &[[f32; 3]], index: usize| -> Vec<f32> {
            values.iter().map(|value| value[index]).collect()
        };
        let computed = run(learning_rate as f32);
        for (index, name) in ["parameter", "first", "second"].into_iter().enumerate() {
            let error = compare(&expected, name, &column(&computed, index));
            prop_assert!(error <= 1.0, "{case} {name}: {error}");
        }
        // The bounds detect a learning rate that is off by a hundredth.
        let faster = run(1.01 * learning_rate as f32);
        prop_assert!(length < 8 || compare(&expected, "parameter", &column(&faster, 0)) > 1.0, "{case}");
    }

    #[test]
    fn sums_in_single_precision(seed in any::<u64>()) {
        let case = Case::random(Kind::SquaredNorm, seed);
        let operands = case.operands();
        let expected = case.expected(&Arithmetic::f32(), usize::MAX);
        let mut squares: Vec<(f32, f32)> = get(&operands, "x").iter().map(|&x| (x as f32, x as f32)).collect();
        let error = compare(&expected, "sum", &[sum(&squares, Order::Pairwise)]);
        prop_assert!(error <= 1.0, "{case}: {error}");
        // The bounds detect that the largest term is missing.
        squares.sort_by(|(a, _), (b, _)| a.abs().total_cmp(&b.abs()));
        squares.pop();
        prop_assert!(compare(&expected, "sum", &[sum(&squares, Order::Pairwise)]) > 1.0, "{case}");

        let case = Case::random(Kind::Add, seed);
        let operands = case.operands();
        let expected = case.expected(&Arithmetic::f32(), usize::MAX);
        let pairs = || get(&operands, "x").iter().zip(get(&operands, "other"));
        let y: Vec<f32> = pairs().map(|(&x, &other)| x as f32 + other as f32).collect();
        prop_assert!(compare(&expected, "y", &y) <= 1.0);
        let wrong: Vec<f32> = pairs().map(|(&x, &other)| x as f32 + 1.001 * other as f32).collect();
        prop_assert!(y.len() < 8 || compare(&expected, "y", &wrong) > 1.0);
    }

    #[test]
    fn elementwise_functions_in_single_precision(seed in any::<u64>()) {
        let case = Case::random(Kind::Tanh, seed);
        let operands = case.operands();
        let expected = case.expected(&Arithmetic::f32(), usize::MAX);
        let x = get(&operands, "x");
        let y: Vec<f32> = x.iter().map(|&x| (x as f32).tanh()).collect();
        prop_assert!(compare(&expected, "y", &y) <= 1.0);
        let dx: Vec<f32> = y.iter().zip(get(&operands, "dy")).map(|(y, &dy)| dy as f32 * (1.0 - y * y)).collect();
        prop_assert!(compare(&expected, "dx", &dx) <= 1.0);

        let case = Case::random(Kind::BceWithLogits, seed);
        let Operator::BceWithLogits { length, target } = case.operator else { unreachable!("the kind says so") };
        let operands = case.operands();
        let expected = case.expected(&Arithmetic::f32(), usize::MAX);
        let logits: Vec<f32> = get(&operands, "x").iter().map(|&x| x as f32).collect();
        let (target, dloss) = (target as f32, get(&operands, "dloss")[0] as f32);
        let loss: f32 = logits
            .iter()
            .map(|&x| x.max(0.0) - x * target + (-x.abs()).exp().ln_1p())
            .sum();
        let error = compare(&expected, "loss", &[loss / length as f32]);
        prop_assert!(error <= 1.0, "{case}: {error}");
        let dx: Vec<f32> = logits
            .iter()
            .map(|&x| dloss * (1.0 / (1.0 + (-x).exp()) - target) / length as f32)
            .collect();
        let error = compare(&expected, "dx", &dx);
        prop_assert!(error <= 1.0, "{case}: {error}");
        // The naive softplus overflows for large logits.
        let wrong: f32 = logits.iter().map(|&x| (1.0 + x.exp()).ln()).sum::<f32>() / length as f32;
        prop_assert!(target == 0.0 || compare(&expected, "loss", &[wrong]) > 1.0);
    }
}

#[test]
fn what_was_not_written_is_infinitely_wrong() {
    let case = Case::random(Kind::Relu, 3);
    let expected = case.expected(&Arithmetic::f32(), usize::MAX);
    assert_eq!(compare(&expected, "y", &[f32::NAN; 400]), f64::INFINITY);
    assert_eq!(compare(&expected, "y", &[]), f64::INFINITY);
}

#[test]
fn a_sample_is_part_of_the_whole() {
    let case = Case::random(Kind::Conv2d, 8);
    let whole = case.expected(&Arithmetic::f32(), usize::MAX);
    for (sample, whole) in case.expected(&Arithmetic::f32(), 10).iter().zip(&whole) {
        assert_eq!(sample.dims, whole.dims);
        assert!(sample.indices.len() <= 10);
        for (index, value) in sample.indices.iter().zip(&sample.values) {
            assert_eq!(*value, whole.values[*index]);
        }
    }
}
