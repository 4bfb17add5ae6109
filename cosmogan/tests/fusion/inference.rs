//! Batch normalisation with running statistics in the epilogue of the preceding convolution gives the bits of a
//! separate pass, in either output format; planted faults are detected.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its data has failed"
)]

use std::sync::Arc;

use crate::launchers::{BF16, Faulty, WorkModel, device, simt};
use crate::{SAME, SETTINGS, STRIDE, WINDOW};
use cosmogan::model::{Mode, Network, NetworkKind, Preset, discriminator, sampler};
use cosmogan_conformance::{arithmetic, check};
use cosmogan_engine::backend::launch::LaunchBackend;
use cosmogan_engine::backend::{Backend, Precision};
use cosmogan_engine::{Result, Shape, Tape, Tensor, Variable};

/// A hidden layer at inference: a plain or transposed convolution from `from` to `to` channels and its normalisation.
#[derive(Clone, Copy, Debug)]
struct Layer {
    transposed: bool,
    batch: usize,
    size: [usize; 2],
    from: usize,
    to: usize,
}

const fn layer(
    transposed: bool,
    [batch, height, width]: [usize; 3],
    [from, to]: [usize; 2],
) -> Layer {
    Layer {
        transposed,
        batch,
        size: [height, width],
        from,
        to,
    }
}

/// Layers on tiled kernels: images of odd extents, rows that are not whole chunks, more columns than a warp has lanes.
const TILED: [Layer; 4] = [
    layer(false, [3, 7, 9], [13, 21]),
    layer(true, [3, 3, 5], [21, 13]),
    layer(false, [2, 6, 5], [9, 75]),
    layer(true, [2, 3, 3], [9, 75]),
];
/// Layers on Hopper kernels: tiles of 128 and of 64 columns, with one and with two phases per tile.
const HOPPER: [Layer; 4] = [
    layer(false, [4, 13, 14], [64, 67]),
    layer(false, [4, 13, 14], [64, 64]),
    layer(true, [4, 7, 6], [64, 67]),
    layer(true, [4, 7, 6], [72, 64]),
];

/// Pseudo-random values between -1 and 1.
struct Random(u32);

impl Random {
    fn value(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / 8_388_608.0 - 1.0
    }

    fn tensor(&mut self, backend: &dyn Backend, dims: &[usize]) -> Tensor {
        let values: Vec<f32> = (0..dims.iter().product()).map(|_| self.value()).collect();
        backend.upload(Shape::from(dims), &values).unwrap()
    }

    /// Values between 0.01 and 4.
    fn variances(&mut self, backend: &dyn Backend, channels: usize) -> Tensor {
        let values: Vec<f32> = (0..channels)
            .map(|_| (self.value() + 1.005).powi(2))
            .collect();
        backend.upload(Shape::from([channels]), &values).unwrap()
    }
}

/// A tape with pseudo-random constants.
struct Chain {
    tape: Tape,
    random: Random,
}

impl Chain {
    fn new(device: LaunchBackend) -> Self {
        Self {
            tape: Tape::new(Arc::new(device)),
            random: Random(1),
        }
    }

    fn constant(&mut self, dims: &[usize]) -> Variable {
        let tensor = self.random.tensor(self.tape.backend(), dims);
        self.tape.constant(tensor)
    }

    /// Normalises `image` and returns the bits of a convolution that reads the packed result, and of the plain result.
    fn normalised(mut self, image: &Variable) -> Result<[Vec<u32>; 2]> {
        let channels = image.shape().channels();
        let (scale, shift) = (self.constant(&[channels]), self.constant(&[channels]));
        let next = self.constant(&[WINDOW, WINDOW, channels, 5]);
        let bias = self.constant(&[5]);
        let (tape, random) = (&self.tape, &mut self.random);
        let mean = random.tensor(tape.backend(), &[channels]);
        let variance = random.variances(tape.backend(), channels);
        let y = tape.batch_norm_inference(image, (&mean, &variance), &scale, &shift, SETTINGS)?;
        let read = tape.conv2d(&y, &next, &bias, [1, 1], SAME)?;
        let download = |tensor: &Tensor| {
            let values = tape.backend().download(tensor)?;
            Ok(values.into_iter().map(f32::to_bits).collect())
        };
        Ok([download(read.value()?)?, download(y.value()?)?])
    }
}

/// The results of [`Chain::normalised`] for a hidden layer.
fn bits(device: LaunchBackend, layer: Layer) -> Result<[Vec<u32>; 2]> {
    let mut chain = Chain::new(device);
    let Layer {
        batch,
        size: [height, width],
        from,
        to,
        ..
    } = layer;
    let x = chain.constant(&[batch, height, width, from]);
    let bias = chain.constant(&[to]);
    let image = if layer.transposed {
        let weight = chain.constant(&[WINDOW, WINDOW, to, from]);
        chain
            .tape
            .conv_transpose2d(&x, &weight, &bias, STRIDE, SAME)?
    } else {
        let weight = chain.constant(&[WINDOW, WINDOW, from, to]);
        chain.tape.conv2d(&x, &weight, &bias, STRIDE, SAME)?
    };
    chain.normalised(&image)
}

