//! Packed tensors, as stored in bf16 between GEMMs and normalisations.
//!
//! Readers see the rounded values, and writers round the values that they would have written.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::sync::Arc;

use cosmogan_engine::backend::launch::LaunchBackend;
use cosmogan_engine::backend::simt::SimtLauncher;
use cosmogan_engine::backend::{Activation, Backend, Epilogue, Normalisation, Op, Precision};
use cosmogan_engine::ops::BatchNormSettings;
use cosmogan_engine::{ConvGeometry, Padding, Shape, Tape, Tensor};

/// Channels that do not fill whole chunks of 8 operands, and more rows than a slice has.
const DIMS: [usize; 4] = [3, 14, 13, 21];
const CHANNELS: usize = DIMS[3];

fn simt(precision: Precision, seed: u64) -> LaunchBackend {
    LaunchBackend::new(Arc::new(SimtLauncher::new(seed).unwrap()), precision).unwrap()
}

/// Values in (−1, 1) that are not representable in bf16.
fn values(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(next).collect()
}

/// The nearest bf16, ties to even.
fn rounded(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

fn all_rounded(values: &[f32]) -> Vec<f32> {
    values.iter().copied().map(rounded).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn upload(device: &dyn Backend, dims: &[usize], values: &[f32]) -> Tensor {
    device.upload(Shape::from(dims), values).unwrap()
}

fn packed(device: &dyn Backend, dims: &[usize], values: &[f32]) -> Tensor {
    let values = upload(device, dims, values);
    let mut packed = device.empty_packed(Shape::from(dims)).unwrap();
    device
        .run(Op::Pack {
            values: &values,
            packed: &mut packed,
        })
        .unwrap();
    packed
}

/// The values of a packed tensor, which cannot be downloaded.
///
/// They are read through the gradient of a rectifier whose output is all positive.
fn unpacked(device: &dyn Backend, image: &Tensor) -> Vec<f32> {
    let shape = image.shape();
    let ones = upload(device, shape.dims(), &vec![1.0; shape.len()]);
    let mut gradient = device.empty(shape.clone()).unwrap();
    device
        .run(Op::ActivateGradient {
            activation: Activation::Relu,
            y: &ones,
            dy: image,
            dx: &mut gradient,
        })
        .unwrap();
    device.download(&gradient).unwrap()
}

#[test]
fn packing_rounds_to_nearest() {
    let device = simt(Precision::Bf16, 1);
    assert!(device.keeps_packed());
    let x = values(DIMS.iter().product(), 1);
    let image = packed(&device, &DIMS, &x);
    assert_eq!(bits(&unpacked(&device, &image)), bits(&all_rounded(&x)));
    assert!(device.download(&image).is_err());
    for precision in [Precision::F32, Precision::Tf32] {
        assert!(!simt(precision, 1).keeps_packed(), "{precision}");
    }
}

/// Results of normalisation and its gradient, from x and dy in any form.
fn normalised(device: &dyn Backend, x: &Tensor, dy: &Tensor) -> Vec<Vec<u32>> {
    let vector = |seed, offset: f32| {
        let values: Vec<_> = values(CHANNELS, seed)
            .iter()
            .map(|value| value + offset)
            .collect();
        upload(device, &[CHANNELS], &values)
    };
    let (mean, variance) = (vector(2, 0.0), vector(3, 1.5));
    let (scale, shift) = (vector(4, 0.0), vector(5, 0.0));
    let by = Normalisation {
        mean: &mean,
        variance: &variance,
        scale: &scale,
        shift: &shift,
        epsilon: 1e-5,
        slope: 0.2,
    };
    let fresh = |dims: &[usize]| device.empty(Shape::from(dims)).unwrap();
    let (mut y, mut dx) = (fresh(&DIMS), fresh(&DIMS));
    let (mut dscale, mut dshift) = (fresh(&[CHANNELS]), fresh(&[CHANNELS]));
    device.run(Op::Normalise { x, by, y: &mut y }).unwrap();
    device
        .run(Op::NormaliseGradient {
            x,
            by,
            dy,
            dx: &mut dx,
            dscale: &mut dscale,
            dshift: &mut dshift,
        })
        .unwrap();
    let mut packed_dx = device.empty_packed(Shape::from(&DIMS[..])).unwrap();
    device
        .run(Op::NormaliseGradient {
            x,
            by,
            dy,
            dx: &mut packed_dx,
            dscale: &mut dscale,
            dshift: &mut dshift,
        })
        .unwrap();
    let mut results: Vec<_> = [&y, &dx, &dscale, &dshift]
        .iter()
        .map(|tensor| device.download(tensor).unwrap())
        .collect();
    results.push(unpacked(device, &packed_dx));
    let mut rectified = fresh(&DIMS);
    let leaky = Activation::LeakyRelu { slope: 0.2 };
    device
        .run(Op::ActivateGradient {
            activation: leaky,
            y: &y,
            dy,
            dx: &mut rectified,
        })
        .unwrap();
    results.push(device.download(&rectified).unwrap());
    let mut packed_rectified = device.empty_packed(Shape::from(&DIMS[..])).unwrap();
    device
        .run(Op::ActivateGradient {
            activation: leaky,
            y: &y,
            dy,
            dx: &mut packed_rectified,
        })
        .unwrap();
    results.push(unpacked(device, &packed_rectified));
    let y = packed(device, &DIMS, &device.download(&y).unwrap());
    device
        .run(Op::ActivateGradient {
            activation: leaky,
            y: &y,
            dy,
            dx: &mut rectified,
        })
        .unwrap();
    results.push(device.download(&rectified).unwrap());
    let mut dbias = fresh(&[CHANNELS]);
    device
        .run(Op::BiasGradient {
            dy,
            dbias: &mut dbias,
        })
        .unwrap();
    results.push(device.download(&dbias).unwrap());
    results.iter().map(|values| bits(values)).collect()
}

#[test]
fn what_is_packed_is_read_as_its_values() {
    let device = simt(Precision::Bf16, 2);
    let count = DIMS.iter().product();
    let (x, dy) = (values(count, 6), values(count, 7));
    let as_values = |values: &[f32]| upload(&device, &DIMS, &all_rounded(values));
    let as_packed = |values: &[f32]| packed(&device, &DIMS, values);
    let expected = normalised(&device, &as_values(&x), &as_values(&dy));
    let as_floats =
        |bits: &[u32]| -> Vec<f32> { bits.iter().copied().map(f32::from_bits).collect() };
    let [
        _,
        dx,
        _,
        _,
        packed_dx,
        rectified,
        packed_rectified,
        by_packed,
        _,
    ] = &expected[..]
    else {
        unreachable!("there are nine results");
    };
    assert_eq!(by_packed, rectified);
    assert_eq!(packed_dx, &bits(&all_rounded(&as_floats(dx))));
    assert_eq!(packed_rectified, &bits(&all_rounded(&as_floats(rectified))));
    for (x, dy) in [
        (as_packed(&x), as_values(&dy)),
        (as_values(&x), as_packed(&dy)),
        (as_packed(&x), as_packed(&dy)),
    ] {
        assert!(normalised(&device, &x, &dy) == expected);
    }
}

/// A GEMM and its statistics, as values and packed.
///
/// The tests run fprop from 13 channels and dgrad to 13 on tiled kernels, and both on Hopper kernels with 64 and more
/// channels.
#[test]
fn products_round_what_they_leave() {
    let padding = Padding {
        begin: [1, 1],
        end: [2, 2],
    };
    for (device, [height, width, c, k]) in [
        (simt(Precision::Bf16, 3), [10, 12, 13, 21]),
        (simt(Precision::Bf16, 4).unfused(), [10, 12, 13, 21]),
        (simt(Precision::Bf16, 5), [14, 26, 64, 72]),
    ] {
        let geometry =
            ConvGeometry::from_input(3, [height, width], [c, k], [5, 5], [2, 2], padding).unwrap();
        let tensor = |dims: &[usize], seed| {
            let values = values(dims.iter().product(), seed);
            upload(&device, dims, &values)
        };
        let (x, y) = (geometry.input_dims(), geometry.output_dims());
        let weight = tensor(&[5, 5, c, k], 8);
        for (from, to, channels, forward) in [(x, y, k, true), (y, x, c, false)] {
            let source = tensor(&from, 9);
            let bias = tensor(&[channels], 10);
            let run = |image: &mut Tensor, epilogue: Epilogue<'_>| {
                let bias = Some(&bias);
                let product = if forward {
                    device.run(Op::ConvFprop {
                        geometry: &geometry,
                        x: &source,
                        weight: &weight,
                        bias,
                        epilogue,
                        y: image,
                    })
                } else {
                    device.run(Op::ConvDgrad {
                        geometry: &geometry,
                        y: &source,
                        weight: &weight,
                        bias,
                        epilogue,
                        x: image,
                    })
                };
                product.unwrap();
            };
            let statistics = |image: &mut Tensor| {
                let fresh = || device.empty(Shape::from([channels])).unwrap();
                let (mut mean, mut variance) = (fresh(), fresh());
                let epilogue = Epilogue::Statistics {
                    mean: &mut mean,
                    variance: &mut variance,
                };
                run(image, epilogue);
                [mean, variance].map(|tensor| bits(&device.download(&tensor).unwrap()))
            };
            let mut as_values = device.empty(Shape::from(to)).unwrap();
            let of_values = statistics(&mut as_values);
            let mut as_packed = device.empty_packed(Shape::from(to)).unwrap();
            // The statistics are those of the values before rounding.
            assert_eq!(statistics(&mut as_packed), of_values);
            let expected = bits(&all_rounded(&device.download(&as_values).unwrap()));
            assert_eq!(bits(&unpacked(&device, &as_packed)), expected);
            let mut alone = device.empty_packed(Shape::from(to)).unwrap();
            run(&mut alone, Epilogue::None);
            assert_eq!(bits(&unpacked(&device, &alone)), expected);
        }
    }
}

/// The GEMMs of one-channel images read packed tensors as their values, although they do not round.
#[test]
fn ends_of_networks_read_what_is_packed() {
    let padding = Padding {
        begin: [1, 1],
        end: [2, 2],
    };
    let device = simt(Precision::Bf16, 7);
    let geometry =
        ConvGeometry::from_input(2, [22, 18], [1, CHANNELS], [5, 5], [2, 2], padding).unwrap();
    let (narrow, wide) = (geometry.input_dims(), geometry.output_dims());
    let tensor = |dims: &[usize], seed| {
        let values = values(dims.iter().product(), seed);
        upload(&device, dims, &values)
    };
    let (x, weight) = (tensor(&narrow, 14), tensor(&[5, 5, 1, CHANNELS], 15));
    let y = values(wide.iter().product(), 16);
    let products = |y: &Tensor| {
        let mut dx = device.empty(Shape::from(narrow)).unwrap();
        let mut dweight = device.empty(weight.shape().clone()).unwrap();
        device
            .run(Op::ConvDgrad {
                geometry: &geometry,
                y,
                weight: &weight,
                bias: None,
                epilogue: Epilogue::None,
                x: &mut dx,
            })
            .unwrap();
        device
            .run(Op::ConvWgrad {
                geometry: &geometry,
                x: &x,
                y,
                weight: &mut dweight,
            })
            .unwrap();
        [dx, dweight].map(|tensor| bits(&device.download(&tensor).unwrap()))
    };
    let expected = products(&upload(&device, &wide, &all_rounded(&y)));
    assert!(products(&packed(&device, &wide, &y)) == expected);
    assert!(products(&upload(&device, &wide, &y)) != expected);
}

/// Tensors of one channel are not packed, whatever the neighbours of the GEMMs that read them.
#[test]
fn one_channel_stays_as_it_is() {
    let padding = Padding {
        begin: [1, 1],
        end: [2, 2],
    };
    let settings = BatchNormSettings {
        epsilon: 1e-5,
        slope: 0.2,
    };
    let run = |device: LaunchBackend| {
        let device: Arc<dyn Backend> = Arc::new(device);
        let tape = Tape::new(Arc::clone(&device));
        let parameter = |dims: &[usize], seed| {
            let values = values(dims.iter().product(), seed);
            tape.parameter(upload(&*device, dims, &values))
        };
        let x = parameter(&[3, 10, 12, 1], 17);
        let normalise = |x, seed| {
            let channels = [1];
            let (scale, shift) = (parameter(&channels, seed), parameter(&channels, seed + 1));
            tape.batch_norm_training(x, 1, &scale, &shift, settings)
                .unwrap()
                .0
        };
        let image = normalise(&x, 18);
        let (weight, wide) = (
            parameter(&[5, 5, 1, CHANNELS], 20),
            parameter(&[CHANNELS], 21),
        );
        let image = tape
            .conv2d(&image, &weight, &wide, [2, 2], padding)
            .unwrap();
        let image = tape.activate(&image, Activation::Relu).unwrap();
        let narrow = parameter(&[1], 22);
        let image = tape
            .conv_transpose2d(&image, &weight, &narrow, [2, 2], padding)
            .unwrap();
        let y = normalise(&image, 23);
        let seed = upload(&*device, y.shape().dims(), &values(y.shape().len(), 25));
        let mut tensors = tape.gradients(&y, seed, &[&x, &weight, &wide]).unwrap();
        tensors.push(y.value().unwrap().clone());
        let download = |tensor| bits(&device.download(tensor).unwrap());
        tensors.iter().map(download).collect::<Vec<_>>()
    };
    let alone = run(simt(Precision::Bf16, 8).unfused());
    assert!(run(simt(Precision::Bf16, 9)) == alone);
}

/// A normalisation on the tape rounds its operand, whatever its form, and takes the statistics before rounding.
#[test]
fn a_normalisation_rounds_its_operand() {
    let device: Arc<dyn Backend> = Arc::new(simt(Precision::Bf16, 6));
    let x = values(DIMS.iter().product(), 11);
    let settings = BatchNormSettings {
        epsilon: 1e-5,
        slope: 0.2,
    };
    let tape = Tape::new(Arc::clone(&device));
    let vector = |seed| tape.constant(upload(&*device, &[CHANNELS], &values(CHANNELS, seed)));
    let (scale, shift) = (vector(12), vector(13));
    let operand = tape.constant(upload(&*device, &DIMS, &x));
    let (y, statistics) = tape
        .batch_norm_training(&operand, 1, &scale, &shift, settings)
        .unwrap();
    let fresh = || device.empty(Shape::from([CHANNELS])).unwrap();
    let (mut mean, mut variance) = (fresh(), fresh());
    device
        .run(Op::BatchStatistics {
            x: operand.value().unwrap(),
            mean: &mut mean,
            variance: &mut variance,
        })
        .unwrap();
    for (found, expected) in [(&statistics.mean, &mean), (&statistics.variance, &variance)] {
        let [found, expected] =
            [found, expected].map(|tensor| bits(&device.download(tensor).unwrap()));
        assert_eq!(found, expected);
    }
    let mut expected = device.empty(Shape::from(&DIMS[..])).unwrap();
    let by = Normalisation {
        mean: &mean,
        variance: &variance,
        scale: scale.value().unwrap(),
        shift: shift.value().unwrap(),
        epsilon: settings.epsilon,
        slope: settings.slope,
    };
    let operand = upload(&*device, &DIMS, &all_rounded(&x));
    device
        .run(Op::Normalise {
            x: &operand,
            by,
            y: &mut expected,
        })
        .unwrap();
    let [found, expected] =
        [y.value().unwrap(), &expected].map(|tensor| bits(&device.download(tensor).unwrap()));
    assert_eq!(found, expected);
}
