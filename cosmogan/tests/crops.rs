//! Training on crops and mirror images of larger maps: which they are, on every device, and in resumed runs.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its files has failed"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cosmogan::data::{Crop, MapFile, MapWriter, Survey};
use cosmogan::model::{ModelConfig, Network, NetworkKind, Preset};
use cosmogan::rng::{Normals, Purpose, stream};
use cosmogan::train::batches::Batches;
use cosmogan::train::checkpoint::{DataIdentity, RunIdentity};
use cosmogan::train::{RealMaps, StepInputs, Trainer};
use cosmogan_engine::backend::launch::LaunchBackend;
use cosmogan_engine::backend::simt::SimtLauncher;
use cosmogan_engine::backend::{Backend, Precision};
use support::{SMALL_CONFIG, refused, succeed, text, write_noise};

const ROWS: usize = 20;
const COLUMNS: usize = 24;
const SIZE: usize = 16;
/// Crops of each of three maps in an epoch.
const OF_EACH: usize = 4;

/// Epoch, map, row, column, and whether a crop is mirrored.
type Place = (u64, usize, usize, usize, bool);

/// Three maps of noise.
fn maps(folder: &Path) -> PathBuf {
    let path = folder.join("maps.npy");
    let mut writer = MapWriter::create(&path, 3, ROWS, COLUMNS, None).unwrap();
    for index in 0..3 {
        let normals = Normals::new(stream(2, Purpose::Simulation, index));
        let map: Vec<f32> = normals
            .take(ROWS * COLUMNS)
            .map(|value| 0.1 * value as f32)
            .collect();
        writer.push(&map).unwrap();
    }
    writer.finish().unwrap();
    path
}

fn identity(maps: &MapFile) -> RunIdentity {
    RunIdentity {
        model: ModelConfig {
            output_size: SIZE,
            layers: 2,
            gf_dim: 4,
            df_dim: 4,
            z_dim: 8,
            c_dim: 1,
        },
        training: cosmogan::model::preset::TrainingConfig {
            batch: 4,
            ..Preset::Tiny.training()
        },
        seed: 11,
        data: DataIdentity::of(maps, &Survey::of(maps).unwrap()).unwrap(),
        crops: Some(OF_EACH),
    }
}

#[test]
fn every_epoch_draws_as_many_crops_of_each_map_at_new_places() {
    let folder = tempfile::tempdir().unwrap();
    let maps = MapFile::open(&maps(folder.path())).unwrap();
    let whole = maps.read_maps(0..3).unwrap();
    let run = identity(&maps);
    let mut batches = Batches::new(&maps, &run).unwrap();
    assert_eq!(batches.steps_per_epoch(), 3);
    let mut all = BTreeSet::new();
    for epoch in 0..30 {
        let mut counts = [0; 3];
        for step in 3 * epoch..3 * epoch + 3 {
            let crops = batches.at(step).maps;
            let values = batches.values(&crops).unwrap();
            for (crop, values) in crops.iter().zip(values.chunks_exact(SIZE * SIZE)) {
                let Crop {
                    map,
                    row,
                    column,
                    mirrored,
                } = *crop;
                counts[map] += 1;
                all.insert((epoch, map, row, column, mirrored));
                for (at, &value) in values.iter().enumerate() {
                    let (i, j) = (at / SIZE, at % SIZE);
                    let j = if mirrored { SIZE - 1 - j } else { j };
                    let expected = whole[(map * ROWS + row + i) * COLUMNS + column + j];
                    assert_eq!(value, expected);
                }
            }
        }
        assert_eq!(counts, [OF_EACH; 3], "epoch {epoch}");
    }
    // 360 crops at 90 places: every row, column and side occurs, and epochs differ.
    let distinct = |of: &dyn Fn(&Place) -> usize| {
        all.iter().map(of).collect::<BTreeSet<_>>()
    };
    assert_eq!(distinct(&|crop| crop.2), (0..=ROWS - SIZE).collect());
    assert_eq!(distinct(&|crop| crop.3), (0..=COLUMNS - SIZE).collect());
    assert_eq!(distinct(&|crop| usize::from(crop.4)), [0, 1].into());
    let places = |epoch| {
        let of_epoch = all.iter().filter(|crop| crop.0 == epoch);
        of_epoch
            .map(|crop| (crop.1, crop.2, crop.3, crop.4))
            .collect::<Vec<_>>()
    };
    assert_ne!(places(0), places(1));
    // What a step sees does not depend on the steps before it.
    let mut later = Batches::new(&maps, &run).unwrap();
    assert_eq!(later.at(47).maps, batches.at(47).maps);
}