/// The results of [`Chain::normalised`] for a linear layer whose features are images.
fn bits_of_features(
    device: LaunchBackend,
    [rows, inputs]: [usize; 2],
    [height, width, channels]: [usize; 3],
) -> Result<[Vec<u32>; 2]> {
    let mut chain = Chain::new(device);
    let outputs = height * width * channels;
    let x = chain.constant(&[rows, inputs]);
    let (weight, bias) = (
        chain.constant(&[outputs, inputs]),
        chain.constant(&[outputs]),
    );
    let features = chain.tape.linear(&x, &weight, &bias)?;
    let image = chain
        .tape
        .reshape(&features, [rows, height, width, channels])?;
    chain.normalised(&image)
}

/// A layer launches a GEMM of the expected tier and no kernel that normalises.
#[test]
fn layers_run_on_the_kernels_that_they_are_meant_for() {
    for (layers, tier) in [(TILED, "tiled"), (HOPPER, "hopper")] {
        for layer in layers {
            let model = Arc::new(WorkModel::default());
            let device = LaunchBackend::new(Arc::clone(&model) as Arc<_>, Precision::Bf16);
            bits(device.unwrap(), layer).unwrap();
            let launches = model.launches();
            let product = if layer.transposed { "dgrad" } else { "fprop" };
            let wanted = format!("conv_{product}_{tier}");
            assert!(
                launches.iter().any(|(name, _)| *name == wanted),
                "{layer:?}"
            );
            let normalises = |name: &str| name.starts_with("batch_norm");
            assert!(
                !launches.iter().any(|(name, _)| normalises(name)),
                "{layer:?}"
            );
        }
    }
}

#[test]
fn layers_are_the_bits_of_a_pass_of_their_own() {
    for precision in [Precision::Bf16, Precision::Tf32] {
        for layer in TILED.into_iter().chain(HOPPER) {
            let alone = bits(simt(1, precision).unfused(), layer).unwrap();
            let fused = bits(simt(2, precision), layer).unwrap();
            assert!(fused == alone, "{precision}, {layer:?}");
        }
    }
    // In f32 nothing is fused, and results are correct as well.
    for device in [simt(3, Precision::F32), simt(4, Precision::F32).plain()] {
        let alone = bits(device.clone().unfused(), TILED[0]).unwrap();
        assert!(bits(device, TILED[0]).unwrap() == alone);
    }
}

#[test]
fn features_are_the_bits_of_a_pass_of_their_own() {
    for precision in [Precision::Bf16, Precision::Tf32] {
        // Whole and partial chunks, on tiled and on Hopper kernels.
        for (rows, images) in [
            ([3, 21], [2, 3, 16]),
            ([3, 21], [3, 2, 13]),
            ([130, 64], [2, 2, 40]),
        ] {
            let alone = bits_of_features(simt(1, precision).unfused(), rows, images).unwrap();
            let fused = bits_of_features(simt(2, precision), rows, images).unwrap();
            assert!(fused == alone, "{precision}, {rows:?} to {images:?}");
        }
    }
    let (rows, images) = ([3, 21], [2, 3, 16]);
    let wrong = Faulty::in_header(
        "implicit_gemm.cu",
        "epilogue.cuh",
        "k % by.channels",
        "k / 8 % by.channels",
    );
    let precision = Precision::Bf16;
    let alone = bits_of_features(simt(1, precision).unfused(), rows, images).unwrap();
    assert!(bits_of_features(device(wrong, precision), rows, images).unwrap() != alone);
}

#[test]
fn planted_faults_are_noticed() {
    const TILES: &str = "implicit_gemm.cu";
    const WARPGROUPS: &str = "implicit_gemm_hopper.cu";
    let [_, _, wide, _] = TILED;
    let [hopper, _, _, two_phases] = HOPPER;
    let in_header =
        |file, right: &str, wrong: &str| Faulty::in_header(file, "epilogue.cuh", right, wrong);
    let faults = [
        // Statistics of another column, and columns of other lanes.
        (
            wide,
            in_header(
                TILES,
                "first + threadIdx.x % 32, columns",
                "threadIdx.x % 32, columns",
            ),
        ),
        (
            wide,
            in_header(
                TILES,
                "8 * j.value + threadIdx.x % 4 * 2 + e.value",
                "8 * j.value + threadIdx.x % 4 + e.value",
            ),
        ),
        (
            hopper,
            Faulty::new(
                WARPGROUPS,
                "output + 8 * first, columns, [&]",
                "output, columns, [&]",
            ),
        ),
        (
            two_phases,
            Faulty::new(WARPGROUPS, "+ within;", "+ within % 4;"),
        ),
        // Padding that is not zero, and no padding.
        (
            wide,
            in_header(
                TILES,
                "< columns ? value[i] : 0.0f",
                "< columns ? value[i] : 1.0f / 0.0f",
            ),
        ),
        (
            wide,
            in_header(TILES, "chunk < by.padded", "chunk + 8 <= columns"),
        ),
        // Pieces written to the wrong place.
        (
            wide,
            in_header(
                TILES,
                "upper ? piece[j] : piece[j + distance]",
                "upper ? piece[j + distance] : piece[j]",
            ),
        ),
        (
            hopper,
            in_header(
                WARPGROUPS,
                "k + place * CHUNK_VALUES",
                "k + place / 2 * CHUNK_VALUES",
            ),
        ),
        // A wrong function.
        (
            wide,
            in_header(TILES, "normalised(sum + bias,", "normalised(sum,"),
        ),
        (
            wide,
            in_header(
                TILES,
                "return rectified(value, value, by.slope)",
                "return value",
            ),
        ),
    ];
    let precision = Precision::Bf16;
    for (index, (layer, faulty)) in faults.into_iter().enumerate() {
        let expected = bits(simt(1, precision).unfused(), layer).unwrap();
        match bits(device(faulty, precision), layer) {
            Ok(found) => assert!(found != expected, "fault {index}"),
            // Detected by the executor, not by the compiler.
            Err(error) => assert!(!error.to_string().contains("compile"), "{index}: {error}"),
        }
    }
}

