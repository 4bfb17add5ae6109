//! `cosmogan evaluate`: comparison of generated maps with real ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use clap::Args;

use super::figures::{interpolations, nearest_neighbours};
use super::generate::{Latents, generate};
use super::maker::{self, MapMaker};
use super::maps::{MapFlags, side_degrees};
use super::origins::Origins;
use crate::data::MapSet;
use crate::device::DeviceArguments;
use crate::error::{Error, Result};
use crate::files::refuse_foreign;
use crate::help::{ADVANCED, examples};
use crate::progress::Progress;
use crate::provenance::Provenance;
use crate::report::{self, Comparison, MapFigure, Sample, Stage, Summary, TrainingCurve};
use crate::stats::Edges;
use crate::stats::two_sample::Bootstrap;

/// Compare generated maps with real ones: report.html and metrics.json
#[derive(Debug, Args)]
#[command(after_help = examples(&["cosmogan evaluate --real held-out.npy --fake maps.npy --side-degrees 0.866 --out report", "cosmogan evaluate --real data/validation.npy --weights run/best.safetensors --out report"]))]
pub(super) struct EvaluateArguments {
    /// Real maps: .npy or FITS
    #[arg(long, value_name = "real.npy")]
    real: PathBuf,
    /// Generated maps: .npy or FITS
    #[arg(long, value_name = "fake.npy", required_unless_present = "weights")]
    fake: Option<PathBuf>,
    /// Generator weights; generates as many maps as there are real ones
    #[arg(long, value_name = "G.safetensors", conflicts_with = "fake")]
    weights: Option<PathBuf>,
    /// Independent real maps, as a baseline [default: halves of the real maps]
    #[arg(long, value_name = "auxiliary.npy")]
    auxiliary: Option<PathBuf>,
    /// Training maps of the generator: the report shows the nearest ones
    #[arg(long, value_name = "MAPS")]
    training: Option<PathBuf>,
    /// Bootstrap resamples B; p-values are multiples of 1/(B + 1)
    #[arg(long, value_name = "B", default_value_t = 1000, help_heading = ADVANCED, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    resamples: u32,
    /// Random seed of the generated maps and of the resamples
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// JSON file with l_edges or nu_edges (lists of bin edges)
    #[arg(long, value_name = "EDGES.json", help_heading = ADVANCED)]
    edges: Option<PathBuf>,
    /// Side of a map in degrees [default: as recorded with the real maps]
    #[arg(long, value_name = "DEGREES")]
    side_degrees: Option<f64>,
    /// Output folder for report.html, metrics.json, images and plots
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    files: MapFlags,
    #[command(flatten)]
    device: DeviceArguments,
}

impl EvaluateArguments {
    pub(super) fn run(self) -> Result<()> {
        refuse_foreign(&self.out, report::is_own_file, "--out")?;
        let edges = match &self.edges {
            Some(path) => Edges::read(path)?,
            None => Edges::default(),
        };
        let real = self.read(&self.real)?;
        let read = |path| self.read(path);
        let auxiliary = self.auxiliary.as_deref().map(read).transpose()?;
        let training = self.training.as_deref();
        let training = training.map(|path| self.files.open(path)).transpose()?;
        let generator = self.generator()?;
        let origins = Origins::read(
            &real,
            auxiliary.as_ref(),
            training.as_ref(),
            self.weights.as_deref(),
            self.fake.as_deref(),
        )?;
        origins.require_apart(&self.real)?;
        let generated = match (&self.fake, &generator) {
            (Some(path), _) => self.read(path)?,
            (None, Some((path, generator))) => self.generated(path, &**generator, real.count())?,
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
            auxiliary: auxiliary.as_ref(),
            untrained: None,
        };
        let side_degrees = side_degrees(self.side_degrees.or(origins.side_degrees()), &real)?;
        origins.require_side(side_degrees)?;
        samples.require_comparable(side_degrees)?;
        let mut figures = Vec::new();
        if let Some(training) = &training {
            figures.push(nearest_neighbours(&generated, training)?);
        }
        if let Some((_, generator)) = &generator {
            figures.push(interpolations(&**generator, self.seed)?);
        }
        let setting = Setting {
            title: "Generated convergence maps against real ones",
            side_degrees,
            edges,
            bootstrap: Bootstrap {
                resamples: self.resamples,
                seed: self.seed,
            },
            training: None,
            figures,
            origins: origins.named(),
            provenance: self.provenance(),
        };
        let summary = compare(samples, setting, &self.out)?;
        println!("{summary}");
        println!("\nReport: {}", self.out.join("report.html").display());
        Ok(())
    }

    /// Reads a file of maps; shows the progress.
    fn read(&self, path: &Path) -> Result<MapSet> {
        let count = self.files.open(path)?.count() as u64;
        let mut progress = Progress::new("reading", count);
        let maps = self.files.read(path)?;
        progress.advance(count, "");
        progress.finish(path.display());
        Ok(maps)
    }

