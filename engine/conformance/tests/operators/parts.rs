//! Batches of several parts give, forward and backward, the results of each part in a batch of its own: the same bits
//! if the order of sums is the same. Planted faults are detected.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its data has failed"
)]

use std::sync::Arc;

use crate::launchers::{Faulty, device, simt};
use cosmogan_engine::backend::cpu::CpuBackend;
use cosmogan_engine::backend::{Activation, Backend, Op, Precision};
use cosmogan_engine::ops::BatchNormSettings;
use cosmogan_engine::profile::{Extents, Kind, Profiled};
use cosmogan_engine::{Error, Padding, Part, Result, Shape, Tape, Tensor, Variable};

const SAME: Padding = Padding {
    begin: [1, 1],
    end: [2, 2],
};
const STRIDE: [usize; 2] = [2, 2];
const LEAKY: Activation = Activation::LeakyRelu { slope: 0.2 };
const SETTINGS: BatchNormSettings = BatchNormSettings {
    epsilon: 1e-5,
    slope: 0.2,
};

/// Images in a part, rows, columns and channels.
type Images = [usize; 4];

/// A discriminator: convolutions, all but the first followed by batch normalisation, and a linear layer.
struct Discriminator {
    backend: Arc<dyn Backend>,
    /// Weight, bias, scale and shift of each convolution.
    layers: Vec<[Tensor; 4]>,
    linear: [Tensor; 2],
    maps: [Tensor; 2],
}

/// A tensor of pseudo-random values between −1 and 1.
fn tensor(backend: &dyn Backend, seed: &mut u32, dims: &[usize]) -> Tensor {
    let values: Vec<f32> = (0..dims.iter().product())
        .map(|_| {
            *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (*seed >> 8) as f32 / 8_388_608.0 - 1.0
        })
        .collect();
    backend.upload(Shape::from(dims), &values).unwrap()
}

/// Results of a pass: bits of logits, statistics and gradients.
type Bits = Vec<Vec<u32>>;

impl Discriminator {
    fn new(
        backend: Arc<dyn Backend>,
        [batch, height, width, channels]: Images,
        window: usize,
        widths: &[usize],
    ) -> Self {
        let mut seed = 7;
        let mut fresh = |dims: &[usize]| tensor(&*backend, &mut seed, dims);
        let (mut inputs, mut pixels) = (channels, height * width);
        let mut layers = Vec::new();
        for &outputs in widths {
            let weight = fresh(&[window, window, inputs, outputs]);
            let vectors = [(); 3].map(|()| fresh(&[outputs]));
            let [bias, scale, shift] = vectors;
            layers.push([weight, bias, scale, shift]);
            (inputs, pixels) = (outputs, pixels / 4);
        }
        let linear = [fresh(&[1, pixels * inputs]), fresh(&[1])];
        let maps = [(); 2].map(|()| fresh(&[batch, height, width, channels]));
        Self {
            backend,
            layers,
            linear,
            maps,
        }
    }

    fn bits(&self, tensor: &Tensor) -> Vec<u32> {
        let values = self.backend.download(tensor).unwrap();
        values.into_iter().map(f32::to_bits).collect()
    }

    /// Runs `maps` in `parts` parts; returns logits, trained variables and batch statistics.
    fn forward(
        &self,
        tape: &Tape,
        maps: &Variable,
        parts: usize,
    ) -> Result<(Variable, Vec<Variable>, Vec<Tensor>)> {
        let window = self.layers[0][0].shape().dims()[0];
        let padding = match window {
            5 => SAME,
            _ => Padding {
                begin: [0, 0],
                end: [1, 1],
            },
        };
        let mut trained = Vec::new();
        let mut told = Vec::new();
        let mut image = maps.clone();
        for (layer, tensors) in self.layers.iter().enumerate() {
            let [weight, bias, scale, shift] = tensors.clone().map(|t| tape.parameter(t));
            image = tape.conv2d(&image, &weight, &bias, STRIDE, padding)?;
            trained.push(weight);
            if layer == 0 {
                image = tape.activate(&image, LEAKY)?;
                continue;
            }
            let (y, statistics) =
                tape.batch_norm_training(&image, parts, &scale, &shift, SETTINGS)?;
            image = y;
            told.extend([statistics.mean, statistics.variance]);
            trained.extend([scale, shift]);
        }
        let [weight, bias] = self.linear.clone().map(|t| tape.parameter(t));
        let batch = image.shape().dims()[0];
        let features = tape.reshape(&image, [batch, weight.shape().len()])?;
        let logits = tape.linear(&features, &weight, &bias)?;
        trained.extend([weight, bias]);
        Ok((logits, trained, told))
    }

