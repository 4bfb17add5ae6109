//! Operands of GEMMs in each precision: how they are rounded, which are rounded, and that all devices agree on both.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its data has failed"
)]

use std::sync::Arc;

use cosmogan_engine::backend::cpu::CpuBackend;
use cosmogan_engine::backend::launch::LaunchBackend;
use cosmogan_engine::backend::simt::SimtLauncher;
use cosmogan_engine::backend::{Backend, Epilogue, Op, Precision};
use cosmogan_engine::{Padding, Shape, Tape};
use cosmogan_oracle::operators::convolution::Convolution;
use cosmogan_oracle::{Arithmetic, Case, Operand, Operator};
use proptest::prelude::*;

const ROUNDED: [Precision; 2] = [Precision::Tf32, Precision::Bf16];

/// Arithmetic of GEMMs whose operands are already rounded; it covers tensor cores.
const AFTER_CONVERSION: Arithmetic = Arithmetic {
    operand_roundoff: 0.0,
    ..Arithmetic::bf16()
};

/// GEMMs between several channels, by the direct algorithm.
const SEVERAL_CHANNELS: [&str; 4] = [
    "conv2d n=2 h=9 w=8 c=6 k=7 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=2",
    "conv_transpose2d n=2 h=7 w=6 c=9 k=7 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=3",
    "conv_transpose2d n=1 h=5 w=4 c=2 k=3 kernel=4x3 stride=3x1 pad=0,1,1,1 seed=4",
    "linear rows=5 inputs=30 outputs=41 seed=5",
];

/// GEMMs between several channels, by Winograd (minimal) filtering on the CPU.
const MINIMAL_FILTERING: [&str; 2] = [
    "conv2d n=2 h=22 w=14 c=32 k=48 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=6",
    "conv_transpose2d n=2 h=5 w=11 c=48 k=32 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=7",
];

/// Matrix-vector products, whose operands are not rounded.
const ONE_CHANNEL: [&str; 5] = [
    "conv2d n=1 h=10 w=12 c=1 k=7 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=8",
    "conv2d n=1 h=9 w=8 c=5 k=1 kernel=3x2 stride=1x2 pad=1,0,1,1 seed=9",
    "conv_transpose2d n=2 h=5 w=6 c=9 k=1 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=10",
    "linear rows=3 inputs=70 outputs=1 seed=11",
    "linear rows=3 inputs=1 outputs=5 seed=12",
];

fn cpu(precision: Precision) -> Arc<dyn Backend> {
    Arc::new(CpuBackend::checked().multiplying(precision))
}

fn simt(precision: Precision) -> Arc<dyn Backend> {
    let launcher = SimtLauncher::new(0).unwrap();
    Arc::new(LaunchBackend::new(Arc::new(launcher), precision).unwrap())
}

/// Mantissa bits of f32 that a precision drops.
fn dropped_bits(precision: Precision) -> u32 {
    match precision {
        Precision::F32 => 0,
        Precision::Tf32 => 13,
        Precision::Bf16 => 16,
    }
}

