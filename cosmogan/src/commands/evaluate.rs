//! `cosmogan evaluate`: generated maps against real ones, as a page and as numbers.

use std::path::{Path, PathBuf};

use clap::Args;

use super::generate::{Latents, generate};
use crate::data::MapSet;
use crate::device::DeviceArguments;
use crate::error::{Error, Result};
use crate::model::{NetworkKind, weights};
use crate::report::{Comparison, Sample, Summary, TrainingCurve};
use crate::stats::PowerSpectrum;

/// Compare generated maps with real ones: report.html and metrics.json
#[derive(Debug, Args)]
pub(super) struct EvaluateArguments {
    /// Real maps: .npy or FITS
    #[arg(long, value_name = "real.npy")]
    real: PathBuf,
    /// Generated maps: .npy or FITS
    #[arg(long, value_name = "fake.npy", required_unless_present = "weights")]
    fake: Option<PathBuf>,
    /// Generator weights; as many maps are generated as there are real ones
    #[arg(long, value_name = "G.safetensors", conflicts_with = "fake")]
    weights: Option<PathBuf>,
    /// Seed of the maps that are generated
    #[arg(long, default_value_t = 0, conflicts_with = "fake")]
    seed: u64,
    /// Side of a map in degrees [default: what the real maps' FITS header says]
    #[arg(long, value_name = "DEGREES", allow_negative_numbers = true)]
    side_degrees: Option<f64>,
    /// Folder for report.html, metrics.json, pictures and plots
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    device: DeviceArguments,
}

impl EvaluateArguments {
    pub(super) fn run(self) -> Result<()> {
        let real = MapSet::read(&self.real)?;
        let generated = match (&self.fake, &self.weights) {
            (Some(path), _) => MapSet::read(path)?,
            (None, Some(path)) => self.generated(path, real.count())?,
            (None, None) => {
                return Err(Error::usage(
                    "--fake",
                    "there are no maps to evaluate",
                    "give --fake maps.npy or --weights G.safetensors",
                ));
            }
        };
        let samples = Samples {
            real: &real,
            generated: &generated,
            untrained: None,
            training: None,
        };
        let side = side_degrees(self.side_degrees, &real)?;
        let title = "Generated convergence maps against real ones";
        let summary = compare(samples, title, side, self.provenance(), &self.out)?;
        println!("{summary}");
        println!("\nThe report: {}", self.out.join("report.html").display());
        Ok(())
    }

    fn generated(&self, path: &Path, count: usize) -> Result<MapSet> {
        let backend = self.device.open()?;
        let generator = weights::load(path, NetworkKind::Generator, &backend)?;
        let latents = Latents::Seeded {
            seed: self.seed,
            count: count as u64,
        };
        let mut values = Vec::new();
        generate(&generator, &latents, 16, |map| {
            values.extend_from_slice(map);
            Ok(())
        })?;
        let size = generator.config().output_size;
        Ok(MapSet::from_values(path, values, [size, size]))
    }

    fn provenance(&self) -> Vec<(String, String)> {
        let shown = |path: &PathBuf| path.display().to_string();
        let mut pairs = vec![("Real maps".to_owned(), shown(&self.real))];
        if let Some(path) = &self.fake {
            pairs.push(("Generated maps".to_owned(), shown(path)));
        }
        if let Some(path) = &self.weights {
            pairs.push(("Weights".to_owned(), shown(path)));
            pairs.push(("Seed".to_owned(), self.seed.to_string()));
        }
        pairs
    }
}

/// The side that the user gave, or else the one in the file.
pub(super) fn side_degrees(flag: Option<f64>, maps: &MapSet) -> Result<f64> {
    let refused = |problem| {
        Error::usage(
            "--side-degrees",
            problem,
            "give the side of a map in degrees, e.g. 0.866",
        )
    };
    match flag.or(maps.side_degrees()) {
        Some(side) if side.is_finite() && side > 0.0 => Ok(side),
        Some(side) => Err(refused(format!("{side} is no angle"))),
        None => Err(refused(format!(
            "{} does not say how large its maps are",
            maps.path().display()
        ))),
    }
}

/// What is to be compared.
pub(super) struct Samples<'a> {
    /// The yardstick.
    pub(super) real: &'a MapSet,
    /// What is measured by it.
    pub(super) generated: &'a MapSet,
    /// Maps of the generator before training.
    pub(super) untrained: Option<&'a MapSet>,
    /// The course of the training.
    pub(super) training: Option<TrainingCurve>,
}

/// Measures, draws and writes the report of a comparison.
///
/// # Errors
/// Where the maps are not square, not of one size, or not finite, or the folder cannot be written.
pub(super) fn compare(
    samples: Samples<'_>,
    title: &str,
    side_degrees: f64,
    provenance: Vec<(String, String)>,
    folder: &Path,
) -> Result<Summary> {
    let size = samples.real.width();
    for maps in [
        Some(samples.real),
        Some(samples.generated),
        samples.untrained,
    ]
    .into_iter()
    .flatten()
    {
        if maps.height() != size || maps.width() != size {
            return Err(Error::file(
                maps.path(),
                format!(
                    "holds maps of {}×{} pixels where {size}×{size} are expected",
                    maps.height(),
                    maps.width()
                ),
                "compare square maps of one size; `cosmogan crop` cuts them",
            ));
        }
        maps.require_finite()?;
    }
    let edges = PowerSpectrum::default_edges(size, side_degrees);
    let power = PowerSpectrum::new(size, side_degrees, edges)?;
    Comparison {
        title: title.to_owned(),
        height: size,
        width: size,
        side_degrees,
        multipoles: power.multipoles(),
        real: sample("real", samples.real, &power),
        generated: sample("generated", samples.generated, &power),
        untrained: samples
            .untrained
            .map(|maps| sample("untrained", maps, &power)),
        training: samples.training,
        provenance,
    }
    .write(folder)
}

fn sample<'a>(name: &str, maps: &'a MapSet, power: &PowerSpectrum) -> Sample<'a> {
    let maps: Vec<&[f32]> = maps.iter().collect();
    Sample {
        name: name.to_owned(),
        spectra: power.measure_all(&maps),
        maps,
    }
}
