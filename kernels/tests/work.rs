//! Work model of the launches, compared with counts by hand.

use cosmogan_kernels::ConvProduct;
use cosmogan_kernels::convolution::{self, ConvShape};
use cosmogan_kernels::tuning::{Problem, TileConfig};
use cosmogan_kernels::{
    Launch, Work, batch_norm, elementwise, implicit_gemm, implicit_gemm_hopper,
    implicit_gemm_hopper_wgrad, reduce, single_channel,
};
use cosmogan_kernels::{Precision, pack};

/// Default configuration of a GEMM.
fn tile_config(
    product: ConvProduct,
    operand: Precision,
    shape: &ConvShape,
    has_hopper: bool,
) -> TileConfig {
    Problem::new(product, operand, shape, has_hopper).default_config()
}

/// The paper's convolution from 64 to 128 channels, at 64 maps.
const PAPER: ConvShape = ConvShape {
    batch: 64,
    input: [128, 128],
    channels: 64,
    output: [64, 64],
    outputs: 128,
    kernel: [5, 5],
    stride: [2, 2],
    begin: [1, 1],
};
/// x 64·128·128·64, y 64·64·64·128, w 25·64·128.
const PAPER_ELEMENTS: [f64; 3] = [67_108_864.0, 33_554_432.0, 204_800.0];
/// 2·33,554,432·25·64.
const PAPER_OPERATIONS: f64 = 107_374_182_400.0;

/// No extent is a multiple of a tile, yet TMA supports the shape.
const ODD: ConvShape = ConvShape {
    batch: 3,
    input: [21, 13],
    channels: 72,
    output: [7, 12],
    outputs: 131,
    kernel: [4, 3],
    stride: [3, 1],
    begin: [0, 1],
};
/// x 3·21·13·72, y 3·7·12·131, w 12·72·131, without the channels that packing adds.
const ODD_ELEMENTS: [f64; 3] = [58_968.0, 33_012.0, 113_184.0];
/// 2·33,012·12·72.
const ODD_OPERATIONS: f64 = 57_044_736.0;

/// Expected work for GEMM operands of `bytes` bytes per element and an f32 result, which is x, y or w (0, 1, 2).
fn count(operations: f64, elements: [f64; 3], result: usize, bytes: f64) -> Work {
    let all: f64 = elements.iter().sum();
    Work {
        operations,
        bytes: bytes * (all - elements[result]) + 4.0 * elements[result],
    }
}

/// Results of fprop, dgrad and wgrad: y, x and w.
const RESULTS: [usize; 3] = [1, 0, 2];

fn expect(launches: [Launch; 3], operations: f64, elements: [f64; 3], bytes: f64) {
    for (launch, result) in launches.into_iter().zip(RESULTS) {
        let expected = count(operations, elements, result, bytes);
        assert_eq!(launch.work, expected, "{} {bytes}", launch.kernel.name);
    }
}

#[test]
fn products_cost_what_their_definition_says() {
    for (shape, operations, elements) in [
        (&PAPER, PAPER_OPERATIONS, PAPER_ELEMENTS),
        (&ODD, ODD_OPERATIONS, ODD_ELEMENTS),
    ] {
        let plain = [
            convolution::fprop(shape),
            convolution::dgrad(shape),
            convolution::wgrad(shape).0,
        ];
        expect(plain, operations, elements, 4.0);
        for (operand, bytes) in [
            (Precision::F32, 4.0),
            (Precision::Tf32, 4.0),
            (Precision::Bf16, 2.0),
        ] {
            let tiled = [
                implicit_gemm::fprop(
                    operand,
                    shape,
                    &tile_config(ConvProduct::Fprop, operand, shape, false),
                ),
                implicit_gemm::dgrad(
                    operand,
                    shape,
                    &tile_config(ConvProduct::Dgrad, operand, shape, false),
                ),
                implicit_gemm::wgrad(
                    operand,
                    shape,
                    &tile_config(ConvProduct::Wgrad, operand, shape, false),
                )
                .0,
            ];
            expect(tiled, operations, elements, bytes);
        }
        for (operand, bytes) in [(Precision::Tf32, 4.0), (Precision::Bf16, 2.0)] {
            let cut = |product| tile_config(product, operand, shape, true);
            let fprop = implicit_gemm_hopper::fprop(operand, shape, &cut(ConvProduct::Fprop), 132);
            let dgrad = implicit_gemm_hopper::dgrad(operand, shape, &cut(ConvProduct::Dgrad), 132);
            for (plan, result) in [(fprop, 1), (dgrad, 0)] {
                let plan = plan.expect("a full tile");
                let expected = count(operations, elements, result, bytes);
                assert_eq!(plan.launch.work, expected, "{}", plan.launch.kernel.name);
            }
        }
        let cut = tile_config(ConvProduct::Wgrad, Precision::Bf16, shape, true);
        let wgrad = implicit_gemm_hopper_wgrad::wgrad(Precision::Bf16, shape, &cut, 132);
        let wgrad = wgrad.expect("a full tile").launch;
        assert_eq!(wgrad.work, count(operations, elements, 2, 2.0));
    }
}

