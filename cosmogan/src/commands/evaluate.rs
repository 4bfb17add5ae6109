//! `cosmogan evaluate`: generated maps against real ones, as a page and as numbers.

use std::path::{Path, PathBuf};

use clap::Args;
use rayon::prelude::*;

use crate::data::MapSet;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::model::network::{Mode, Network};
use crate::model::{NetworkKind, sampler, weights};
use crate::progress::Progress;
use crate::report::{Comparison, Sample};
use crate::stats::PowerSpectrum;

/// Compare generated maps with real ones: report.html and metrics.json
#[derive(Debug, Args)]
pub(super) struct EvaluateArguments {
    /// Real maps: .npy or FITS
    #[arg(long, value_name = "real.npy")]
    real: PathBuf,
    /// Generated maps: .npy or FITS
    #[arg(
        long,
        value_name = "fake.npy",
        required_unless_present = "weights",
        conflicts_with = "weights"
    )]
    fake: Option<PathBuf>,
    /// Generator weights; the maps are generated first, and those of the untrained generator are shown beside them
    #[arg(long, value_name = "G.safetensors")]
    weights: Option<PathBuf>,
    /// Number of maps to generate; as many as there are real ones if not given
    #[arg(long, requires = "weights", value_parser = parse_count)]
    count: Option<usize>,
    /// Seed of the generated maps
    #[arg(long, default_value_t = 0, conflicts_with = "fake")]
    seed: u64,
    /// Side of a map in degrees
    #[arg(long, value_name = "DEGREES")]
    side_degrees: f64,
    /// Folder for report.html, metrics.json, pictures and plots
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// auto, cpu, cuda or cuda:NUMBER
    #[arg(long, default_value = "auto")]
    device: Device,
    /// Maps computed at a time; no effect on the maps of the trained generator
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..))]
    batch: u64,
}

/// Maps one after the other, row by row.
struct Maps {
    values: Vec<f32>,
    height: usize,
    width: usize,
}

impl EvaluateArguments {
    pub(super) fn run(self) -> Result<()> {
        let real = read(&self.real)?;
        let (generated, untrained) = match (&self.fake, &self.weights) {
            (Some(path), _) => (read(path)?, None),
            (None, Some(path)) => {
                let (generated, untrained) = self.generate(path, real.count())?;
                (generated, Some(untrained))
            }
            (None, None) => {
                return Err(Error::usage(
                    "--fake",
                    "there are no maps to evaluate",
                    "give --fake maps.npy or --weights G.safetensors",
                ));
            }
        };
        if (real.height, real.width) != (generated.height, generated.width) {
            let flag = if self.fake.is_some() {
                "--fake"
            } else {
                "--weights"
            };
            return Err(Error::usage(
                flag,
                format!(
                    "maps of {} × {} pixels, but the real ones have {} × {}",
                    generated.height, generated.width, real.height, real.width
                ),
                "compare maps of one size; `cosmogan crop` cuts them",
            ));
        }
        if real.height != real.width {
            return Err(Error::file(
                &self.real,
                format!("maps of {} × {} pixels", real.height, real.width),
                "give square maps; `cosmogan crop` cuts them",
            ));
        }
        let spectrum = PowerSpectrum::new(
            real.width,
            self.side_degrees,
            multipole_edges(real.width, self.side_degrees),
        )?;
        let comparison = Comparison {
            title: "Generated convergence maps against real ones".to_owned(),
            height: real.height,
            width: real.width,
            side_degrees: self.side_degrees,
            multipoles: spectrum.multipoles(),
            real: real.sample("real", &spectrum),
            generated: generated.sample("generated", &spectrum),
            untrained: untrained
                .as_ref()
                .map(|maps| maps.sample("untrained", &spectrum)),
            training: None,
            provenance: self.provenance(),
        };
        let summary = comparison.write(&self.out)?;
        println!("{summary}");
        println!("{}", self.out.join("report.html").display());
        Ok(())
    }

    /// Maps of the trained generator, and of one with the same configuration and initial weights.
    fn generate(&self, path: &Path, count: usize) -> Result<(Maps, Maps)> {
        let backend = self.device.open()?;
        let trained = weights::load(path, NetworkKind::Generator, &backend)?;
        let untrained = Network::initial(
            NetworkKind::Generator,
            trained.config().clone(),
            self.seed,
            &backend,
        )?;
        let count = self.count.unwrap_or(count);
        // The running statistics of a fresh network know nothing yet: with them its maps would be all but constant.
        // Normalised by the batch, as in the first step of training, they are what the discriminator first saw.
        Ok((
            self.draw("generating", &trained, count, Mode::Inference)?,
            self.draw("untrained", &untrained, count, Mode::Training)?,
        ))
    }

    fn draw(&self, job: &str, generator: &Network, count: usize, mode: Mode) -> Result<Maps> {
        let config = generator.config();
        if config.c_dim != 1 {
            return Err(Error::usage(
                "--weights",
                format!("this generator makes {} channels", config.c_dim),
                "maps have one channel; use weights with c_dim 1",
            ));
        }
        let (size, z_dim, count) = (config.output_size, config.z_dim, count as u64);
        let mut progress = Progress::new(job, count);
        let mut values = Vec::new();
        let mut first = 0;
        while first < count {
            let last = (first + self.batch).min(count);
            let latents = sampler::latents(self.seed, first..last, z_dim);
            values.extend(sampler::run(generator, &latents, mode)?);
            progress.advance(last - first, "");
            first = last;
        }
        progress.finish("");
        Ok(Maps {
            values,
            height: size,
            width: size,
        })
    }

    fn provenance(&self) -> Vec<(String, String)> {
        let command: Vec<String> = std::env::args().collect();
        let mut pairs = vec![
            ("Command".to_owned(), command.join(" ")),
            ("Real maps".to_owned(), self.real.display().to_string()),
        ];
        if let Some(path) = &self.fake {
            pairs.push(("Generated maps".to_owned(), path.display().to_string()));
        }
        if let Some(path) = &self.weights {
            pairs.push(("Weights".to_owned(), path.display().to_string()));
            pairs.push(("Seed".to_owned(), self.seed.to_string()));
        }
        pairs
    }
}

impl Maps {
    fn count(&self) -> usize {
        self.values.len() / (self.height * self.width)
    }

    fn sample(&self, name: &str, spectrum: &PowerSpectrum) -> Sample<'_> {
        let maps: Vec<&[f32]> = self.values.chunks_exact(self.height * self.width).collect();
        Sample {
            name: name.to_owned(),
            spectra: maps.par_iter().map(|map| spectrum.measure(map)).collect(),
            maps,
        }
    }
}

fn read(path: &Path) -> Result<Maps> {
    let set = MapSet::read(path)?;
    set.require_finite()?;
    Ok(Maps {
        values: set.values().to_vec(),
        height: set.height(),
        width: set.width(),
    })
}

/// One bin per Fourier mode along an axis: ℓ from half the fundamental, 360°/side, to the Nyquist frequency.
fn multipole_edges(pixels: usize, side_degrees: f64) -> Vec<f64> {
    let fundamental = 360.0 / side_degrees;
    (0..=pixels / 2)
        .map(|mode| fundamental * (mode as f64 + 0.5))
        .collect()
}

fn parse_count(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("give a whole number of maps, 1 or more".to_owned()),
        Ok(count) => Ok(count),
    }
}