    /// Runs each part in a batch of its own: logits, statistics, gradients of both losses with respect to the maps, and
    /// of the second loss with respect to the trained variables.
    fn alone(&self) -> Bits {
        let passes = self.maps.clone().map(|maps| {
            let tape = Tape::new(Arc::clone(&self.backend));
            let maps = tape.parameter(maps);
            let (logits, trained, told) = self.forward(&tape, &maps, 1).unwrap();
            let loss = tape.bce_with_logits(&logits, 1.0).unwrap();
            let wanted: Vec<_> = [&maps].into_iter().chain(&trained).collect();
            let gradients = tape.gradients_of_loss(&loss, &wanted).unwrap();
            let mut forward = vec![logits.value().unwrap().clone()];
            forward.extend(told);
            [forward, gradients].map(|all| {
                let bits = all.iter().map(|tensor| self.bits(tensor));
                bits.collect::<Vec<_>>()
            })
        });
        let [[first, of_first], [second, of_second]] = passes;
        let both = first.into_iter().zip(second);
        let forward = both.map(|(first, second)| [first, second].concat());
        let of_maps = [of_first[0].clone(), of_second[0].clone()];
        forward.chain(of_maps).chain(of_second).collect()
    }

    /// Runs both parts in one batch; returns the same values as [`alone`](Self::alone).
    fn together(&self) -> Result<Bits> {
        let tape = Tape::new(Arc::clone(&self.backend));
        let maps = self.maps.clone().map(|maps| tape.parameter(maps));
        let batch = tape.concatenate(&[&maps[0], &maps[1]])?;
        let (logits, trained, told) = self.forward(&tape, &batch, 2)?;
        let losses = Part::all(2).map(|part| tape.bce_with_logits(&tape.part(&logits, part)?, 1.0));
        let losses: Vec<_> = losses.collect::<Result<_>>()?;
        let both = tape.add(&losses[0], &losses[1])?;
        let of_maps = tape.gradients_of_loss(&both, &[&maps[0], &maps[1]])?;
        let wanted: Vec<_> = [&maps[1]].into_iter().chain(&trained).collect();
        let of_second = tape.gradients_of_loss(&losses[1], &wanted)?;
        let all = [logits.value()?.clone()]
            .into_iter()
            .chain(told)
            .chain(of_maps)
            .chain(of_second);
        Ok(all.map(|tensor| self.bits(&tensor)).collect())
    }
}

/// Parts of two images, whose 32 pixels after the second convolution are exactly a slice of its statistics.
const WHOLE_SLICES: (Images, &[usize]) = ([2, 16, 16, 1], &[9, 20]);

