//! `cosmogan demo`: a complete run in a few minutes, from simulated maps to a report.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use cosmogan_engine::backend::Backend;

use super::evaluate::{Samples, Setting, compare};
use super::figures::{interpolations, nearest_neighbours};
use super::generate::{Latents, write_maps};
use crate::data::{MapFile, MapSet, MapWriter, Survey};
use crate::device::DeviceArguments;
use crate::error::{Error, Result};
use crate::files::{create_folder, refuse_foreign};
use crate::help::examples;
use crate::interrupt;
use crate::model::network::Network;
use crate::model::{ModelConfig, NetworkKind, Preset, weights};
use crate::progress::Progress;
use crate::report::{self, TrainingCurve, TrainingPoint};
use crate::simulate::{Cosmology, Simulation};
use crate::stats::Edges;
use crate::stats::two_sample::Bootstrap;
use crate::train::DataPrecision;
use crate::train::checkpoint::{self, DataIdentity, RunIdentity};
use crate::train::folder::RunFolder;
use crate::train::log;
use crate::train::run::{self, Length, RunOptions};
use crate::train::{Changes, Selected, Selection, SelectionOptions};

const SEED: u64 = 1;
const TRAINING_MAPS: usize = 4000;
/// Maps by which the best generator is selected; not used in the comparison.
const DEVELOPMENT_MAPS: usize = 500;
const HELD_OUT_MAPS: usize = 1000;
const STEPS: u64 = 5000;
/// Steps between scores of the generator, in the second half of the run.
/// Training is unstable from step to step, so the best of many generators is kept.
const SCORE_EVERY: u64 = 50;
/// Training stops after this time on a slow machine; the report gives the number of steps.
const TIME_LIMIT: Duration = Duration::from_secs(200);
/// Side of a map in degrees.
/// At 64 pixels the maps are coarse, but contain several structures.
const SIDE_DEGREES: f64 = 0.866;
const SOURCE_REDSHIFT: f64 = 1.0;

/// Simulate maps, train a small generator, generate and compare: a few minutes, one report
#[derive(Debug, Args)]
#[command(after_help = examples(&["cosmogan demo", "cosmogan demo --out trial"]))]
pub(super) struct DemoArguments {
    /// Output folder for the report and all intermediate files
    #[arg(long, value_name = "DIR", default_value = "cosmogan-demo")]
    out: PathBuf,
}

impl DemoArguments {
    pub(super) fn run(self) -> Result<()> {
        let started = Instant::now();
        let folder = self.out;
        refuse_foreign(&folder, is_own, "--out")?;
        create_folder(&folder)?;
        interrupt::listen();
        let backend = DeviceArguments::default().open()?;
        eprintln!("computing on {}", backend.description());

        let model = Preset::Tiny.model();
        let simulation = Simulation::new(
            &Cosmology::default(),
            SOURCE_REDSHIFT,
            model.output_size,
            SIDE_DEGREES,
            None,
        )?;
        let training = simulated(&simulation, 0..TRAINING_MAPS, &folder.join("training.npy"))?;
        let development = TRAINING_MAPS..TRAINING_MAPS + DEVELOPMENT_MAPS;
        let held_out = development.end..development.end + HELD_OUT_MAPS;
        let development = simulated(&simulation, development, &folder.join("development.npy"))?;
        let held_out = simulated(&simulation, held_out, &folder.join("held-out.npy"))?;
        let held_out = MapSet::read(held_out.path())?;

        let run = RunFolder::new(folder.join("run"));
        let trained = trained(&run, model, [&training, &development], &backend)?;
        let untrained = Network::initial(NetworkKind::Generator, model, SEED, &backend)?;
        let from_trained = generated(&trained.generator, &folder.join("generated.npy"))?;
        let from_untrained = generated(&untrained, &folder.join("untrained.npy"))?;

        let samples = Samples {
            real: &held_out,
            generated: &from_trained,
            auxiliary: None,
            untrained: Some(&from_untrained),
        };
        samples.require_comparable(SIDE_DEGREES)?;
        let summary = compare(
            samples,
            Setting {
                title: "CosmoGAN demonstration",
                side_degrees: SIDE_DEGREES,
                edges: Edges::default(),
                bootstrap: Bootstrap {
                    resamples: 1000,
                    seed: SEED,
                },
                training: Some(curve(&run, trained.selected_step)),
                figures: vec![
                    nearest_neighbours(&from_trained, &training)?,
                    interpolations(&trained.generator, SEED)?,
                ],
                origins: BTreeMap::new(),
                provenance: provenance(&trained, started),
            },
            &folder,
        )?;
        println!("{summary}");
        println!("\nReport: {}", folder.join("report.html").display());
        Ok(())
    }
}

/// Whether a file of this name belongs to an earlier demonstration.
fn is_own(name: &str) -> bool {
    const MAPS: [&str; 5] = [
        "training.npy",
        "development.npy",
        "held-out.npy",
        "generated.npy",
        "untrained.npy",
    ];
    name == "run" || MAPS.contains(&name) || report::is_own_file(name)
}

