//! A complete training step of the paper's model.

use std::sync::Arc;
use std::time::Instant;

use cosmogan::model::{Network, NetworkKind, Preset};
use cosmogan::train::{RealMaps, StepInputs, Trainer};
use cosmogan_engine::backend::Backend;
use cosmogan_engine::backend::cpu::CpuBackend;

/// The paper's model in training, with one batch for all steps.
#[derive(Debug)]
pub struct Step {
    trainer: Trainer,
    maps: Vec<f32>,
    latents: Vec<f32>,
}

impl Step {
    /// Prepares steps with `batch` maps.
    pub fn new(batch: usize) -> Self {
        let backend: Arc<dyn Backend> = Arc::new(CpuBackend::new());
        let model = Preset::Paper.model();
        let network =
            |kind| Network::initial(kind, model, 0, &backend).expect("the preset fits in memory");
        let noise = |length: usize| (0..length).map(|i| (i as f32 * 0.37).sin() * 0.1).collect();
        Self {
            trainer: Trainer::new(
                network(NetworkKind::Generator),
                network(NetworkKind::Discriminator),
                Preset::Paper.training().adam(),
            )
            .expect("the preset fits in memory"),
            maps: noise(batch * model.output_size * model.output_size),
            latents: noise(batch * model.z_dim),
        }
    }

    /// Takes one step; returns seconds.
    pub fn run(&mut self) -> f64 {
        let started = Instant::now();
        self.trainer
            .step(StepInputs {
                maps: RealMaps::Values(&self.maps),
                latents: &self.latents,
                flip_labels: false,
            })
            .expect("the inputs fit the model");
        started.elapsed().as_secs_f64()
    }
}