#[test]
fn verification_notices_them_too() {
    let precision = Precision::Bf16;
    let line = "conv2d n=2 h=9 w=7 c=9 k=43 kernel=5x5 stride=2x2 pad=1,1,1,1 seed=5";
    let case = line.parse().unwrap();
    let passes = |device: LaunchBackend| {
        let backend: Arc<dyn Backend> = Arc::new(device);
        check(&case, &backend, &arithmetic(precision), 200)
            .unwrap()
            .passed
    };
    assert!(passes(simt(1, precision)));
    for (right, wrong) in [
        ("normalised(sum + bias,", "normalised(sum,"),
        ("uint4{piece[0], piece[1],", "uint4{piece[1], piece[0],"),
    ] {
        let faulty = Faulty::in_header("implicit_gemm.cu", "epilogue.cuh", right, wrong);
        assert!(!passes(device(faulty, precision)), "{wrong}");
    }
}

/// The bits of a generator's maps and a discriminator's logits, with initial weights.
fn networks(device: LaunchBackend, preset: Preset) -> [Vec<u32>; 2] {
    let config = preset.model();
    let backend: Arc<dyn Backend> = Arc::new(device);
    let network = |kind| Network::initial(kind, config, 1, &backend).unwrap();
    let latents: Vec<f32> = (0..2 * config.z_dim)
        .map(|i| (i as f32 * 0.61).cos())
        .collect();
    let maps = sampler::generate(&network(NetworkKind::Generator), &latents).unwrap();

    let critic = network(NetworkKind::Discriminator);
    let tape = Tape::new(Arc::clone(&backend));
    let bound = critic.bind(&tape, Mode::Inference);
    let shape = Shape::from([2, config.output_size, config.output_size, 1]);
    let images = tape.constant(backend.upload(shape, &maps).unwrap());
    let (logits, _) = discriminator::forward(&bound, &images, 1).unwrap();
    let logits = backend.download(logits.value().unwrap()).unwrap();
    [maps, logits].map(|values| values.into_iter().map(f32::to_bits).collect())
}

#[test]
fn networks_are_the_bits_of_passes_of_their_own() {
    for precision in [Precision::Bf16, Precision::Tf32] {
        let alone = networks(simt(1, precision).unfused(), Preset::Tiny);
        let fused = networks(simt(2, precision), Preset::Tiny);
        assert!(fused == alone, "{precision}");
    }
}

/// The cost of 1,024 maps of the paper's model by the work model: gigabytes, launches, and the lower bound of their
/// time in milliseconds.
fn generating(batch: usize, fused: bool) -> [f64; 3] {
    const MAPS: usize = 1024;
    let model = Arc::new(WorkModel::default());
    let device = LaunchBackend::new(Arc::clone(&model) as Arc<_>, Precision::Bf16).unwrap();
    let backend: Arc<dyn Backend> = Arc::new(if fused { device } else { device.unfused() });
    let config = Preset::Paper.model();
    let network = Network::initial(NetworkKind::Generator, config, 1, &backend).unwrap();
    let latents = vec![0.0; batch * config.z_dim];
    sampler::generate(&network, &latents).unwrap();
    let normalises = |(name, _): &(&str, _)| name.starts_with("batch_norm");
    assert!(fused != model.launches().iter().any(normalises));
    model.cost((MAPS / batch) as f64, BF16)
}

#[test]
fn generating_moves_less_and_normalises_nowhere() {
    for batch in [16, 64, 256] {
        let [alone, fused] = [false, true].map(|fused| {
            let [bytes, launches, least] = generating(batch, fused);
            let word = if fused { "fused" } else { "unfused" };
            println!("1,024 maps in batches of {batch}, {word}: {bytes:.2} GB, {launches} launches, at least {least:.2} ms");
            [bytes, least]
        });
        assert!(fused[0] < 0.7 * alone[0] && fused[1] < alone[1]);
    }
}
