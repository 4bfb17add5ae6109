//! Training on random crops and mirror images of larger maps.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its files has failed"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::support::{SMALL_CONFIG, refused, succeed, text, write_noise};
use cosmogan::data::{Crop, MapFile, MapWriter, Survey};
use cosmogan::model::{ModelConfig, Network, NetworkKind, Preset};
use cosmogan::rng::{Normals, Purpose, stream};
use cosmogan::train::DataPrecision;
use cosmogan::train::batches::Batches;
use cosmogan::train::checkpoint::{DataIdentity, RunIdentity};
use cosmogan::train::{RealMaps, StepInputs, Trainer};
use cosmogan_engine::Shape;
use cosmogan_engine::backend::cpu::CpuBackend;
use cosmogan_engine::backend::launch::LaunchBackend;
use cosmogan_engine::backend::simt::SimtLauncher;
use cosmogan_engine::backend::{Backend, Op, Precision};
use cosmogan_oracle::Bounded;
use cosmogan_oracle::operators::gather::{Gather, stored_in_half};
use half::f16;

const ROWS: usize = 20;
const COLUMNS: usize = 24;
const SIZE: usize = 16;
/// Crops per map and epoch; there are three maps.
const OF_EACH: usize = 4;

/// Epoch, map, row, column, and whether the crop is mirrored.
type Place = (u64, usize, usize, usize, bool);

/// Writes three maps of noise.
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
        data_precision: DataPrecision::F32,
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
    // 360 crops over 90 possible places: every row, column and orientation occurs, and epochs differ.
    let distinct = |of: &dyn Fn(&Place) -> usize| all.iter().map(of).collect::<BTreeSet<_>>();
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
    // The crops of a step do not depend on earlier steps.
    let mut later = Batches::new(&maps, &run).unwrap();
    assert_eq!(later.at(47).maps, batches.at(47).maps);
}

fn simt() -> Arc<dyn Backend> {
    let launcher = Arc::new(SimtLauncher::new(0).unwrap());
    Arc::new(LaunchBackend::new(launcher, Precision::F32).unwrap())
}

/// Crops gathered on the device give the same step as crops read from the file.
#[test]
fn crops_of_resident_maps_are_those_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let maps = MapFile::open(&maps(folder.path())).unwrap();
    for precision in [DataPrecision::F32, DataPrecision::F16] {
        check_resident(&maps, precision);
    }
}

