//! Times training steps of given networks on given inputs. Run by `benches/peers/training.py`.
//!
//! `training init FOLDER` writes the paper's networks with initial weights. Then
//! `training steps GENERATOR.safetensors DISCRIMINATOR.safetensors MAPS.npy LATENTS.npy RATE`
//! answers each line `{"rounds": N}` with seconds and losses of N steps, all on the same maps and latents, with the
//! learning rate RATE.
#![allow(clippy::unwrap_used, reason = "a bench that cannot prepare has failed")]

use std::io::stdin;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use cosmogan::data::MapSet;
use cosmogan::model::{Network, NetworkKind, Preset, weights};
use cosmogan::train::{RealMaps, StepInputs, Trainer};
use cosmogan_benches::memory::peak_bytes;
use cosmogan_engine::adam::AdamSettings;
use cosmogan_engine::backend::Backend;
use cosmogan_engine::backend::cpu::CpuBackend;
use serde_json::{Value, json};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let backend: Arc<dyn Backend> = Arc::new(CpuBackend::new());
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["init", folder] => initial_weights(Path::new(folder), &backend),
        ["steps", generator, discriminator, maps, latents, rate] => {
            let adam = AdamSettings {
                learning_rate: rate.parse().unwrap(),
                ..Preset::Paper.training().adam()
            };
            let trainer = Trainer::new(
                weights::load(Path::new(generator), NetworkKind::Generator, &backend).unwrap(),
                weights::load(
                    Path::new(discriminator),
                    NetworkKind::Discriminator,
                    &backend,
                )
                .unwrap(),
                adam,
            );
            let maps = MapSet::read(Path::new(maps)).unwrap();
            let latents = MapSet::read(Path::new(latents)).unwrap();
            answer(trainer.unwrap(), maps.values(), latents.values());
        }
        _ => {
            eprintln!("usage: see benches/src/bin/training.rs");
            std::process::exit(2);
        }
    }
}

fn initial_weights(folder: &Path, backend: &Arc<dyn Backend>) {
    for kind in [NetworkKind::Generator, NetworkKind::Discriminator] {
        let network = Network::initial(kind, Preset::Paper.model(), 0, backend).unwrap();
        let name = format!("{}.safetensors", kind.name());
        weights::save(&network, &folder.join(name)).unwrap();
    }
}

fn answer(mut trainer: Trainer, maps: &[f32], latents: &[f32]) {
    println!("{}", json!({"version": env!("CARGO_PKG_VERSION")}));
    for line in stdin().lines() {
        let request: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let rounds = request["rounds"].as_u64().unwrap();
        let steps = (0..rounds).map(|_| {
            let started = Instant::now();
            let report = trainer
                .step(StepInputs {
                    maps: RealMaps::Values(maps),
                    latents,
                    flip_labels: false,
                })
                .unwrap()
                .report;
            let seconds = started.elapsed().as_secs_f64();
            let losses = [report.d_loss_real, report.d_loss_fake, report.g_loss];
            (seconds, losses)
        });
        let (seconds, losses): (Vec<_>, Vec<_>) = steps.unzip();
        println!(
            "{}",
            json!({"seconds": seconds, "losses": losses, "peak_bytes": peak_bytes()})
        );
    }
}
