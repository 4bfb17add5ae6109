//! Fused kernels give the results of separate passes: the same bits if the order of sums is the same, else within the
//! oracle's bounds. Planted faults are detected.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its data has failed"
)]

use std::sync::Arc;

use crate::launchers::{BF16, Faulty, TF32, WorkModel, device, simt};
use crate::{SAME, SETTINGS, STRIDE, WINDOW};
use cosmogan::model::{ModelConfig, Network, NetworkKind, Preset};
use cosmogan::train::{RealMaps, StepInputs, Trainer};
use cosmogan_conformance::{arithmetic, check};
use cosmogan_engine::backend::launch::LaunchBackend;
use cosmogan_engine::backend::{Activation, Backend, Precision};
use cosmogan_engine::{Result, Shape, Tape, Tensor, Variable};

/// A tape with pseudo-random tensors for a chain of operators.
struct Chain {
    tape: Tape,
    seed: u32,
}

impl Chain {
    fn new(device: LaunchBackend) -> Self {
        Self {
            tape: Tape::new(Arc::new(device)),
            seed: 1,
        }
    }

    fn tensor(&mut self, dims: &[usize]) -> Tensor {
        let values: Vec<f32> = (0..dims.iter().product())
            .map(|_| {
                self.seed = self
                    .seed
                    .wrapping_mul(1_664_525)
                    .wrapping_add(1_013_904_223);
                (self.seed >> 8) as f32 / 8_388_608.0 - 1.0
            })
            .collect();
        let backend = self.tape.backend();
        backend.upload(Shape::from(dims), &values).unwrap()
    }

    fn parameter(&mut self, dims: &[usize]) -> Variable {
        let tensor = self.tensor(dims);
        self.tape.parameter(tensor)
    }

    /// Normalises and rectifies `x`, and adds its scale and shift to `variables`.
    fn normalised(&mut self, x: &Variable, variables: &mut Vec<Variable>) -> Result<Variable> {
        let channels = [x.shape().channels()];
        let (scale, shift) = (self.parameter(&channels), self.parameter(&channels));
        let (y, _) = self
            .tape
            .batch_norm_training(x, 1, &scale, &shift, SETTINGS)?;
        variables.extend([scale, shift]);
        Ok(y)
    }

    /// The bits of `y` and of its gradients for a random upstream gradient.
    fn bits(&mut self, y: &Variable, variables: &[Variable]) -> Result<Vec<Vec<u32>>> {
        let seed = self.tensor(y.shape().dims());
        let wanted: Vec<_> = variables.iter().collect();
        let mut tensors = vec![y.value()?.clone()];
        tensors.extend(self.tape.gradients(y, seed, &wanted)?);
        let backend = self.tape.backend();
        let bits = |tensor: &Tensor| {
            let values = backend.download(tensor)?;
            Ok(values.iter().map(|value| value.to_bits()).collect())
        };
        tensors.iter().map(bits).collect()
    }
}

/// Convolutions from c to k channels and back, each behind a batch normalisation whose result and gradient it reads.
///
/// Statistics are computed in separate passes, because fused ones have another order of sums.
fn normalised_images(
    device: LaunchBackend,
    [batch, height, width, c, k]: [usize; 5],
    with_biases: bool,
) -> Result<Vec<Vec<u32>>> {
    let mut chain = Chain::new(device);
    let x = chain.parameter(&[batch, height, width, c]);
    let mut variables = vec![x.clone()];
    let image = chain.normalised(&x, &mut variables)?;
    let weights = [WINDOW, WINDOW, c, k];
    let (weight, bias) = (chain.parameter(&weights), chain.parameter(&[k]));
    let image = chain.tape.conv2d(&image, &weight, &bias, STRIDE, SAME)?;
    image.value()?;
    let mut biases = vec![bias];
    variables.push(weight);
    let image = chain.normalised(&image, &mut variables)?;
    let (weight, bias) = (chain.parameter(&weights), chain.parameter(&[c]));
    let image = chain
        .tape
        .conv_transpose2d(&image, &weight, &bias, STRIDE, SAME)?;
    image.value()?;
    variables.push(weight);
    biases.push(bias);
    let y = chain.normalised(&image, &mut variables)?;
    if with_biases {
        variables.extend(biases);
    }
    chain.bits(&y, &variables)
}

