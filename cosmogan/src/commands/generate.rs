//! `cosmogan generate`: a trained generator in, maps out.

use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Args;

use super::maker::{self, MapMaker};
use crate::data::{MapSet, MapWriter};
use crate::device::DeviceArguments;
use crate::error::{Error, Result};
use crate::model::latents::latents;
use crate::progress::Progress;

/// Generate convergence maps from trained weights
#[derive(Debug, Args)]
pub(super) struct GenerateArguments {
    /// Generator weights: safetensors in PyTorch's layout [default: those inside the program]
    #[arg(long, value_name = "G.safetensors")]
    weights: Option<PathBuf>,
    /// Number of maps
    #[arg(long, required_unless_present = "latents", conflicts_with = "latents")]
    count: Option<u64>,
    /// Seed of the latents; map i of a seed is the same map whatever --count and --batch
    #[arg(long, default_value_t = 0, conflicts_with = "latents")]
    seed: u64,
    /// Latent vectors instead of random ones: .npy, (N, z_dim)
    #[arg(long, value_name = "z.npy")]
    latents: Option<PathBuf>,
    /// Where to write: maps.npy, or maps.fits
    #[arg(long, value_name = "MAPS")]
    out: PathBuf,
    #[command(flatten)]
    device: DeviceArguments,
    /// Maps computed at a time; no effect on the result [default: 16 on a processor in f32, 64 otherwise]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Side of a map in degrees, for the FITS header
    #[arg(long, value_name = "DEGREES")]
    side_degrees: Option<f64>,
}

impl GenerateArguments {
    pub(super) fn run(self) -> Result<()> {
        if self.count == Some(0) {
            return Err(Error::usage("--count", "0 maps", "give 1 or more"));
        }
        if self.batch == Some(0) {
            return Err(Error::usage("--batch", "0 maps", "give 1 or more"));
        }
        let generator = match &self.weights {
            Some(path) => maker::load(path, self.device.launched()?)?,
            None => maker::shipped(self.device)?,
        };
        let latents = self.latents_source(&*generator)?;
        write_maps(
            &*generator,
            &latents,
            self.batch.unwrap_or(generator.batch()),
            &self.out,
            self.side_degrees,
        )
    }

    fn latents_source(&self, generator: &dyn MapMaker) -> Result<Latents> {
        let Some(path) = &self.latents else {
            return Ok(Latents::Seeded {
                seed: self.seed,
                count: self.count.unwrap_or(1),
            });
        };
        let matrix = MapSet::read(path)?;
        matrix.require_finite()?;
        let z_dim = generator.config().z_dim;
        if matrix.count() != 1 || matrix.width() != z_dim {
            return Err(Error::file(
                path,
                format!(
                    "latents of shape ({}, {}, {}) do not fit the generator",
                    matrix.count(),
                    matrix.height(),
                    matrix.width()
                ),
                format!("give an array of shape (N, {z_dim})"),
            ));
        }
        Ok(Latents::Given {
            count: matrix.height() as u64,
            values: matrix.values().to_vec(),
        })
    }
}

/// Where latent vectors come from.
pub(super) enum Latents {
    /// A seed.
    Seeded {
        /// The seed.
        seed: u64,
        /// How many.
        count: u64,
    },
    /// A file.
    Given {
        /// How many.
        count: u64,
        /// One after the other.
        values: Vec<f32>,
    },
}

impl Latents {
    fn count(&self) -> u64 {
        match self {
            Self::Seeded { count, .. } | Self::Given { count, .. } => *count,
        }
    }

    fn range(&self, range: Range<u64>, z_dim: usize) -> Vec<f32> {
        match self {
            Self::Seeded { seed, .. } => latents(*seed, range, z_dim),
            Self::Given { values, .. } => {
                values[range.start as usize * z_dim..range.end as usize * z_dim].to_vec()
            }
        }
    }
}

/// Generates batch by batch and writes as it goes, so that any number of maps fits in memory.
pub(super) fn write_maps(
    generator: &dyn MapMaker,
    latents: &Latents,
    batch: usize,
    out: &Path,
    side_degrees: Option<f64>,
) -> Result<()> {
    let size = generator.config().output_size;
    let count = latents.count() as usize;
    let mut writer = MapWriter::create(out, count, size, size, side_degrees)?;
    generate(generator, latents, batch, |map| writer.push(map))?;
    writer.finish()
}

/// Generates batch by batch and hands on map by map.
pub(super) fn generate(
    generator: &dyn MapMaker,
    latents: &Latents,
    batch: usize,
    mut take: impl FnMut(&[f32]) -> Result<()>,
) -> Result<()> {
    let config = generator.config();
    let count = latents.count();
    let mut progress = Progress::new("generating", count);
    let mut first = 0;
    while first < count {
        let last = (first + batch as u64).min(count);
        let maps = generator.make(&latents.range(first..last, config.z_dim))?;
        maps.chunks_exact(config.output_size * config.output_size)
            .try_for_each(&mut take)?;
        progress.advance(last - first, "");
        first = last;
    }
    progress.finish("");
    Ok(())
}