#[test]
fn a_part_is_what_it_is_alone() {
    let ([_, height, width, channels], _) = WHOLE_SLICES;
    let odd: (Images, &[usize]) = ([3, height, width, channels], &[9, 20, 12]);
    for (images, widths) in [WHOLE_SLICES, odd] {
        // Separate statistics passes start a new slice with each part.
        for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
            let processor = CpuBackend::checked().multiplying(precision);
            let discriminator = Discriminator::new(Arc::new(processor), images, 5, widths);
            assert!(
                discriminator.together().unwrap() == discriminator.alone(),
                "{images:?} on the CPU in {precision}"
            );
            let backend = Arc::new(simt(1, precision).unfused().poisoned());
            let discriminator = Discriminator::new(backend, images, 5, widths);
            assert!(
                discriminator.together().unwrap() == discriminator.alone(),
                "{images:?} in {precision}"
            );
        }
    }
    let (images, widths) = WHOLE_SLICES;
    for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
        let backend = Arc::new(simt(2, precision).poisoned());
        let discriminator = Discriminator::new(backend, images, 5, widths);
        assert!(
            discriminator.together().unwrap() == discriminator.alone(),
            "fused, in {precision}"
        );
    }
    let backend = Arc::new(simt(3, Precision::F32).plain());
    let discriminator = Discriminator::new(backend, images, 5, widths);
    assert!(discriminator.together().unwrap() == discriminator.alone());
}

/// A tile covers four images of 8×8 pixels, which are exactly one part.
#[test]
fn a_part_of_whole_tiles_of_hopper_kernels_is_what_it_is_alone() {
    let backend = Arc::new(simt(1, Precision::Bf16).poisoned());
    let discriminator = Discriminator::new(backend, [4, 32, 32, 1], 3, &[64, 72]);
    assert!(discriminator.together().unwrap() == discriminator.alone());
}

/// If a slice of statistics would span two parts, statistics are computed by separate passes: in another order than
/// alone, and so with other roundings, but of the same values.
#[test]
fn slices_of_two_parts_are_never_joined() {
    let precision = Precision::Bf16;
    let images = [3, 16, 16, 1];
    let fused = Discriminator::new(Arc::new(simt(1, precision)), images, 5, &[9, 20]);
    let unfused = simt(2, precision).unfused();
    let unfused = Discriminator::new(Arc::new(unfused), images, 5, &[9, 20]);
    assert!(fused.together().unwrap() == unfused.together().unwrap());
}

/// Statistics of each part, with more slices than are combined at once.
#[test]
fn groups_of_slices_are_each_of_one_part() {
    let backend = simt(1, Precision::F32);
    let rows = 1025 * 512 - 5;
    let x = tensor(&backend, &mut 3, &[2 * rows, 1]);
    let statistics = |x: &Tensor, parts: usize| {
        let empty = || backend.empty(Shape::from([parts, 1])).unwrap();
        let (mut mean, mut variance) = (empty(), empty());
        backend
            .run(Op::BatchStatistics {
                x,
                mean: &mut mean,
                variance: &mut variance,
            })
            .unwrap();
        [mean, variance].map(|values| backend.download(&values).unwrap())
    };
    let [mean, variance] = statistics(&x, 2);
    for part in Part::all(2) {
        let [one_mean, one_variance] = statistics(&x.part(part).unwrap(), 1).map(|one| one[0]);
        assert_eq!(mean[part.index], one_mean);
        assert_eq!(variance[part.index], one_variance);
    }
    assert!(mean[0] != mean[1]);
}

#[test]
fn mixed_up_parts_are_noticed() {
    let faults = [
        (
            "batch_norm.cu",
            "joined = blockIdx.z * gridDim.y + blockIdx.y",
            "joined = (gridDim.z - 1 - blockIdx.z) * gridDim.y + blockIdx.y",
        ),
        ("batch_norm.cu", "part = blockIdx.z * slices", "part = 0"),
        (
            "batch_norm.cu",
            "totals += blockIdx.z * 2 * channels",
            "totals += 0",
        ),
        (
            "batch_norm.cu",
            "(long long)(blockIdx.x * gridDim.z + blockIdx.z) * 2 * channels",
            "(long long)(blockIdx.x * gridDim.z) * 2 * channels",
        ),
        ("elementwise.cu", "y[i] = x[i];", "y[i] = x[0];"),
    ];
    let (images, widths) = WHOLE_SLICES;
    let precision = Precision::Bf16;
    let right = Discriminator::new(Arc::new(simt(1, precision)), images, 5, widths).alone();
    for (file, text, wrong) in faults {
        let backend = Arc::new(device(Faulty::new(file, text, wrong), precision));
        let found = Discriminator::new(backend, images, 5, widths).together();
        match found {
            Ok(found) => assert!(found != right, "{file}: {wrong}"),
            // Detected by the executor, not by the compiler.
            Err(error) => assert!(!error.to_string().contains("compile"), "{error}"),
        }
    }
}

