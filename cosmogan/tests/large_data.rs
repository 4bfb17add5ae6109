//! Peak memory of training on many maps.
//!
//! In a separate file, since the peak is that of the whole process.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its files has failed"
)]

#[path = "support/peak.rs"]
mod peak;

use cosmogan::data::{MapFile, MapWriter, Survey};
use cosmogan::model::preset::TrainingConfig;
use cosmogan::model::{ModelConfig, Preset};
use cosmogan::rng::{Normals, Purpose, stream};
use cosmogan::train::DataPrecision;
use cosmogan::train::batches::Batches;
use cosmogan::train::checkpoint::{DataIdentity, RunIdentity};
use peak::peak;

const SIDE: usize = 128;
const MAPS: usize = 2500;

#[test]
fn maps_are_checked_shuffled_and_read_without_being_held() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("maps.npy");
    let normals = Normals::new(stream(1, Purpose::Simulation, 0));
    let mut map: Vec<f32> = normals.take(SIDE * SIDE).map(|x| 0.01 * x as f32).collect();
    let mut writer = MapWriter::create(&path, MAPS, SIDE, SIDE, None).unwrap();
    for index in 0..MAPS {
        map[0] = 0.1 * index as f32;
        writer.push(&map).unwrap();
    }
    writer.finish().unwrap();
    let before = peak();

    let maps = MapFile::open(&path).unwrap();
    let survey = Survey::of(&maps).unwrap();
    assert_eq!(survey.beyond_one, MAPS - 11);
    let run = RunIdentity {
        model: ModelConfig {
            output_size: SIDE,
            ..Preset::Tiny.model()
        },
        training: TrainingConfig {
            batch: 50,
            ..Preset::Tiny.training()
        },
        seed: 7,
        data: DataIdentity::of(&maps, &survey).unwrap(),
        crops: None,
        data_precision: DataPrecision::F32,
    };
    let mut batches = Batches::new(&maps, &run).unwrap();
    let mut seen = vec![false; MAPS];
    for step in 0..batches.steps_per_epoch() {
        let batch = batches.at(step);
        let values = batches.values(&batch.maps).unwrap();
        for map in values.chunks_exact(SIDE * SIDE) {
            assert!(!std::mem::replace(
                &mut seen[(10.0 * map[0]).round() as usize],
                true
            ));
        }
    }
    assert!(seen.iter().all(|&seen| seen));
    let grown = peak() - before;
    println!("{grown} MiB beyond {before}");
    // The file has 156 MiB; a batch takes 3 MiB as bytes and 3 MiB as numbers.
    assert!(grown < 32, "{grown} MiB");
}