    fn generator(&self) -> Result<Option<(&Path, Box<dyn MapMaker>)>> {
        let Some(path) = &self.weights else {
            return Ok(None);
        };
        let generator = maker::load(path, self.device.launched()?)?;
        Ok(Some((path, generator)))
    }

    fn generated(&self, path: &Path, generator: &dyn MapMaker, count: usize) -> Result<MapSet> {
        let latents = Latents::Seeded {
            seed: self.seed,
            count: count as u64,
        };
        let mut values = Vec::new();
        generate(generator, &latents, 16, |map| {
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
        if let Some(path) = &self.auxiliary {
            pairs.push(("Auxiliary maps".to_owned(), shown(path)));
        }
        if let Some(path) = &self.training {
            pairs.push(("Training maps".to_owned(), shown(path)));
        }
        if let Some(path) = &self.weights {
            pairs.push(("Weights".to_owned(), shown(path)));
            pairs.push(("Seed".to_owned(), self.seed.to_string()));
        }
        pairs
    }
}

/// Samples of a comparison.
pub(super) struct Samples<'a> {
    /// Real maps, the reference.
    pub(super) real: &'a MapSet,
    /// Generated maps, to be compared with the reference.
    pub(super) generated: &'a MapSet,
    /// Real maps of independent simulations.
    pub(super) auxiliary: Option<&'a MapSet>,
    /// Maps of the generator before training.
    pub(super) untrained: Option<&'a MapSet>,
}

impl Samples<'_> {
    /// Checks that all maps can be compared with the real ones.
    ///
    /// # Errors
    /// If maps are not square, not of one size or angle, constant or not finite.
    pub(super) fn require_comparable(&self, side_degrees: f64) -> Result<()> {
        let size = self.real.width();
        let all = [
            Some(self.real),
            Some(self.generated),
            self.auxiliary,
            self.untrained,
        ];
        for maps in all.into_iter().flatten() {
            if maps.height() != size || maps.width() != size {
                return Err(Error::file(
                    maps.path(),
                    format!(
                        "contains maps of {}×{} pixels, but {size}×{size} are expected",
                        maps.height(),
                        maps.width()
                    ),
                    "compare square maps of one size; `cosmogan crop` cuts them",
                ));
            }
            // Where the file's statement cannot be used, the side of the real maps holds.
            if let Ok(Some(side)) = maps.side_degrees()
                && (side / side_degrees - 1.0).abs() > 1e-3
            {
                return Err(Error::file(
                    maps.path(),
                    format!(
                        "contains maps with a side of {side}°, but {side_degrees}° is expected"
                    ),
                    "compare maps of one side; --side-degrees must agree with the files",
                ));
            }
            maps.require_varied()?;
        }
        Ok(())
    }
}

/// Settings of a comparison and additional content of the report.
pub(super) struct Setting<'a> {
    pub(super) title: &'a str,
    /// Side of a map in degrees.
    pub(super) side_degrees: f64,
    pub(super) edges: Edges,
    pub(super) bootstrap: Bootstrap,
    /// Losses of the training run.
    pub(super) training: Option<TrainingCurve>,
    /// Additional figures of maps.
    pub(super) figures: Vec<MapFigure>,
    /// Provenance of the maps, by role.
    pub(super) origins: BTreeMap<String, Provenance>,
    pub(super) provenance: Vec<(String, String)>,
}

/// Measures the samples and writes the report; shows the progress.
///
/// The samples must be [comparable](Samples::require_comparable).
///
/// # Errors
/// If there are too few maps, or the folder cannot be written.
pub(super) fn compare(
    samples: Samples<'_>,
    setting: Setting<'_>,
    folder: &Path,
) -> Result<Summary> {
    let size = samples.real.width();
    let comparison = Comparison {
        title: setting.title.to_owned(),
        pixels: size,
        side_degrees: setting.side_degrees,
        edges: setting.edges,
        bootstrap: setting.bootstrap,
        real: sample("real", samples.real),
        generated: sample("generated", samples.generated),
        auxiliary: samples.auxiliary.map(|maps| sample("auxiliary", maps)),
        untrained: samples.untrained.map(|maps| sample("untrained", maps)),
        training: setting.training,
        figures: setting.figures,
        origins: setting.origins,
        provenance: setting.provenance,
    };
    let shown: Mutex<Option<(Stage, Progress)>> = Mutex::new(None);
    let summary = comparison.write_with(folder, &|work| {
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, finished)) = shown.take_if(|(stage, _)| *stage != work.stage) {
            finished.finish("");
        }
        let start = || {
            let job = match work.stage {
                Stage::Measuring => "measuring",
                Stage::Resampling => "resampling",
                Stage::Drawing => "drawing",
            };
            (work.stage, Progress::new(job, work.total))
        };
        shown.get_or_insert_with(start).1.advance(work.units, "");
    })?;
    if let Some((_, finished)) = shown.into_inner().unwrap_or_else(PoisonError::into_inner) {
        finished.finish("");
    }
    Ok(summary)
}

fn sample<'a>(name: &str, maps: &'a MapSet) -> Sample<'a> {
    Sample {
        name: name.to_owned(),
        maps: maps.iter().collect(),
    }
}
