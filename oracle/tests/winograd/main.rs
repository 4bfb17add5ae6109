//! The bounds of Winograd (minimal) filtering hold for correct computations in any order, and detect faults.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod algorithm;

use cosmogan_oracle::cases::Model;
use cosmogan_oracle::operators::convolution::{Convolution, Method, Methods};
use cosmogan_oracle::operators::winograd::{Transforms, Winograd};
use cosmogan_oracle::{Arithmetic, Bounded, Case, Operator, Random};
use proptest::prelude::*;

use algorithm::{Algorithm, FAULTS, ORDERS, Order, Real};

/// All operations in f64.
const DOUBLE: Arithmetic = Arithmetic {
    roundoff: f64::EPSILON / 2.0,
    operand_roundoff: 0.0,
    kept_roundoff: 0.0,
    accumulation_roundoff: f64::EPSILON / 2.0,
};

/// The points 0, ±1, ±2, ∞.
const USUAL: Transforms = Transforms {
    tile: [
        [1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
        [0.0, 1.0, -1.0, 2.0, -2.0, 0.0],
        [0.0, 1.0, 1.0, 4.0, 4.0, 0.0],
        [0.0, 1.0, -1.0, 8.0, -8.0, 1.0],
    ],
    taps: [
        [1.0 / 4.0, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 24.0, 2.0 / 24.0, 4.0 / 24.0],
        [1.0 / 24.0, -2.0 / 24.0, 4.0 / 24.0],
        [0.0, 0.0, 1.0],
    ],
    window: [
        [4.0, 0.0, -5.0, 0.0, 1.0, 0.0],
        [0.0, -4.0, -4.0, 1.0, 1.0, 0.0],
        [0.0, 4.0, -4.0, -1.0, 1.0, 0.0],
        [0.0, -2.0, -1.0, 2.0, 1.0, 0.0],
        [0.0, 2.0, -1.0, -2.0, 1.0, 0.0],
        [0.0, 4.0, 0.0, -5.0, 0.0, 1.0],
    ],
};

/// Distribution of the operands.
#[derive(Clone, Copy, Debug)]
enum Data {
    Normal,
    /// A few values a million times as large as their neighbours, and many a thousand times as small.
    Outliers,
    /// Values of one sign and almost one size, whose roundings all have the same direction.
    Alike,
}

const DATA: [Data; 3] = [Data::Normal, Data::Outliers, Data::Alike];

struct Problem {
    shape: Convolution,
    x: Vec<f64>,
    w: Vec<f64>,
    y: Vec<f64>,
}

impl Problem {
    /// A random problem whose y has at least `least` rows and columns.
    fn random(seed: u64, data: Data, least: usize) -> Self {
        let mut random = Random::new(seed);
        let output = [0; 2].map(|_| random.between(least, 9));
        let shape = Convolution {
            batch: random.between(1, 2),
            // An odd extent lacks the last row of one phase.
            input: output.map(|extent| 2 * extent - random.between(0, 1)),
            input_channels: random.between(1, 5),
            output,
            output_channels: random.between(1, 5),
            kernel: [5; 2],
            stride: [2; 2],
            begin: [1; 2],
        };
        let mut values = |dims: [usize; 4]| -> Vec<f64> {
            let value = |_| {
                let normal = random.normal();
                let value = match (data, random.between(0, 20)) {
                    (Data::Normal, _) => normal,
                    (Data::Outliers, 0) => 1e6 * normal,
                    (Data::Outliers, 1..8) => 1e-3 * normal,
                    (Data::Outliers, _) => normal,
                    (Data::Alike, _) => 0.7 + 1e-3 * normal,
                };
                f64::from(value as f32)
            };
            (0..dims.iter().product()).map(value).collect()
        };
        Self {
            shape,
            x: values(shape.input_dims()),
            w: values(shape.weight_dims()),
            y: values(shape.output_dims()),
        }
    }

    /// The problem with all values rounded to `bits` significant bits.
    fn rounded(&self, bits: i32) -> Self {
        let round = |values: &[f64]| -> Vec<f64> {
            let round = |value: &f64| match value.abs() {
                0.0 => 0.0,
                size => {
                    let unit = 2_f64.powi(size.log2().floor() as i32 + 1 - bits);
                    (value / unit).round() * unit
                }
            };
            values.iter().map(round).collect()
        };
        Self {
            shape: self.shape,
            x: round(&self.x),
            w: round(&self.w),
            y: round(&self.y),
        }
    }

    /// Expected results of fprop, dgrad and wgrad.
    fn expected(&self, transforms: Transforms, arithmetic: &Arithmetic) -> [Vec<Bounded>; 3] {
        let by = Winograd::new(self.shape, transforms).unwrap();
        let (x, w, y) = (&self.x, &self.w, &self.y);
        [
            (0..y.len())
                .map(|i| by.fprop(x, w, i, arithmetic))
                .collect(),
            (0..x.len())
                .map(|i| by.dgrad(y, w, i, arithmetic))
                .collect(),
            (0..w.len())
                .map(|i| by.wgrad(x, y, i, arithmetic))
                .collect(),
        ]
    }

    /// Largest errors of the three GEMMs, relative to their bounds.
    fn errors<T: Real>(&self, algorithm: &Algorithm, expected: &[Vec<Bounded>; 3]) -> [f64; 3] {
        let convert =
            |values: &[f64]| -> Vec<T> { values.iter().map(|value| T::of(*value)).collect() };
        let (x, w, y) = (convert(&self.x), convert(&self.w), convert(&self.y));
        [
            worst(&algorithm.fprop(&x, &w), &expected[0]),
            worst(&algorithm.dgrad(&y, &w), &expected[1]),
            worst(&algorithm.wgrad(&x, &y), &expected[2]),
        ]
    }

    fn algorithm(&self, order: Order) -> Algorithm {
        Algorithm {
            shape: self.shape,
            transforms: Transforms::BALANCED,
            order,
            fault: None,
        }
    }
}

fn worst<T: Real>(computed: &[T], expected: &[Bounded]) -> f64 {
    assert_eq!(computed.len(), expected.len());
    let errors = computed
        .iter()
        .zip(expected)
        .map(|(computed, exact)| (computed.wide() - exact.value).abs() / exact.error);
    errors.fold(0.0, f64::max)
}

fn largest(errors: [f64; 3]) -> f64 {
    errors.into_iter().fold(0.0, f64::max)
}

fn smallest(errors: [f64; 3]) -> f64 {
    errors.into_iter().fold(f64::INFINITY, f64::min)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_order_stays_within_the_bounds(seed in any::<u64>()) {
        for data in DATA {
            let problem = Problem::random(seed, data, 1);
            let expected = problem.expected(Transforms::BALANCED, &Arithmetic::f32());
            for order in ORDERS {
                let errors = problem.errors::<f32>(&problem.algorithm(order), &expected);
                prop_assert!(largest(errors) <= 1.0, "{:?} {data:?} {order:?}: {errors:?}", problem.shape);
            }
        }
    }

    #[test]
    fn it_computes_the_convolution(seed in any::<u64>()) {
        let problem = Problem::random(seed, Data::Normal, 1);
        // In double precision errors are 2²⁹ times smaller, and so are the bounds.
        let expected = problem.expected(Transforms::BALANCED, &DOUBLE);
        for order in ORDERS {
            let errors = problem.errors::<f64>(&problem.algorithm(order), &expected);
            prop_assert!(largest(errors) <= 1.0, "{:?} {order:?}: {errors:?}", problem.shape);
        }
    }

    #[test]
    fn other_points_have_bounds_too(seed in any::<u64>()) {
        let problem = Problem::random(seed, Data::Normal, 1);
        let algorithm = Algorithm { transforms: USUAL, ..problem.algorithm(Order::Forward) };
        let expected = problem.expected(USUAL, &Arithmetic::f32());
        let errors = problem.errors::<f32>(&algorithm, &expected);
        prop_assert!(largest(errors) <= 1.0, "{:?}: {errors:?}", problem.shape);
    }

    #[test]
    fn rounded_operands_have_bounds_too(seed in any::<u64>()) {
        let problem = Problem::random(seed, Data::Normal, 3);
        let algorithm = problem.algorithm(Order::Fused);
        let single = problem.expected(Transforms::BALANCED, &Arithmetic::f32());
        // The f32 bounds detect a computation with fewer bits than declared: bf16 in every GEMM, tf32 in at least one,
        // because it may stay within the wide bounds of a single tile.
        let found: [fn([f64; 3]) -> f64; 2] = [largest, smallest];
        let formats = [(11, Arithmetic::tf32()), (8, Arithmetic::bf16())];
        for ((bits, arithmetic), found) in formats.into_iter().zip(found) {
            let rounded = problem.rounded(bits);
            let expected = problem.expected(Transforms::BALANCED, &arithmetic);
            let errors = rounded.errors::<f32>(&algorithm, &expected);
            prop_assert!(largest(errors) <= 1.0, "{:?} {bits}: {errors:?}", problem.shape);
            let errors = rounded.errors::<f32>(&algorithm, &single);
            prop_assert!(found(errors) > 1.0, "{:?} {bits}: {errors:?}", problem.shape);
        }
    }

    #[test]
    fn faults_are_noticed(seed in any::<u64>()) {
        // In smaller images some terms are zero at every point, and a fault in their factors has no effect.
        let problem = Problem::random(seed, Data::Normal, 3);
        let expected = problem.expected(Transforms::BALANCED, &Arithmetic::f32());
        for fault in FAULTS {
            let algorithm = Algorithm { fault: Some(fault), ..problem.algorithm(Order::Fused) };
            let errors = problem.errors::<f32>(&algorithm, &expected);
            prop_assert!(smallest(errors) > 1.0, "{:?} {fault:?}: {errors:?}", problem.shape);
        }
    }
}

/// The identity behind the transforms, for unit vectors of taps and windows.
#[test]
fn transforms_filter() {
    for transforms in [Transforms::BALANCED, USUAL] {
        for tap in 0..3 {
            for position in 0..6 {
                for (i, row) in transforms.tile.iter().enumerate() {
                    let value: f64 = (0..6)
                        .map(|u| row[u] * transforms.taps[u][tap] * transforms.window[u][position])
                        .sum();
                    let expected = f64::from(u8::from(position == i + tap));
                    assert!(
                        (value - expected).abs() < 1e-15,
                        "{tap} {position} {i}: {value}"
                    );
                }
            }
        }
    }
}

#[test]
fn other_windows_have_no_winograd() {
    let fitting = Problem::random(1, Data::Normal, 1).shape;
    let new = |shape| Winograd::new(shape, Transforms::BALANCED);
    assert!(new(fitting).is_some());
    for other in [
        Convolution {
            kernel: [5, 4],
            ..fitting
        },
        Convolution {
            stride: [2, 1],
            ..fitting
        },
        Convolution {
            begin: [2, 1],
            ..fitting
        },
    ] {
        assert!(new(other).is_none());
    }
}

/// Ratio of these bounds to those of the direct method, at the paper's shapes.
#[test]
fn the_price_at_the_papers_shapes() {
    let convolutions = Case::model_set(&Model::PAPER, 1, 1)
        .into_iter()
        .filter(|case| {
            matches!(case.operator, Operator::Conv2d(shape) | Operator::ConvTranspose2d(shape)
            if shape.input_channels > 1)
        });
    for case in convolutions {
        let expect = |method| case.expected_by(Methods::all(method), &Arithmetic::f32(), 60);
        for (direct, winograd) in expect(Method::Direct).iter().zip(&expect(Method::Winograd)) {
            assert_eq!(direct.values, winograd.values);
            if direct.name == "dbias" {
                assert_eq!(direct.bounds, winograd.bounds);
                continue;
            }
            let pairs = winograd.bounds.iter().zip(&direct.bounds);
            let mut ratios: Vec<f64> = pairs.map(|(winograd, direct)| winograd / direct).collect();
            ratios.sort_by(f64::total_cmp);
            let (first, median, last) = (
                ratios[0],
                ratios[ratios.len() / 2],
                ratios[ratios.len() - 1],
            );
            println!(
                "{case} {}: {first:.2} to {last:.2}, median {median:.2}",
                direct.name
            );
            assert!(
                (0.1..100.0).contains(&median),
                "{case} {}: {median}",
                direct.name
            );
        }
    }
}
