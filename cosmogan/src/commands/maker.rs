//! Map generation behind one interface: [`Generator`] on a CPU in f32, the network on the tape elsewhere.

use std::path::Path;
use std::sync::Arc;

use cosmogan_engine::backend::Backend;

use crate::device::DeviceArguments;
use crate::error::{Error, Result};
use crate::generator::{Generator, Options};
use crate::model::network::Network;
use crate::model::tensor_file::{CONFIG_KEY, TensorFile};
use crate::model::weights::DATA_ENTRY;
use crate::model::{ModelConfig, NetworkKind, sampler, weights};
use crate::provenance::Provenance;

/// Generator of maps from latent vectors; each map depends only on its own vector.
pub(super) trait MapMaker {
    /// The model's configuration.
    fn config(&self) -> &ModelConfig;

    /// Default number of maps computed at a time.
    fn batch(&self) -> usize;

    /// Generates the maps of `latents`, one after the other.
    fn make(&self, latents: &[f32]) -> Result<Vec<f32>>;
}

impl MapMaker for Generator {
    fn config(&self) -> &ModelConfig {
        self.config()
    }

    /// A few of the groups of maps that pass through the layers together.
    fn batch(&self) -> usize {
        16
    }

    fn make(&self, latents: &[f32]) -> Result<Vec<f32>> {
        Ok(self.generate(latents)?)
    }
}

impl MapMaker for Network {
    fn config(&self) -> &ModelConfig {
        self.config()
    }

    /// Weights are packed once per batch: with 64 maps that is an eighth of the memory traffic of the paper's model.
    fn batch(&self) -> usize {
        64
    }

    fn make(&self, latents: &[f32]) -> Result<Vec<f32>> {
        sampler::generate(self, latents)
    }
}

/// Loads weights for the device that [`DeviceArguments::launched`] returns; for the CPU in f32 if it is `None`.
///
/// # Errors
/// If the file cannot be read, or does not hold a generator of one-channel maps.
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

/// Loads the weights embedded in this program.
///
/// # Errors
/// If the device cannot be opened.
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

/// Fails: this program was built without weights.
///
/// # Errors
/// Always.
#[cfg(not(feature = "embed-weights"))]
pub(super) fn shipped(_: DeviceArguments) -> Result<Box<dyn MapMaker>> {
    Err(Error::usage(
        "--weights",
        "not given, and this program was built without weights",
        "name a file, or build the program with --features embed-weights",
    ))
}

/// Provenance of the training maps of these weights, or of those embedded in the program, if recorded.
///
/// Prints which geometry is assumed for weights of another program, whose files do not say it.
pub(super) fn training_maps(file: Option<&Path>) -> Option<Provenance> {
    match file {
        // A pipe cannot be read a second time.
        Some(path) if !path.is_file() => None,
        Some(path) => {
            let bytes = weights::read_file(path).ok()?;
            let file = TensorFile::parse(path, &bytes).ok()?;
            if file.metadata(CONFIG_KEY).is_none() {
                eprintln!(
                    "{}: read as weights of ConvTranspose2d(padding=1); for padding=2, output_padding=1, first use `cosmogan import`",
                    path.display()
                );
            }
            weights::entry_in(&file, DATA_ENTRY).ok().flatten()
        }
        None => shipped_training_maps(),
    }
}

#[cfg(feature = "embed-weights")]
fn shipped_training_maps() -> Option<Provenance> {
    use crate::generator::shipped;
    let file = TensorFile::parse(Path::new(shipped::NAME), shipped::WEIGHTS).ok()?;
    weights::entry_in(&file, DATA_ENTRY).ok().flatten()
}

#[cfg(not(feature = "embed-weights"))]
fn shipped_training_maps() -> Option<Provenance> {
    None
}

/// Options with the number of threads of the rest of the program.
fn options() -> Options {
    Options {
        threads: rayon::current_num_threads(),
        ..Options::default()
    }
}