/// Cut on the device out of whole maps, or by the processor out of the file: the same step.
#[test]
fn crops_of_resident_maps_are_those_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let maps = MapFile::open(&maps(folder.path())).unwrap();
    let run = identity(&maps);
    let launcher = Arc::new(SimtLauncher::new(0).unwrap());
    let backend: Arc<dyn Backend> = Arc::new(LaunchBackend::new(launcher, Precision::F32).unwrap());
    let mut batches = Batches::new(&maps, &run).unwrap();
    let batch = batches.at(1);
    assert!(batch.maps.iter().any(|crop| crop.mirrored));
    let values = batches.values(&batch.maps).unwrap();
    let step = |resident: bool| {
        let network = |kind| Network::initial(kind, run.model, run.seed, &backend).unwrap();
        let [generator, discriminator] =
            [NetworkKind::Generator, NetworkKind::Discriminator].map(network);
        let mut trainer = Trainer::new(generator, discriminator, run.training.adam()).unwrap();
        assert!(!resident || trainer.keep_data(&maps).unwrap());
        let inputs = StepInputs {
            maps: match resident {
                true => RealMaps::Kept(&batch.maps),
                false => RealMaps::Values(&values),
            },
            latents: &batch.latents,
            flip_labels: false,
        };
        let report = trainer.step(inputs).unwrap().report;
        let losses = [report.d_loss_real, report.d_loss_fake, report.g_loss];
        losses
            .into_iter()
            .chain(report.real_logits)
            .map(f32::to_bits)
            .collect::<Vec<_>>()
    };
    assert_eq!(step(true), step(false));
}

#[test]
fn runs_on_crops_resume_bit_for_bit_and_refuse_other_crops() {
    let folder = tempfile::tempdir().unwrap();
    let data = maps(folder.path());
    let config = folder.path().join("small.toml");
    fs::write(&config, SMALL_CONFIG).unwrap();
    let train = |run: &Path, more: &[&str]| -> Vec<String> {
        let fixed = ["train", "--data", text(&data), "--out", text(run)];
        let all = fixed.iter().chain(more);
        all.map(|&argument| argument.to_owned()).collect()
    };
    let arguments = |owned: &[String], check: &dyn Fn(&[&str])| {
        check(&owned.iter().map(String::as_str).collect::<Vec<_>>());
    };
    let runs = |owned: &[String]| {
        arguments(owned, &|arguments| {
            succeed(arguments);
        });
    };
    let refuses = |owned: &[String], status, needles: &[&str]| {
        arguments(owned, &|arguments| refused(arguments, status, needles));
    };
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let set = ["--config", text(&config), "--device", "cpu", "--crops", "4"];
    let with = |more: &[&'static str]| [&set[..], more].concat();
    // Three steps an epoch.
    runs(&train(&whole, &with(&["--steps", "11"])));
    runs(&train(&parts, &with(&["--steps", "4"])));
    // Settings that are not repeated are those of the run.
    runs(&train(
        &parts,
        &["--resume", "--steps", "11", "--device", "cpu"],
    ));
    let bits = |run: &Path| fs::read(run.join("checkpoint.safetensors")).unwrap();
    assert!(bits(&whole) == bits(&parts));

    let other = ["--resume", "--crops", "5"];
    refuses(
        &train(&parts, &other),
        1,
        &["checkpoint", "4 crops of each map", "5 crops"],
    );
    let new = folder.path().join("new");
    let none = ["--config", text(&config)];
    refuses(
        &train(&new, &none),
        1,
        &["maps.npy", "20×24", "16×16", "--crops N"],
    );
    refuses(&train(&new, &["--crops", "0"]), 2, &["--crops"]);
    // The default model makes 256².
    let large = ["--crops", "4"];
    refuses(
        &train(&new, &large),
        1,
        &["maps.npy", "20×24", "256×256", "large enough"],
    );
    let vast = [&none[..], &["--crops", "1", "--batch", "8"]].concat();
    refuses(&train(&new, &vast), 2, &["--batch", "3 maps"]);
    assert!(!new.exists());

    // Maps of the model's size are only mirrored.
    write_noise(&data, 6, 16);
    runs(&train(&new, &with(&["--steps", "2"])));
}