#[test]
fn products_of_single_channels_do_too() {
    // The paper's first convolution: x 64·256·256, y 64·128·128·64, w 25·64; 2·67,108,864·25 operations.
    let shape = ConvShape {
        batch: 64,
        input: [256, 256],
        channels: 1,
        output: [128, 128],
        outputs: 64,
        ..PAPER
    };
    let launches = [
        single_channel::fprop(Precision::F32, &shape),
        single_channel::dgrad(Precision::F32, &shape),
        single_channel::wgrad(Precision::F32, &shape).0,
    ];
    let elements = [4_194_304.0, 67_108_864.0, 1_600.0];
    expect(launches, 3_355_443_200.0, elements, 4.0);
    // x 2·37·141, y 2·19·71·37, w 25·37; 2·99,826·25 operations.
    let odd = ConvShape {
        batch: 2,
        input: [37, 141],
        output: [19, 71],
        outputs: 37,
        ..shape
    };
    let launches = [
        single_channel::fprop(Precision::F32, &odd),
        single_channel::dgrad(Precision::F32, &odd),
        single_channel::wgrad(Precision::F32, &odd).0,
    ];
    let elements = [10_434.0, 99_826.0, 925.0];
    expect(launches, 4_991_300.0, elements, 4.0);
}

/// Two parts of ten rows of 21 channels: 420 values, which take 1,680 bytes in f32 and, in rows of 24, 960 in bf16.
#[test]
fn passes_cost_what_their_images_take_as_they_lie() {
    const IMAGE: [usize; 3] = [2, 10, 21];
    use Precision::{Bf16, F32};
    let counts = [
        // Mean and variance of each part, common scale and shift: 6·21 values.
        (
            batch_norm::normalise([F32, F32], IMAGE),
            5,
            1680 + 1680 + 504,
        ),
        (
            batch_norm::normalise([Bf16, Bf16], IMAGE),
            5,
            960 + 960 + 504,
        ),
        // The same four vectors per part, and two sums of its one slice: 2·6·21 values.
        (
            batch_norm::gradient_slices([Bf16, F32], IMAGE),
            9,
            960 + 1680 + 1008,
        ),
        // The vectors of each part, two sums of each part, and dscale and dshift: 12·21 values.
        (
            batch_norm::gradient([Bf16, Bf16, F32], IMAGE),
            10,
            960 + 960 + 1680 + 1008,
        ),
        (
            elementwise::leaky_relu_gradient([Bf16; 3], 20, 21),
            1,
            3 * 960,
        ),
        (
            elementwise::leaky_relu_gradient([F32, Bf16, F32], 20, 21),
            1,
            1680 + 960 + 1680,
        ),
        // One slice of 21 sums.
        (reduce::partials(Bf16, 20, 21), 1, 960 + 84),
        (pack::rows(Bf16, 20, 21), 0, 1680 + 960),
    ];
    for (launch, operations, bytes) in counts {
        let expected = Work {
            operations: f64::from(operations * 420),
            bytes: f64::from(bytes),
        };
        assert_eq!(launch.work, expected, "{}", launch.kernel.name);
    }
}

#[test]
fn packed_results_cost_what_they_take() {
    // y: 3·7·12 pixels in rows of 136 operands instead of 131 values.
    let cut = tile_config(ConvProduct::Fprop, Precision::Bf16, &ODD, false);
    let launch = implicit_gemm::fprop(Precision::Bf16, &ODD, &cut);
    let packed = pack::with_packed_result(launch, Precision::Bf16, 3 * 7 * 12, 131);
    let expected = Work {
        operations: ODD_OPERATIONS,
        bytes: 2.0 * (58_968.0 + 113_184.0) + 2.0 * 34_272.0,
    };
    assert_eq!(packed.work, expected);
    // x 2·37·141 and w 25·37 in f32, y 2·19·71 pixels in rows of 40 operands.
    let shape = ConvShape {
        batch: 2,
        input: [37, 141],
        channels: 1,
        output: [19, 71],
        outputs: 37,
        ..PAPER
    };
    let expected = Work {
        operations: 4_991_300.0,
        bytes: 4.0 * (10_434.0 + 925.0) + 2.0 * 107_920.0,
    };
    for launch in [
        single_channel::fprop(Precision::Bf16, &shape),
        single_channel::dgrad(Precision::Bf16, &shape),
        single_channel::wgrad(Precision::Bf16, &shape).0,
    ] {
        assert_eq!(launch.work, expected, "{}", launch.kernel.name);
    }
}
