//! `cosmogan evaluate`: generated maps against real ones, as a page and as numbers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::figures::{interpolations, nearest_neighbours};
use super::generate::{Latents, generate};
use super::maker::{self, MapMaker};
use super::origins::Origins;
use crate::data::MapSet;
use crate::device::DeviceArguments;
use crate::error::{Error, Result};
use crate::files::refuse_foreign;
use crate::provenance::Provenance;
use crate::report::{self, Comparison, MapFigure, Sample, Summary, TrainingCurve};
use crate::stats::Edges;
use crate::stats::two_sample::Bootstrap;

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
    /// Real maps of independent simulations: shows how far apart equals are [default: two halves of the real maps]
    #[arg(long, value_name = "auxiliary.npy")]
    auxiliary: Option<PathBuf>,
    /// The maps that the generator was trained on: the report shows those nearest to generated ones
    #[arg(long, value_name = "MAPS")]
    training: Option<PathBuf>,
    /// Resamples of the bootstrapped tests; p-values come in steps of one in so many
    #[arg(long, value_name = "B", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    resamples: u32,
    /// Seed of the maps that are generated and of the resamples
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// JSON file with l_edges or nu_edges, lists of bin edges
    #[arg(long, value_name = "EDGES.json")]
    edges: Option<PathBuf>,
    /// Side of a map in degrees [default: what the real maps' FITS header or dataset.json says]
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
        refuse_foreign(&self.out, report::is_own_file, "--out")?;
        let edges = match &self.edges {
            Some(path) => Edges::read(path)?,
            None => Edges::default(),
        };
        let real = MapSet::read(&self.real)?;
        let auxiliary = self.auxiliary.as_deref().map(MapSet::read).transpose()?;
        let generator = self.generator()?;
        let origins = Origins::read(
            &real,
            auxiliary.as_ref(),
            self.training.as_deref(),
            self.weights.as_deref(),
        )?;
        origins.require_apart(&self.real)?;
        let generated = match (&self.fake, &generator) {
            (Some(path), _) => MapSet::read(path)?,
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
        if let Some(path) = &self.training {
            figures.push(nearest_neighbours(&generated, path)?);
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
        println!("\nThe report: {}", self.out.join("report.html").display());
        Ok(())
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
    /// Real maps of independent simulations.
    pub(super) auxiliary: Option<&'a MapSet>,
    /// Maps of the generator before training.
    pub(super) untrained: Option<&'a MapSet>,
}

impl Samples<'_> {
    /// # Errors
    /// Where maps are not square, not of one size or angle, constant or not finite.
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
                        "holds maps of {}×{} pixels where {size}×{size} are expected",
                        maps.height(),
                        maps.width()
                    ),
                    "compare square maps of one size; `cosmogan crop` cuts them",
                ));
            }
            if let Some(side) = maps.side_degrees()
                && (side / side_degrees - 1.0).abs() > 1e-3
            {
                return Err(Error::file(
                    maps.path(),
                    format!("holds maps with a side of {side}° where {side_degrees}° is expected"),
                    "compare maps of one angle; --side-degrees must be that of the files",
                ));
            }
            maps.require_varied()?;
        }
        Ok(())
    }
}

/// How it is to be compared, and what else the report is to say.
pub(super) struct Setting<'a> {
    pub(super) title: &'a str,
    /// Side of a map.
    pub(super) side_degrees: f64,
    pub(super) edges: Edges,
    pub(super) bootstrap: Bootstrap,
    /// The course of the training.
    pub(super) training: Option<TrainingCurve>,
    /// More maps to show.
    pub(super) figures: Vec<MapFigure>,
    /// What is known of the boxes behind the maps.
    pub(super) origins: BTreeMap<String, Provenance>,
    pub(super) provenance: Vec<(String, String)>,
}

/// Measures, draws and writes the report of a comparison of samples that [can be compared](Samples::require_comparable).
///
/// # Errors
/// Where there are too few maps, or the folder cannot be written.
pub(super) fn compare(
    samples: Samples<'_>,
    setting: Setting<'_>,
    folder: &Path,
) -> Result<Summary> {
    let size = samples.real.width();
    Comparison {
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
    }
    .write(folder)
}

fn sample<'a>(name: &str, maps: &'a MapSet) -> Sample<'a> {
    Sample {
        name: name.to_owned(),
        maps: maps.iter().collect(),
    }
}
