//! The oracle's generator and discriminator compared with PyTorch in float64.
//!
//! The tests cover forward passes, the gradients of both losses, and three simultaneous Adam steps with flipped
//! labels.
#![allow(clippy::panic, reason = "an unreadable golden file fails the test")]

mod files;
mod network;

use std::collections::BTreeMap;

use cosmogan_oracle::Arithmetic;
use cosmogan_oracle::operators::adam::Adam;
use cosmogan_oracle::operators::bce;
use files::{Tensors, golden, read_maps, read_tensors};
use network::{Mode, Network};

const F32: Arithmetic = Arithmetic::f32();

/// Both sides compute in f64; sums of up to 1e4 terms differ by this much, relative to the norm of the tensor.
const LIMIT: f64 = 1e-11;
/// Limit after a division by √v̂, where the rounding error of a gradient may be as large as the gradient.
const UPDATED_LIMIT: f64 = 1e-8;

/// ‖a − b‖ / ‖b‖.
fn relative_error(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
    difference / norm(&mut b.iter().copied()).max(f64::MIN_POSITIVE)
}

/// A bias before batch normalisation, whose gradient is exactly zero.
///
/// Both sides compute rounding noise.
fn is_cancelled(name: &str, layers: usize) -> bool {
    let last = format!("deconv{layers}.bias");
    name.ends_with(".bias")
        && (name.starts_with("deconv") && name != last
            || name.starts_with("conv") && name != "conv0.bias")
}

/// m and v of every parameter of a network.
type Moments = BTreeMap<String, [Vec<f64>; 2]>;

fn adam(network: &mut Network, gradients: &Tensors, moments: &mut Moments, step: u32) {
    let settings = Adam {
        learning_rate: 2e-4,
        beta1: 0.5,
        beta2: 0.999,
        epsilon: 1e-8,
        step,
    };
    for (name, gradient) in gradients {
        if is_cancelled(name, network.layers()) {
            continue;
        }
        let zeros = || vec![0.0; gradient.len()];
        let [first, second] = moments
            .entry(name.clone())
            .or_insert_with(|| [zeros(), zeros()]);
        for (index, parameter) in network.parameter_mut(name).iter_mut().enumerate() {
            let state = [*parameter, first[index], second[index]];
            let updated = settings.update(state, gradient[index], &F32);
            *parameter = updated.parameter.value;
            first[index] = updated.first.value;
            second[index] = updated.second.value;
        }
    }
}

fn check_set(prefix: &str) {
    let forward = read_tensors(&golden(&format!("{prefix}_forward.safetensors")));
    let train = read_tensors(&golden(&format!("{prefix}_train.safetensors")));
    let mut generator = Network::load(&golden(&format!("{prefix}_generator0.safetensors")));
    let mut discriminator = Network::load(&golden(&format!("{prefix}_discriminator0.safetensors")));
    let flips = [false, true, false];
    let data = read_maps(&golden(&format!("{prefix}_data.npy")));
    let latents = read_maps(&golden(&format!("{prefix}_latents.npy")));
    let part = |values: &[f64], step: usize| -> Vec<f64> {
        let length = values.len() / flips.len();
        values[step * length..(step + 1) * length].to_vec()
    };
    let close = |name: &str, found: &[f64], reference: &Tensors, limit: f64| {
        let error = relative_error(found, &reference[name]);
        assert!(error < limit, "{prefix}: {name}: {error:e}");
    };

    for (mode, word) in [(Mode::Inference, "eval"), (Mode::Training, "train")] {
        let maps = generator.clone().forward(&part(&latents, 0), mode);
        close(&format!("generator_{word}"), maps.output(), &forward, LIMIT);
        let logits = discriminator.clone().forward(&part(&data, 0), mode);
        close(
            &format!("discriminator_{word}_logits"),
            logits.output(),
            &forward,
            LIMIT,
        );
    }

    let (mut generator_moments, mut discriminator_moments) = (Moments::new(), Moments::new());
    for (index, flipped) in flips.into_iter().enumerate() {
        let step = index + 1;
        let real = discriminator.forward(&part(&data, index), Mode::Training);
        let maps = generator.forward(&part(&latents, index), Mode::Training);
        let fake = discriminator.forward(maps.output(), Mode::Training);
        let (real_label, fake_label) = if flipped { (0.0, 1.0) } else { (1.0, 0.0) };
        let loss = |logits: &[f64], label| bce::forward(logits, label, &F32).value;
        for (name, value) in [
            ("d_loss_real", loss(real.output(), real_label)),
            ("d_loss_fake", loss(fake.output(), fake_label)),
            ("g_loss", loss(fake.output(), 1.0)),
        ] {
            // Losses after an Adam step inherit its rounding errors.
            let limit = if step == 1 { LIMIT } else { UPDATED_LIMIT };
            close(&format!("step{step}.{name}"), &[value], &train, limit);
        }
        let slope = |logits: &[f64], label| -> Vec<f64> {
            let count = logits.len();
            logits
                .iter()
                .map(|&x| bce::gradient(x, label, count, 1.0, &F32).value)
                .collect()
        };
        let (_, from_real) = discriminator.backward(&real, &slope(real.output(), real_label));
        let (_, from_fake) = discriminator.backward(&fake, &slope(fake.output(), fake_label));
        let discriminator_gradients: Tensors = from_real
            .into_iter()
            .map(|(name, mut gradient)| {
                gradient
                    .iter_mut()
                    .zip(&from_fake[&name])
                    .for_each(|(sum, value)| *sum += value);
                (name, gradient)
            })
            .collect();
        let (through, _) = discriminator.backward(&fake, &slope(fake.output(), 1.0));
        let (_, generator_gradients) = generator.backward(&maps, &through);

        let both = [
            ("generator", &generator_gradients),
            ("discriminator", &discriminator_gradients),
        ];
        for (network, gradients) in both {
            for (name, gradient) in gradients {
                let full = format!("step{step}.grad.{network}.{name}");
                if !train.contains_key(&full) {
                    continue;
                }
                if is_cancelled(name, generator.layers()) {
                    // Zero in exact arithmetic: both sides hold rounding noise, far below the gradient of the weights.
                    let weight = &gradients[&name.replace("bias", "weight")];
                    let size = weight.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
                    let largest = gradient
                        .iter()
                        .chain(&train[&full])
                        .fold(0.0_f64, |a, b| a.max(b.abs()));
                    assert!(
                        largest < LIMIT * size.max(1e-3),
                        "{prefix}: {full}: {largest:e}"
                    );
                } else {
                    close(&full, gradient, &train, LIMIT);
                }
            }
        }
        adam(
            &mut generator,
            &generator_gradients,
            &mut generator_moments,
            step as u32,
        );
        adam(
            &mut discriminator,
            &discriminator_gradients,
            &mut discriminator_moments,
            step as u32,
        );
        for (name, network) in [("generator", &generator), ("discriminator", &discriminator)] {
            for (tensor, values) in network.state() {
                let full = format!("step{step}.{name}.{tensor}");
                if train.contains_key(&full) {
                    close(&full, &values, &train, UPDATED_LIMIT);
                }
            }
        }
    }
}

#[test]
fn two_layers() {
    check_set("two");
}

#[test]
fn four_layers() {
    check_set("four");
}