/// Uses small whole numbers, whose sums are exact in any order.
#[test]
fn the_gradient_of_all_parts_is_the_sum_of_theirs() {
    let backends: [Arc<dyn Backend>; 2] = [
        Arc::new(CpuBackend::new()),
        Arc::new(simt(1, Precision::Bf16)),
    ];
    for backend in backends {
        let upload = |dims: &[usize], shift: usize| {
            let values: Vec<f32> = (0..dims.iter().product())
                .map(|i: usize| ((i * 7 + shift) % 5) as f32 - 2.0)
                .collect();
            backend.upload(Shape::from(dims), &values).unwrap()
        };
        let maps = [upload(&[2, 8, 8, 3], 1), upload(&[2, 8, 8, 3], 4)];
        let seed = upload(&[4, 4, 4, 5], 2);
        let gradients = |maps: &[&Tensor], seed: Tensor| {
            let tape = Tape::new(Arc::clone(&backend));
            let parts: Vec<_> = maps
                .iter()
                .map(|&maps| tape.parameter(maps.clone()))
                .collect();
            let batch = tape.concatenate(&parts.iter().collect::<Vec<_>>()).unwrap();
            let weight = tape.parameter(upload(&[5, 5, 3, 5], 3));
            let bias = tape.parameter(upload(&[5], 3));
            let y = tape.conv2d(&batch, &weight, &bias, STRIDE, SAME).unwrap();
            let wanted: Vec<_> = [&weight, &bias].into_iter().chain(&parts).collect();
            let gradients = tape.gradients(&y, seed, &wanted).unwrap();
            let values = gradients.iter().map(|gradient| backend.download(gradient));
            values.collect::<Result<Vec<_>>>().unwrap()
        };
        let all = gradients(&[&maps[0], &maps[1]], seed.clone());
        let [first, second] = [0, 1].map(|index| {
            let seed = seed.part(Part { index, of: 2 }).unwrap();
            gradients(&[&maps[index]], seed)
        });
        for which in 0..2 {
            let sums = first[which].iter().zip(&second[which]);
            let sums: Vec<f32> = sums.map(|(a, b)| a + b).collect();
            assert_eq!(all[which], sums);
        }
        assert_eq!(all[2], first[2]);
        assert_eq!(all[3], second[2]);
    }
}

/// The gradient of one part's loss computes nothing for the other part; that of both losses runs one GEMM per weight.
#[test]
fn nothing_is_computed_for_a_part_without_a_gradient() {
    let profiled = Arc::new(Profiled::on_processor(Arc::new(CpuBackend::new())));
    let backend: Arc<dyn Backend> = profiled.clone();
    let discriminator = Discriminator::new(backend, [3, 16, 16, 1], 5, &[4, 6]);
    let tape = Tape::new(Arc::clone(&discriminator.backend));
    let maps = discriminator.maps.clone().map(|maps| tape.parameter(maps));
    let batch = tape.concatenate(&[&maps[0], &maps[1]]).unwrap();
    let (logits, trained, _) = discriminator.forward(&tape, &batch, 2).unwrap();
    let parts = [0, 1].map(|index| tape.part(&logits, Part { index, of: 2 }).unwrap());
    let losses = parts
        .each_ref()
        .map(|part| tape.bce_with_logits(part, 1.0).unwrap());
    let both = tape.add(&losses[0], &losses[1]).unwrap();
    let images = |loss: &Variable, wanted: &[&Variable]| -> Vec<(Kind, usize)> {
        profiled.start();
        tape.gradients_of_loss(loss, wanted).unwrap();
        let samples = profiled.finish().unwrap();
        let batches = samples.iter().filter_map(|sample| {
            let batch = match sample.operator.extents {
                Extents::Convolution(geometry) => geometry.batch,
                Extents::Linear { rows, .. } => rows,
                Extents::Images { batch, .. } => batch,
                _ => return None,
            };
            Some((sample.operator.kind, batch))
        });
        batches.collect()
    };
    let through = images(&losses[1], &[&maps[1]]);
    let kinds: Vec<Kind> = through.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(
        kinds,
        [
            Kind::LinearDgrad,
            Kind::NormaliseGradient,
            Kind::Dgrad,
            Kind::LeakyReluGradient,
            Kind::Dgrad
        ]
    );
    assert!(through.iter().all(|(_, batch)| *batch == 3), "{through:?}");
    let wanted: Vec<_> = trained.iter().collect();
    let learned = images(&both, &wanted);
    let products = learned.iter().filter(|(kind, _)| *kind == Kind::Wgrad);
    assert_eq!(products.collect::<Vec<_>>(), [&(Kind::Wgrad, 6); 2]);
}

