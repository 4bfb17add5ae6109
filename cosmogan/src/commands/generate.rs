//! `cosmogan generate`: generates maps from trained weights.

use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Args;

use super::maker::{self, MapMaker};
use super::output::{confirm_overwrite, number_of_maps, print_written};
use crate::data::{MapSet, MapWriter};
use crate::device::DeviceArguments;
use crate::error::{Error, Result};
use crate::help::{ADVANCED, examples};
use crate::model::latents::latents;
use crate::progress::Progress;
use crate::provenance::{MapRecord, Method};

/// Generate convergence maps from trained weights
#[derive(Debug, Args)]
#[command(after_help = examples(&["cosmogan generate --count 16 --out maps.npy", "cosmogan generate --weights run/average.safetensors --count 1000 --seed 7 --out maps.fits"]))]
pub(super) struct GenerateArguments {
    /// Generator weights in PyTorch's layout [default: those in the program]
    #[arg(long, value_name = "G.safetensors")]
    weights: Option<PathBuf>,
    /// Number of maps
    #[arg(long, required_unless_present = "latents", conflicts_with = "latents")]
    count: Option<u64>,
    /// Seed of the latents; map i of a seed does not depend on --count
    #[arg(long, default_value_t = 0, conflicts_with = "latents")]
    seed: u64,
    /// Latent vectors to use instead of random ones: .npy, (N, z_dim)
    #[arg(long, value_name = "z.npy")]
    latents: Option<PathBuf>,
    /// Output file, .npy or .fits
    #[arg(long, value_name = "MAPS")]
    out: PathBuf,
    #[command(flatten)]
    device: DeviceArguments,
    /// Side of a map in degrees, for the FITS header [default: that of the training maps, if known]
    #[arg(long, value_name = "DEGREES")]
    side_degrees: Option<f64>,
    /// Overwrite --out without asking
    #[arg(long)]
    force: bool,
    /// Maps computed at a time, with the same result [default: 16 on a CPU in f32, else 64]
    #[arg(long, value_name = "N", help_heading = ADVANCED)]
    batch: Option<usize>,
}

impl GenerateArguments {
    pub(super) fn run(self) -> Result<()> {
        if self.count == Some(0) {
            return Err(Error::usage("--count", "0 maps", "give 1 or more"));
        }
        if self.batch == Some(0) {
            return Err(Error::usage("--batch", "0 maps", "give 1 or more"));
        }
        confirm_overwrite(&self.out, self.force)?;
        let generator = match &self.weights {
            Some(path) => maker::load(path, self.device.launched()?)?,
            None => maker::shipped(self.device)?,
        };
        let latents = self.latents_source(&*generator)?;
        let trained_on = maker::training_maps(self.weights.as_deref());
        let size = generator.config().output_size;
        let record = MapRecord {
            method: trained_on.as_ref().map(|_| Method::Nbody),
            side_degrees: self.side_degrees.or_else(|| {
                let maps = trained_on.as_ref()?;
                // Training may have cropped larger maps.
                Some(maps.side_degrees * size as f64 / maps.pixels as f64)
            }),
        };
        write_maps(
            &*generator,
            &latents,
            self.batch.unwrap_or(generator.batch()),
            &self.out,
            record.side_degrees,
        )?;
        if record != MapRecord::default() {
            record.write(&self.out)?;
        }
        let side = match record.side_degrees {
            Some(side) => format!("{side:.4}° a side"),
            None => "side unknown (--side-degrees)".to_owned(),
        };
        let source = match &self.latents {
            Some(path) => format!("latents {}", path.display()),
            None => format!("seed {}", self.seed),
        };
        print_written(
            &self.out,
            format_args!(
                "{} of {size}×{size}, float32, {side}, {source}",
                number_of_maps(latents.count())
            ),
        );
        Ok(())
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
                    "latents of shape ({}, {}, {}) do not match the generator",
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

/// Source of latent vectors.
pub(super) enum Latents {
    /// Drawn from a seed.
    Seeded {
        /// The seed.
        seed: u64,
        /// Number of vectors.
        count: u64,
    },
    /// Read from a file.
    Given {
        /// Number of vectors.
        count: u64,
        /// The vectors, one after the other.
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

/// Generates and writes maps batch by batch, so that memory does not limit their number.
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
    generate(generator, latents, batch, |map| Ok(writer.push(map)?))?;
    Ok(writer.finish()?)
}

/// Generates maps batch by batch and passes each map to `take`.
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