/// The value of `bits`, with the next power of two in place of infinity.
fn place(bits: u32) -> f64 {
    let value = f32::from_bits(bits);
    if value.is_infinite() {
        2_f64.powi(128)
    } else {
        f64::from(value)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn numbers_go_to_the_nearest(bits in 0..0x7f80_0000_u32, tie in any::<bool>()) {
        for precision in ROUNDED {
            let dropped = dropped_bits(precision);
            let below = bits >> dropped << dropped;
            let above = below + (1 << dropped);
            let bits = if tie { below + (1 << (dropped - 1)) } else { bits };
            let [down, up] = [below, above].map(|end| (place(end) - place(bits)).abs());
            let nearest = match down.total_cmp(&up) {
                std::cmp::Ordering::Less => below,
                std::cmp::Ordering::Greater => above,
                std::cmp::Ordering::Equal if precision == Precision::Tf32 => above,
                std::cmp::Ordering::Equal if below >> dropped & 1 == 0 => below,
                std::cmp::Ordering::Equal => above,
            };
            let rounded = |bits: u32| precision.round(f32::from_bits(bits)).to_bits();
            prop_assert_eq!(rounded(bits), nearest);
            prop_assert_eq!(rounded(bits | 1 << 31), nearest | 1 << 31);
        }
    }
}

/// Ties, carries into the exponent, the ends of the range, infinities and NaN: bits of f32, tf32 and bf16.
const SPECIAL: [[u32; 3]; 14] = [
    [0x3f80_0000, 0x3f80_0000, 0x3f80_0000],
    [0x3f80_8000, 0x3f80_8000, 0x3f80_0000],
    [0x3f81_8000, 0x3f81_8000, 0x3f82_0000],
    [0x3f80_8001, 0x3f80_8000, 0x3f81_0000],
    [0x3f80_1000, 0x3f80_2000, 0x3f80_0000],
    [0xbf80_1000, 0xbf80_2000, 0xbf80_0000],
    [0x3f80_0fff, 0x3f80_0000, 0x3f80_0000],
    [0x3fff_ffff, 0x4000_0000, 0x4000_0000],
    [0x7f7f_ffff, 0x7f80_0000, 0x7f80_0000],
    [0x7f7f_0fff, 0x7f7f_0000, 0x7f7f_0000],
    [0x7f80_0000, 0x7f80_0000, 0x7f80_0000],
    [0xff80_0000, 0xff80_0000, 0xff80_0000],
    [0x7fa0_0000, 0x7fa0_0000, 0x7fc0_0000],
    [0xffff_ffff, 0xffff_ffff, 0x7fc0_0000],
];

#[test]
fn special_values() {
    for [bits, tf32, bf16] in SPECIAL {
        let value = f32::from_bits(bits);
        assert_eq!(Precision::F32.round(value).to_bits(), bits);
        assert_eq!(Precision::Tf32.round(value).to_bits(), tf32, "{bits:x}");
        assert_eq!(Precision::Bf16.round(value).to_bits(), bf16, "{bits:x}");
    }
    // A NaN by a bit that bf16 drops stays NaN. (For tf32, tensor cores do not read that bit.)
    assert!(Precision::Bf16.round(f32::from_bits(0x7f80_0001)).is_nan());
}

/// A product with one equals the rounded operand, on the CPU and in the kernels.
#[test]
fn kernels_round_alike() {
    let values: Vec<f32> = SPECIAL
        .iter()
        .map(|[bits, ..]| f32::from_bits(*bits))
        .collect();
    let rows = values.len();
    let x: Vec<f32> = values.iter().flat_map(|&value| [value, 0.0]).collect();
    for precision in ROUNDED {
        for device in [cpu(precision), simt(precision)] {
            let x = device.upload(Shape::from([rows, 2]), &x).unwrap();
            let weight = device
                .upload(Shape::from([2, 2]), &[1.0, 0.0, 0.0, 1.0])
                .unwrap();
            let bias = device.upload(Shape::from([2]), &[0.0; 2]).unwrap();
            let mut y = device.empty(Shape::from([rows, 2])).unwrap();
            device
                .run(Op::Linear {
                    x: &x,
                    weight: &weight,
                    bias: &bias,
                    epilogue: Epilogue::None,
                    y: &mut y,
                })
                .unwrap();
            let y = device.download(&y).unwrap();
            for (found, &value) in y.iter().step_by(2).zip(&values) {
                let expected = precision.round(value);
                let same =
                    found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
                assert!(same, "{found:e} for {value:e} on {}", device.description());
            }
        }
    }
}

/// The operands of a case, with those of GEMMs rounded.
fn rounded(case: &Case, precision: Precision) -> Vec<Operand> {
    let mut operands = case.operands();
    for operand in operands.iter_mut().filter(|operand| operand.name != "bias") {
        for value in &mut operand.values {
            *value = f64::from(precision.round(*value as f32));
        }
    }
    operands
}

/// The three GEMMs of a case with these operands, by the names of their results.
fn products(
    case: &Case,
    operands: &[Operand],
    device: &Arc<dyn Backend>,
) -> [(&'static str, Vec<f32>); 3] {
    let upload = |name: &str| {
        let operand = operands.iter().find(|operand| operand.name == name);
        let operand = operand.unwrap();
        let values: Vec<f32> = operand.values.iter().map(|&value| value as f32).collect();
        let shape = Shape::from(&operand.dims[..]);
        device.upload(shape, &values).unwrap()
    };
    let tape = Tape::new(Arc::clone(device));
    let [x, weight, bias] = ["x", "weight", "bias"].map(|name| tape.parameter(upload(name)));
    let padding = |shape: &Convolution| Padding {
        begin: shape.begin,
        end: shape.end(),
    };
    let y = match case.operator {
        Operator::Linear(_) => tape.linear(&x, &weight, &bias),
        Operator::Conv2d(s) => tape.conv2d(&x, &weight, &bias, s.stride, padding(&s)),
        Operator::ConvTranspose2d(s) => {
            tape.conv_transpose2d(&x, &weight, &bias, s.stride, padding(&s))
        }
        _ => unreachable!("all cases are GEMMs"),
    };
    let y = y.unwrap();
    let gradients = tape.gradients(&y, upload("dy"), &[&x, &weight]).unwrap();
    [
        ("y", device.download(y.value().unwrap()).unwrap()),
        ("dx", device.download(&gradients[0]).unwrap()),
        ("dweight", device.download(&gradients[1]).unwrap()),
    ]
}

fn cases(lines: &[&str]) -> Vec<Case> {
    lines.iter().map(|line| line.parse().unwrap()).collect()
}

/// On the CPU, results are those of f32 with rounded operands, bit for bit, and rounding changes each of them.
#[test]
fn the_processor_multiplies_rounded_operands() {
    for precision in ROUNDED {
        let (emulating, plain) = (cpu(precision), cpu(Precision::F32));
        for case in cases(&[&SEVERAL_CHANNELS[..], &MINIMAL_FILTERING].concat()) {
            let found = products(&case, &case.operands(), &emulating);
            let expected = products(&case, &rounded(&case, precision), &plain);
            let exact = products(&case, &case.operands(), &plain);
            assert_eq!(found, expected, "{case} in {precision}");
            for (found, exact) in found.iter().zip(&exact) {
                assert_ne!(found, exact, "{case} in {precision}");
            }
        }
        for case in cases(&ONE_CHANNEL) {
            let found = products(&case, &case.operands(), &emulating);
            let expected = products(&case, &case.operands(), &plain);
            assert_eq!(found, expected, "{case} in {precision}");
        }
    }
}

/// Largest error of each GEMM in units of the bound of f32 with the `multiplied` operands.
fn errors(case: &Case, multiplied: &[Operand], device: &Arc<dyn Backend>) -> [f64; 3] {
    let all = case.expected_from(multiplied, &AFTER_CONVERSION, usize::MAX);
    products(case, &case.operands(), device).map(|(name, values)| {
        let expected = all.iter().find(|expected| expected.name == name).unwrap();
        expected.compare(&values).error
    })
}

/// Kernels multiply exactly the operands that the CPU does: results differ only by the roundings of f32. A device that
/// rounds no operand, or those of matrix-vector products, is detected.
#[test]
fn kernels_multiply_the_same_operands() {
    for precision in ROUNDED {
        for case in cases(&SEVERAL_CHANNELS) {
            let operands = rounded(&case, precision);
            for device in [cpu(precision), simt(precision)] {
                for error in errors(&case, &operands, &device) {
                    assert!(error <= 1.0, "{case}: {error} on {}", device.description());
                }
            }
            for error in errors(&case, &operands, &cpu(Precision::F32)) {
                assert!(error > 1.0, "{case}: f32 passes for {precision}");
            }
        }
        for case in cases(&ONE_CHANNEL) {
            for device in [cpu(precision), simt(precision)] {
                for error in errors(&case, &case.operands(), &device) {
                    assert!(error <= 1.0, "{case}: {error} on {}", device.description());
                }
            }
            for error in errors(&case, &rounded(&case, precision), &cpu(precision)) {
                assert!(error > 1.0, "{case}: {precision} passes for f32");
            }
        }
    }
}
