//! Ten training steps on simulated maps, without files.
//!
//! ```
//! cargo run --release -p cosmogan --example train
//! ```

use std::sync::Arc;

use cosmogan::model::latents::latents;
use cosmogan::model::{Network, NetworkKind, Preset, sampler};
use cosmogan::simulate::{Cosmology, Simulation};
use cosmogan::train::{RealMaps, StepInputs, Trainer};
use cosmogan_engine::backend::Backend;
use cosmogan_engine::backend::cpu::CpuBackend;

const BATCH: usize = 8;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let backend: Arc<dyn Backend> = Arc::new(CpuBackend::new());
    let (model, training) = (Preset::Tiny.model(), Preset::Tiny.training());
    let network = |kind| Network::initial(kind, model, 1, &backend);
    let mut trainer = Trainer::new(
        network(NetworkKind::Generator)?,
        network(NetworkKind::Discriminator)?,
        training.adam(),
    )?;
    let simulation = Simulation::new(&Cosmology::default(), 1.0, model.output_size, 0.2165, None)?;
    for step in 0..10 {
        let first = step * BATCH as u64;
        let maps = simulation.maps(1, first..first + BATCH as u64).concat();
        let vectors = latents(1, first..first + BATCH as u64, model.z_dim);
        let outcome = trainer.step(StepInputs {
            maps: RealMaps::Values(&maps),
            latents: &vectors,
            flip_labels: false,
        })?;
        let report = outcome.report;
        println!(
            "step {step}: D loss {:.3}, G loss {:.3}",
            report.d_loss_real + report.d_loss_fake,
            report.g_loss
        );
    }
    let map = sampler::generate(trainer.generator(), &latents(2, 0..1, model.z_dim))?;
    println!("one map of {} pixels", map.len());
    Ok(())
}