/// Simulates maps of a range of indices and writes them to `path`.
fn simulated(simulation: &Simulation, range: Range<usize>, path: &Path) -> Result<MapFile> {
    /// Maps between two progress updates.
    const CHUNK: usize = 200;
    let size = Preset::Tiny.model().output_size;
    let mut writer = MapWriter::create(path, range.len(), size, size, Some(SIDE_DEGREES))?;
    let mut progress = Progress::new("simulating", range.len() as u64);
    let mut first = range.start;
    while first < range.end {
        stop_if_interrupted()?;
        let last = (first + CHUNK).min(range.end);
        for map in simulation.maps(SEED, first as u64..last as u64) {
            writer.push(&map)?;
        }
        progress.advance((last - first) as u64, "");
        first = last;
    }
    writer.finish()?;
    progress.finish("");
    Ok(MapFile::open(path)?)
}

/// Result of the training.
struct Trained {
    /// Generator with the best score, or the last one if none was scored in time.
    generator: Network,
    /// Step at which it was scored.
    selected_step: Option<u64>,
    steps: u64,
}

fn trained(
    run: &RunFolder,
    model: ModelConfig,
    [maps, development]: [&MapFile; 2],
    backend: &Arc<dyn Backend>,
) -> Result<Trained> {
    let survey = Survey::of(maps)?;
    let identity = RunIdentity {
        model,
        training: Preset::Tiny.training(),
        seed: SEED,
        data: DataIdentity::of(maps, &survey)?,
        crops: None,
        data_precision: DataPrecision::F32,
    };
    // A demonstration always starts from the beginning. Only files of an earlier demonstration are removed.
    let checkpoint = run.checkpoint();
    if checkpoint.exists() && checkpoint::record(&checkpoint)?.identity != identity {
        return Err(Error::file(
            run.path(),
            "contains another run",
            "choose an empty folder for --out",
        ));
    }
    let steps_per_epoch = (maps.count() / Preset::Tiny.training().batch) as u64;
    let selection = SelectionOptions {
        epochs: STEPS / 2 / steps_per_epoch,
        every: SCORE_EVERY,
        maps: development.count(),
    };
    let best = run.best();
    let selection = Selection::new(selection, development, model.output_size, SEED, &best)?;
    let options = RunOptions {
        folder: run.path().to_owned(),
        identity,
        mean: survey.mean,
        length: Length::Steps(STEPS),
        log_every: 10,
        preview_every: 250,
        may_record: true,
        overwrite: true,
        accepted: Changes::default(),
        time_limit: Some(TIME_LIMIT),
    };
    let trainer = run::train(&options, maps, Some(selection), backend)?;
    let (weights, selected_step) = match best.exists() {
        true => (&best, Some(Selected::read(&best)?.step)),
        false => (&run.generator(), None),
    };
    Ok(Trained {
        generator: weights::load(weights, NetworkKind::Generator, backend)?,
        selected_step,
        steps: trainer.steps_done(),
    })
}

fn generated(generator: &Network, path: &Path) -> Result<MapSet> {
    let latents = Latents::Seeded {
        seed: SEED,
        count: HELD_OUT_MAPS as u64,
    };
    write_maps(generator, &latents, 50, path, Some(SIDE_DEGREES))?;
    Ok(MapSet::read(path)?)
}

fn curve(run: &RunFolder, selected_step: Option<u64>) -> TrainingCurve {
    let points = log::read(&run.log())
        .iter()
        .map(|line| TrainingPoint {
            step: line.step,
            discriminator_loss: line.d_loss_real + line.d_loss_fake,
            generator_loss: line.g_loss,
        })
        .collect();
    TrainingCurve {
        points,
        selected_step,
    }
}

fn provenance(trained: &Trained, started: Instant) -> Vec<(String, String)> {
    let config = trained.generator.config();
    let pair = |what: &str, which: String| (what.to_owned(), which);
    vec![
        pair("Command", "cosmogan demo".to_owned()),
        pair("Seed", SEED.to_string()),
        pair(
            "Real maps",
            format!(
                "shifted-lognormal fields with the convergence power spectrum of the default cosmology, sources at redshift {SOURCE_REDSHIFT}: {TRAINING_MAPS} for training, {DEVELOPMENT_MAPS} to select the best generator and {HELD_OUT_MAPS} to compare it with"
            ),
        ),
        pair("Model", config.to_json()),
        pair(
            "Training",
            format!(
                "{} steps of {} maps, learning rate {}",
                trained.steps,
                Preset::Tiny.training().batch,
                Preset::Tiny.training().learning_rate
            ),
        ),
        pair("Device", trained.generator.backend().description()),
        pair(
            "Total time",
            format!("{:.0} s", started.elapsed().as_secs_f64()),
        ),
    ]
}

fn stop_if_interrupted() -> Result<()> {
    if interrupt::requested() {
        return Err(Error::interrupted(
            "a demonstration starts from the beginning".to_owned(),
        ));
    }
    Ok(())
}