/// Convolutions from one channel to k to m with a leaky ReLU in between, and a transposed one from k to one channel,
/// then tanh.
fn activated_images(
    device: LaunchBackend,
    [batch, height, width, k, m]: [usize; 5],
) -> Result<Vec<Vec<u32>>> {
    let mut chain = Chain::new(device);
    let x = chain.parameter(&[batch, height, width, 1]);
    let (weight, bias) = (
        chain.parameter(&[WINDOW, WINDOW, 1, k]),
        chain.parameter(&[k]),
    );
    let image = chain.tape.conv2d(&x, &weight, &bias, STRIDE, SAME)?;
    let leaky = Activation::LeakyRelu { slope: 0.2 };
    let image = chain.tape.activate(&image, leaky)?;
    let (next, next_bias) = (
        chain.parameter(&[WINDOW, WINDOW, k, m]),
        chain.parameter(&[m]),
    );
    let y = chain.tape.conv2d(&image, &next, &next_bias, STRIDE, SAME)?;
    let mut bits = chain.bits(&y, &[x, weight, bias, next, next_bias])?;

    let x = chain.parameter(&[batch, height, width, k]);
    let (weight, bias) = (
        chain.parameter(&[WINDOW, WINDOW, 1, k]),
        chain.parameter(&[1]),
    );
    let image = chain
        .tape
        .conv_transpose2d(&x, &weight, &bias, STRIDE, SAME)?;
    let y = chain.tape.activate(&image, Activation::Tanh)?;
    bits.extend(chain.bits(&y, &[x, weight, bias])?);
    Ok(bits)
}

/// Rows that are not whole chunks, and images smaller than a slice of the statistics.
const ODD: [usize; 5] = [3, 7, 9, 13, 21];
/// A shape that runs on Hopper kernels.
const FOR_HOPPER: [usize; 5] = [4, 13, 14, 64, 72];

#[test]
fn normalised_images_and_their_gradients_are_written_as_they_would_be_packed() {
    for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
        for with_biases in [false, true] {
            let alone = normalised_images(simt(1, precision).unfused(), ODD, with_biases).unwrap();
            let fused = normalised_images(simt(2, precision), ODD, with_biases).unwrap();
            assert!(fused == alone, "{precision}, biases {with_biases}");
        }
    }
    let precision = Precision::Bf16;
    let alone = normalised_images(simt(3, precision).unfused(), FOR_HOPPER, false).unwrap();
    let fused = normalised_images(simt(4, precision), FOR_HOPPER, false).unwrap();
    assert!(fused == alone);
}

#[test]
fn activations_in_epilogues_are_those_of_a_pass_of_their_own() {
    for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
        let alone = activated_images(simt(1, precision).unfused(), ODD).unwrap();
        let fused = activated_images(simt(2, precision), ODD).unwrap();
        assert!(fused == alone, "{precision}");
    }
}

/// The bits of losses and logits of three steps of a small model.
fn steps(device: LaunchBackend, recorded: bool) -> Vec<u32> {
    let config = ModelConfig {
        output_size: 16,
        layers: 2,
        gf_dim: 4,
        df_dim: 4,
        z_dim: 8,
        c_dim: 1,
    };
    let backend: Arc<dyn Backend> = Arc::new(device);
    let mut trainer = trainer(&config, &backend);
    let maps: Vec<f32> = (0..3 * 256).map(|i| (i as f32 * 0.37).sin()).collect();
    let latents: Vec<f32> = (0..3 * 8).map(|i| (i as f32 * 0.61).cos()).collect();
    let mut all = Vec::new();
    for _ in 0..3 {
        let inputs = StepInputs {
            maps: RealMaps::Values(&maps),
            latents: &latents,
            flip_labels: false,
        };
        let report = trainer.step(inputs).unwrap().report;
        all.extend([report.d_loss_real, report.d_loss_fake, report.g_loss]);
        all.extend(report.fake_logits);
    }
    assert_eq!(trainer.was_replayed(), recorded);
    all.into_iter().map(f32::to_bits).collect()
}

fn trainer(config: &ModelConfig, backend: &Arc<dyn Backend>) -> Trainer {
    let network = |kind| Network::initial(kind, *config, 1, backend).unwrap();
    Trainer::new(
        network(NetworkKind::Generator),
        network(NetworkKind::Discriminator),
        Preset::Paper.training().adam(),
    )
    .unwrap()
}

/// Deferred operators work in a recorded step (CUDA graph) as well.
#[test]
fn steps_are_the_same_bits_replayed_or_not() {
    let precision = Precision::Bf16;
    let replayed = steps(simt(1, precision), true);
    let run = steps(device(Faulty::that_runs_everything(2), precision), false);
    assert_eq!(replayed, run);
}

