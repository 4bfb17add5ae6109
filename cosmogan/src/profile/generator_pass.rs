//! Profiling of [`Generator`], with which `cosmogan generate` makes maps on a CPU in f32.

use std::sync::Arc;

use cosmogan_engine::backend::Backend;
use cosmogan_engine::inference::Method;
use cosmogan_engine::profile::{Extents, Kind, Operator, Profiled};
use cosmogan_engine::{ConvGeometry, ConvMethod};

use super::record::Verified;
use super::workload::Workload;
use crate::error::{Error, Result};
use crate::files::cannot_write;
use crate::generator::{Generator, Options};
use crate::model::config::KERNEL;
use crate::model::latents::latents;
use crate::model::network::{SAME, STRIDES};
use crate::model::{ModelConfig, Network, NetworkKind, sampler, weights};

/// Largest difference between its maps and those of the network on the tape, in standard deviations of the maps.
const LIMIT: f64 = 1e-4;

/// A [`Generator`] with initial weights, and latent vectors for it.
#[derive(Debug)]
pub struct GeneratorPass {
    generator: Generator,
    vectors: Vec<f32>,
    /// Operator and algorithm of each layer, for one image.
    layers: Vec<(Operator, ConvMethod)>,
    /// The network on the tape, with the same weights.
    network: Network,
}

impl GeneratorPass {
    /// Prepares a model of one-channel maps and `batch` latent vectors.
    ///
    /// # Errors
    /// If memory is exhausted or a temporary file cannot be written.
    pub fn new(model: ModelConfig, batch: usize, backend: &Arc<dyn Backend>) -> Result<Self> {
        let network = Network::initial(NetworkKind::Generator, model, 0, backend)?;
        let folder =
            tempfile::tempdir().map_err(|error| cannot_write(&std::env::temp_dir(), &error))?;
        let path = folder.path().join("generator.safetensors");
        weights::save(&network, &path)?;
        let options = Options {
            threads: rayon::current_num_threads(),
            ..Options::default()
        };
        let generator = Generator::load_with(&path, options)?;
        Ok(Self {
            layers: layers(&model, &generator)?,
            generator,
            vectors: latents(0, 0..batch as u64, model.z_dim),
            network,
        })
    }

    /// Compares its maps with those of the network on the tape, whose `operators` were compared with the oracle.
    ///
    /// # Errors
    /// If they differ by more than rounding explains.
    pub fn check(&self, operators: Verified) -> Result<Verified> {
        let maps = self.generator.generate(&self.vectors)?;
        let expected = sampler::generate(&self.network, &self.vectors)?;
        let mean =
            expected.iter().map(|&value| f64::from(value)).sum::<f64>() / expected.len() as f64;
        let squares = expected
            .iter()
            .map(|&value| (f64::from(value) - mean).powi(2));
        let deviation = (squares.sum::<f64>() / expected.len() as f64).sqrt();
        let difference = maps
            .iter()
            .zip(&expected)
            .map(|(map, expected)| f64::from((map - expected).abs()))
            .fold(0.0, f64::max);
        let error = difference / (LIMIT * deviation);
        // False for NaN.
        if error <= 1.0 {
            return Ok(Verified {
                cases: operators.cases + 1,
                worst: operators.worst.max(error),
            });
        }
        Err(Error::check_failed(format!(
            "maps of the generator differ from those of the network on the tape by {difference:e}, at a standard deviation of {deviation:e}; report this as a bug"
        )))
    }

    /// A workload that runs the generator; `device` records its layers.
    pub fn workload(self: &Arc<Self>, device: &Arc<Profiled>) -> Workload {
        let (alone, device) = (Arc::clone(self), Arc::clone(device));
        let watch = device.watch(alone.layers.clone());
        let mut maps = vec![
            0.0;
            alone.vectors.len() / alone.generator.latent_width()
                * alone.generator.size().pow(2)
        ];
        Workload::new(move || {
            let threads = rayon::current_num_threads();
            let stack = alone.generator.stack();
            stack.run_watched(&alone.vectors, &mut maps, threads, &watch);
            Ok(())
        })
    }
}

/// The operator of each layer for one image. Batch normalisation is folded into the weights, and activation functions
/// are applied before results are stored.
fn layers(model: &ModelConfig, generator: &Generator) -> Result<Vec<(Operator, ConvMethod)>> {
    let coarse = model.coarse_size();
    let linear = Extents::Linear {
        rows: 1,
        inputs: model.z_dim,
        outputs: model.generator_channels(0) * coarse * coarse,
    };
    let mut layers = vec![(
        Operator {
            kind: Kind::Linear,
            extents: linear,
        },
        ConvMethod::Direct,
    )];
    // The last layer, to one channel, is always direct.
    let methods = generator.stack().methods();
    for layer in 1..=model.layers {
        let geometry = ConvGeometry::from_output(
            1,
            [coarse << (layer - 1); 2],
            [
                model.generator_channels(layer),
                model.generator_channels(layer - 1),
            ],
            [KERNEL; 2],
            STRIDES,
            SAME,
        )?;
        // The transposed convolution exactly doubles rows and columns.
        let geometry = ConvGeometry {
            input: [coarse << layer; 2],
            ..geometry
        };
        let method = match methods.get(layer - 1) {
            Some(Method::Winograd) => ConvMethod::Winograd,
            _ => ConvMethod::Direct,
        };
        layers.push((
            Operator {
                kind: Kind::Dgrad,
                extents: Extents::Convolution(geometry),
            },
            method,
        ));
    }
    Ok(layers)
}