fn check_resident(maps: &MapFile, precision: DataPrecision) {
    let run = RunIdentity {
        data_precision: precision,
        ..identity(maps)
    };
    let backend = simt();
    let mut batches = Batches::new(maps, &run).unwrap();
    let batch = batches.at(1);
    assert!(batch.maps.iter().any(|crop| crop.mirrored));
    let values = batches.values(&batch.maps).unwrap();
    let step = |resident: bool| {
        let network = |kind| Network::initial(kind, run.model, run.seed, &backend).unwrap();
        let [generator, discriminator] =
            [NetworkKind::Generator, NetworkKind::Discriminator].map(network);
        let mut trainer = Trainer::new(generator, discriminator, run.training.adam()).unwrap();
        assert!(!resident || trainer.keep_data(maps, precision).unwrap());
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

/// Maps are rounded once, within the oracle's bound, equally on every device.
#[test]
fn half_precision_is_one_rounding() {
    const EXTENTS: [usize; 4] = [31, 32, 64, 1];
    let length: usize = EXTENTS.iter().product();
    // Every finite half-precision number, which is as many as there are values; and numbers of all magnitudes in
    // between.
    let halves: Vec<f32> = (0..=u16::MAX)
        .map(|bits| f16::from_bits(bits).to_f32())
        .filter(|value| value.is_finite())
        .collect();
    assert_eq!(halves.len(), length);
    let between: Vec<f32> = Normals::new(stream(4, Purpose::Simulation, 0))
        .take(length)
        .enumerate()
        .map(|(index, value)| value as f32 * 2_f32.powi(index as i32 % 42 - 28))
        .collect();
    let pairs = |values: &[f32]| -> Vec<f32> {
        let bits = |value: f32| u32::from(f16::from_f32(value).to_bits());
        let pairs = values.as_chunks::<2>().0.iter();
        pairs
            .map(|[first, second]| f32::from_bits(bits(*first) | bits(*second) << 16))
            .collect()
    };
    let lines = (0..31_u8).map(|map| [map, 1, 3, map % 2]);
    let table: Vec<f32> = lines.flatten().map(f32::from).collect();
    let processor: Arc<dyn Backend> = Arc::new(CpuBackend::new());
    for backend in [processor, simt()] {
        let gathered = |values: &[f32], table: &[f32], [rows, columns]: [usize; 2]| {
            let stored = pairs(values);
            let mut maps = backend.empty(Shape::from([stored.len()])).unwrap();
            // The maps are written in two parts; the first does not end with a map.
            let (first, second) = stored.split_at(12_345);
            backend.write_part(&mut maps, 0, first).unwrap();
            backend.write_part(&mut maps, first.len(), second).unwrap();
            assert!(backend.write_part(&mut maps, 1, &stored).is_err());
            let taken = table.len() / 4;
            let table = backend.upload(Shape::from([taken, 4]), table).unwrap();
            let mut crops = backend
                .empty(Shape::from([taken, rows, columns, 1]))
                .unwrap();
            backend
                .run(Op::GatherHalf {
                    pairs: &maps,
                    extents: EXTENTS,
                    table: &table,
                    crops: &mut crops,
                })
                .unwrap();
            backend.download(&crops).unwrap()
        };
        let whole: Vec<f32> = (0..31)
            .flat_map(|map| [map as f32, 0.0, 0.0, 0.0])
            .collect();
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert!(bits(&gathered(&halves, &whole, [32, 64])) == bits(&halves));

        let size = [20, 50];
        let found = gathered(&between, &table, size);
        let shape = Gather {
            maps: 31,
            size: [32, 64],
            channels: 1,
            crops: 31,
            crop: size,
        };
        let lines: Vec<f64> = table.iter().map(|&value| value.into()).collect();
        let length = shape.crop_dims().iter().product();
        let mut exact: Vec<f32> = (0..length)
            .map(|element| between[shape.source(&lines, element)])
            .collect();
        assert_eq!(found.len(), exact.len());
        let share = |(found, exact): (&f32, &f32)| {
            let Bounded { value, error } = stored_in_half((*exact).into());
            (f64::from(*found) - value).abs() / error
        };
        let worst = found.iter().zip(&exact).map(share).fold(0.0, f64::max);
        assert!((0.99..=1.0).contains(&worst), "{worst} of the bound");
        // The CPU path that reads the file rounds equally.
        DataPrecision::F16.round(&mut exact);
        assert!(bits(&found) == bits(&exact));
    }
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
    // There are three steps per epoch.
    runs(&train(&whole, &with(&["--steps", "11"])));
    runs(&train(&parts, &with(&["--steps", "4"])));
    // A resumed run keeps the settings that are not repeated.
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
    // The default model generates maps of 256².
    let large = ["--crops", "4"];
    refuses(
        &train(&new, &large),
        1,
        &["maps.npy", "20×24", "256×256", "large enough"],
    );
    let vast = [&none[..], &["--crops", "1", "--batch", "8"]].concat();
    refuses(&train(&new, &vast), 2, &["--batch", "the 3 in --data"]);
    assert!(!new.exists());

    let half = ["--resume", "--data-precision", "f16"];
    refuses(
        &train(&parts, &half),
        1,
        &["checkpoint", "maps in F32", "F16"],
    );

    // Maps of the model's size are only mirrored.
    write_noise(&data, 6, 16);
    runs(&train(&new, &with(&["--steps", "2"])));

    // Half precision makes a separate run, which remembers it. All maps are in its range.
    let rounded = folder.path().join("rounded");
    let half = ["--steps", "2", "--data-precision", "f16"];
    runs(&train(&rounded, &with(&half)));
    assert!(bits(&rounded) != bits(&new));
    runs(&train(
        &rounded,
        &["--resume", "--steps", "3", "--device", "cpu"],
    ));
}
