//! Trained weights that make maps: on a processor in f32 the generator alone, elsewhere the network on the tape.

use std::path::Path;
use std::sync::Arc;

use cosmogan_engine::backend::Backend;

use crate::device::DeviceArguments;
use crate::error::{Error, Result};
use crate::generator::{Generator, Options};
use crate::model::network::Network;
use crate::model::{ModelConfig, NetworkKind, sampler, weights};

/// Makes maps of latent vectors, each of its own vector alone.
pub(super) trait MapMaker {
    /// What the generator is made of.
    fn config(&self) -> &ModelConfig;

    /// How many are made at a time where nobody says.
    fn batch(&self) -> usize;

    /// Maps, one after the other.
    fn make(&self, latents: &[f32]) -> Result<Vec<f32>>;
}

impl MapMaker for Generator {
    fn config(&self) -> &ModelConfig {
        self.config()
    }

    /// A few groups of maps that go through the layers together.
    fn batch(&self) -> usize {
        16
    }

    fn make(&self, latents: &[f32]) -> Result<Vec<f32>> {
        self.generate(latents)
    }
}

impl MapMaker for Network {
    fn config(&self) -> &ModelConfig {
        self.config()
    }

    /// Weights are packed once for each batch: with so many maps that is an eighth of what the paper's model moves.
    fn batch(&self) -> usize {
        64
    }

    fn make(&self, latents: &[f32]) -> Result<Vec<f32>> {
        sampler::generate(self, latents)
    }
}

/// Loads weights for a device on which [networks run on the tape](DeviceArguments::launched), or for the processor where there is
/// none.
///
/// # Errors
/// Where the file cannot be read, or is not that of a generator of maps.
pub(super) fn load(path: &Path, launched: Option<Arc<dyn Backend>>) -> Result<Box<dyn MapMaker>> {
    let Some(backend) = launched else {
        return Ok(Box::new(Generator::load_with(path, options())?));
    };
    let network = weights::load(path, NetworkKind::Generator, &backend)?;
    match network.config().c_dim {
        1 => Ok(Box::new(network)),
        channels => Err(Error::file(
            path,
            format!("this generator makes {channels} channels"),
            "maps have one channel; use weights with c_dim 1",
        )),
    }
}

/// The weights that this program was built with.
///
/// # Errors
/// Where the device cannot be opened.
#[cfg(feature = "embed-weights")]
pub(super) fn shipped(device: DeviceArguments) -> Result<Box<dyn MapMaker>> {
    use crate::generator::shipped;
    let Some(backend) = device.launched()? else {
        return Ok(Box::new(Generator::shipped_with(options())?));
    };
    let (name, kind) = (Path::new(shipped::NAME), NetworkKind::Generator);
    let network = weights::from_bytes(name, shipped::WEIGHTS, kind, &backend)?;
    Ok(Box::new(network))
}

/// No weights: this program was built without.
///
/// # Errors
/// Always.
#[cfg(not(feature = "embed-weights"))]
pub(super) fn shipped(_: DeviceArguments) -> Result<Box<dyn MapMaker>> {
    Err(Error::usage(
        "--weights",
        "there are none, and none inside this program",
        "name a file, or build the program with --features embed-weights",
    ))
}

/// As many threads as the rest of the program works on.
fn options() -> Options {
    Options {
        threads: rayon::current_num_threads(),
        ..Options::default()
    }
}