#[test]
fn what_parts_cannot_do_is_refused() {
    let backend: Arc<dyn Backend> = Arc::new(CpuBackend::new());
    let tape = Tape::new(Arc::clone(&backend));
    let mut seed = 1;
    let mut parameter = |dims: &[usize]| tape.parameter(tensor(&*backend, &mut seed, dims));
    let (x, scale, shift) = (parameter(&[4, 3]), parameter(&[3]), parameter(&[3]));
    let second = Part { index: 1, of: 2 };
    let refused = |result: Result<Vec<Tensor>>| result.unwrap_err().to_string();

    let uneven = tape.part(&x, Part { index: 0, of: 3 }).unwrap_err();
    assert_eq!(
        uneven.to_string(),
        "part: an axis of 4 has no part 1 of 3 of equal size"
    );
    let beyond = tape.part(&x, Part { index: 2, of: 2 });
    assert!(beyond.is_err());
    assert!(
        tape.batch_norm_training(&x, 3, &scale, &shift, SETTINGS)
            .is_err()
    );
    assert!(
        tape.batch_norm_training(&x, 0, &scale, &shift, SETTINGS)
            .is_err()
    );
    assert!(tape.concatenate(&[]).is_err());
    assert!(tape.concatenate(&[&x, &scale]).is_err());

    // A part of a batch that was normalised as a whole has no gradient of its own.
    let (y, _) = tape
        .batch_norm_training(&x, 1, &scale, &shift, SETTINGS)
        .unwrap();
    let part = tape.part(&y, second).unwrap();
    let loss = tape.bce_with_logits(&part, 1.0).unwrap();
    let message = refused(tape.gradients_of_loss(&loss, &[&x]));
    assert!(
        message.contains("part 2 of 2 was not normalised separately"),
        "{message}"
    );

    let part = tape.part(&x, second).unwrap();
    let loss = tape.bce_with_logits(&part, 1.0).unwrap();
    let message = refused(tape.gradients_of_loss(&loss, &[&x]));
    assert!(
        message.contains("part 2 of 2 of a requested variable"),
        "{message}"
    );

    let quarters = tape.part(&x, Part { index: 0, of: 4 }).unwrap();
    let other = tape.bce_with_logits(&quarters, 1.0).unwrap();
    let loss = tape.add(&loss, &other).unwrap();
    let message = refused(tape.gradients_of_loss(&loss, &[&x]));
    assert!(message.contains("different parts"), "{message}");

    // Neither a part nor the tensor that it belongs to can be written.
    let mut whole = backend.upload(Shape::from([2]), &[1.0, 2.0]).unwrap();
    let mut part = whole.part(second).unwrap();
    assert_eq!(backend.download(&part).unwrap(), [2.0]);
    for tensor in [&mut whole, &mut part] {
        let length = tensor.shape().len();
        let written = backend.write(tensor, &vec![0.0; length]);
        assert!(matches!(written, Err(Error::StillShared { .. })));
    }
    drop(whole);
    assert!(backend.write(&mut part, &[0.0]).is_err());
}