#[test]
fn faults_in_statistics_of_epilogues_are_noticed() {
    let tiled = "conv_transpose2d n=2 h=5 w=7 c=20 k=13 kernel=5x5 stride=2x2 pad=1,1,1,1 seed=3";
    let hopper = "conv2d n=3 h=21 w=13 c=72 k=131 kernel=4x3 stride=3x1 pad=0,1,1,1 seed=22";
    let faults = [
        (
            tiled,
            "implicit_gemm.cu",
            "8 * i + lane / 4 < count",
            "true",
        ),
        (
            tiled,
            "implicit_gemm.cu",
            "slice = phase * phase_slices +",
            "slice =",
        ),
        (
            tiled,
            "implicit_gemm.cu",
            "sum[2 * group + i / 2][j]",
            "sum[2 * group][j]",
        ),
        (
            tiled,
            "batch_norm.cu",
            "from.remainders[at] + offset * size",
            "from.remainders[at] + offset",
        ),
        (
            hopper,
            "implicit_gemm_hopper.cu",
            "tile.row + pixel / t.columns % t.rows < g.row.pixels &&",
            "",
        ),
        (
            hopper,
            "implicit_gemm_hopper.cu",
            "sum[1][place / 8][place % 8 * 4 + e], sum[1]",
            "sum[0][place / 8][place % 8 * 4 + e], sum[1]",
        ),
    ];
    let precision = Precision::Tf32;
    for line in [tiled, hopper] {
        let right: Arc<dyn Backend> = Arc::new(simt(1, precision));
        let found = check(&line.parse().unwrap(), &right, &arithmetic(precision), 50);
        assert!(found.unwrap().passed, "{line}");
    }
    for (line, file, right, wrong) in faults {
        let faulty: Arc<dyn Backend> = Arc::new(device(Faulty::new(file, right, wrong), precision));
        let found = check(&line.parse().unwrap(), &faulty, &arithmetic(precision), 50);
        // The executor already detects some of them.
        assert!(!found.is_ok_and(|found| found.passed), "{file}: {wrong}");
    }
}

#[test]
fn faults_in_what_is_packed_or_activated_are_noticed() {
    let precision = Precision::Bf16;
    let images: fn(LaunchBackend) -> _ = |device| normalised_images(device, ODD, false);
    let activated: fn(LaunchBackend) -> _ = |device| activated_images(device, ODD);
    let faults = [
        (
            images,
            "batch_norm.cu",
            "y[(long long)row * padded + channel]",
            "y[(long long)row * channels + channel]",
        ),
        (
            images,
            "batch_norm.cu",
            "dx[(long long)row * padded + channel] = round_operand(value)",
            "dx[(long long)row * padded + channel] = round_operand(gradient)",
        ),
        (
            activated,
            "single_channel.cu",
            "activated(activation, sum[j] + offset)",
            "sum[j] + offset",
        ),
        (
            activated,
            "single_channel.cu",
            "activated(activation, sum + (bias ? bias[0] : 0.0f))",
            "sum + (bias ? bias[0] : 0.0f)",
        ),
        (
            activated,
            "elementwise.cu",
            "? gradient : slope * gradient",
            "? gradient : gradient",
        ),
    ];
    for (run, file, right, wrong) in faults {
        let expected = run(simt(1, precision).unfused()).unwrap();
        let found = run(device(Faulty::new(file, right, wrong), precision));
        assert!(found.ok() != Some(expected), "{file}: {wrong}");
    }
}

/// Cost of a training step of the paper's model by the work model: gigabytes, launches, and least time in milliseconds.
fn step_cost(batch: usize, (precision, rate): (Precision, f64), fused: bool) -> [f64; 3] {
    let model = Arc::new(WorkModel::default());
    let device = LaunchBackend::new(Arc::clone(&model) as Arc<_>, precision).unwrap();
    let device = if fused { device } else { device.unfused() };
    let backend: Arc<dyn Backend> = Arc::new(device);
    let config = Preset::Paper.model();
    let mut trainer = trainer(&config, &backend);
    let inputs = StepInputs {
        maps: RealMaps::Values(&vec![0.0; batch * config.output_size * config.output_size]),
        latents: &vec![0.0; batch * config.z_dim],
        flip_labels: false,
    };
    trainer.step(inputs).unwrap();
    model.cost(1.0, rate)
}

#[test]
fn a_step_moves_less() {
    let subjects = [
        (64, Precision::Bf16, BF16, 0.5),
        (64, Precision::Tf32, TF32, 0.8),
        (16, Precision::Bf16, BF16, 0.55),
    ];
    for (batch, precision, rate, most) in subjects {
        let [alone, fused] = [false, true].map(|fused| {
            let [bytes, launches, least] = step_cost(batch, (precision, rate), fused);
            let word = if fused { "fused" } else { "unfused" };
            println!("a step at batch {batch} in {precision}, {word}: {bytes:.2} GB, {launches} launches, at least {least:.2} ms");
            [bytes, least]
        });
        assert!(fused[0] < most * alone[0] && fused[1] < alone[1]);
    }
}
