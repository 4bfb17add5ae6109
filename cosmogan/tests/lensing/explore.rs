//! `cosmogan explore`: planted maps are found, and invalid input gives one clear line.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its data has failed"
)]

use std::fs;
use std::path::Path;

use cosmogan::data::{MapSet, MapWriter};
use serde_json::Value;

use crate::support::{refused, small_networks, small_run, succeed, text, write_noise, write_npy};

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Writes `maps` with `planted` in place of the fourth map.
fn plant(into: &Path, maps: &MapSet, planted: &[f32]) {
    let mut writer = MapWriter::create(into, maps.count(), 16, 16, None).unwrap();
    for (index, map) in maps.iter().enumerate() {
        writer.push(if index == 3 { planted } else { map }).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn a_copied_training_map_is_found_and_a_shifted_one_in_its_spectrum() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = small_run(folder.path(), 12);
    let [generator, _] = small_networks(folder.path(), &config, &data);
    let generated = folder.path().join("generated.npy");
    let weights = ["--weights", text(&generator)];
    let generate = [
        &["generate", "--count", "2", "--seed", "4"][..],
        &weights,
        &["--out", text(&generated)],
    ];
    succeed(&generate.concat());
    let generated = MapSet::read(&generated).unwrap();
    let copied = generated.iter().nth(1).unwrap().to_vec();
    let mut shifted = copied.clone();
    shifted.rotate_left(5 * 16);

    let noise = MapSet::read(&data).unwrap();
    let training = folder.path().join("training.npy");
    let out = folder.path().join("explore");
    let explore = [
        &["explore", "nearest", "--training", text(&training)][..],
        &["--count", "2", "--seed", "4", "--out", text(&out)],
        &weights,
    ]
    .concat();
    let nearest = |metric: &str| -> (u64, f64, f64) {
        let entries = json(&out.join("nearest.json"));
        let entry = entries
            .as_array()
            .unwrap()
            .iter()
            .find(|entry| entry["metric"] == metric && entry["generated"] == 1);
        let entry = entry.unwrap();
        assert!(out.join(format!("nearest_{metric}.png")).exists());
        let distance = |which: &str| entry[which]["distance"].as_f64().unwrap();
        let index = entry["nearest"]["index"].as_u64().unwrap();
        (index, distance("nearest"), distance("nearest_of_nearest"))
    };

    plant(&training, &noise, &copied);
    succeed(&explore);
    for metric in ["pixels", "spectrum"] {
        let (index, distance, yardstick) = nearest(metric);
        assert_eq!((index, distance), (3, 0.0), "{metric}");
        assert!(yardstick > 0.0, "a map is not its own neighbour");
    }
    plant(&training, &noise, &shifted);
    succeed(&explore);
    let (index, distance, yardstick) = nearest("spectrum");
    assert_eq!(index, 3);
    assert!(distance < 1e-3 * yardstick, "{distance} of {yardstick}");
    assert!(nearest("pixels").1 > 0.0);
}

#[test]
fn paths_meet_the_maps_of_their_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = small_run(folder.path(), 8);
    let [generator, _] = small_networks(folder.path(), &config, &data);
    let out = folder.path().join("paths");
    let interpolate = ["explore", "interpolate", "--weights", text(&generator)];
    let settings = [
        "--rows", "2", "--steps", "4", "--frames", "3", "--seed", "9",
    ];
    succeed(&[&interpolate[..], &settings, &["--out", text(&out)]].concat());

    let maps = folder.path().join("ends.npy");
    let ends = [
        "generate",
        "--weights",
        text(&generator),
        "--count",
        "4",
        "--seed",
        "9",
    ];
    succeed(&[&ends[..], &["--out", text(&maps)]].concat());
    let maps = MapSet::read(&maps).unwrap();
    let maps: Vec<&[f32]> = maps.iter().collect();
    let rows = json(&out.join("interpolations.json"));
    for (row, entry) in rows.as_array().unwrap().iter().enumerate() {
        let pairs = maps[2 * row].iter().zip(maps[2 * row + 1]);
        let squares = pairs.map(|(a, b)| f64::from(a - b).powi(2));
        let expected = squares.sum::<f64>().sqrt();
        let found = entry["ends"].as_f64().unwrap();
        assert!((found / expected - 1.0).abs() < 1e-4, "{found} {expected}");
        assert_eq!(entry["steps"].as_array().unwrap().len(), 3);
    }
    // Forwards and backwards: twice three frames for each of two rows.
    let animation = fs::File::open(out.join("animation.png")).unwrap();
    let reader = png::Decoder::new(std::io::BufReader::new(animation))
        .read_info()
        .unwrap();
    assert_eq!(reader.info().animation_control.unwrap().num_frames, 12);
}

#[test]
fn pairs_are_counted_in_every_metric() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = small_run(folder.path(), 8);
    let [generator, discriminator] = small_networks(folder.path(), &config, &data);
    let base = [
        &[
            "explore",
            "birthday",
            "--weights",
            text(&generator),
            "--count",
            "40",
        ][..],
        &["--discriminator", text(&discriminator)],
    ]
    .concat();
    let run = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        succeed(&[&base[..], more, &["--out", text(&out)]].concat());
        let names = fs::read_dir(&out).unwrap().count();
        assert_eq!(
            names, 4,
            "three pictures, one file of numbers, no features left behind"
        );
        json(&out.join("birthday.json"))
    };
    let whole = run("whole", &[]);
    let blocked = run("blocked", &["--memory", "1"]);
    assert_eq!(whole.as_array().unwrap().len(), 3);
    for (whole, blocked) in whole
        .as_array()
        .unwrap()
        .iter()
        .zip(blocked.as_array().unwrap())
    {
        assert_eq!(whole["distinct"]["pairs"], 780);
        assert_eq!(whole["nearest"], blocked["nearest"]);
        let [nearest, median] = [&whole["nearest"][0]["distance"], &whole["median_distance"]]
            .map(|number| number.as_f64().unwrap());
        assert!(0.0 < nearest && nearest < median);
    }
}

#[test]
fn bad_input() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = small_run(folder.path(), 8);
    let [generator, discriminator] = small_networks(folder.path(), &config, &data);
    let out = folder.path().join("out");
    let explore = |what: &str, more: &[&str], status, needles: &[&str]| {
        let base = ["explore", what, "--out", text(&out)];
        refused(&[&base[..], more].concat(), status, needles);
    };
    let weights = ["--weights", text(&generator)];
    let with = |more: &[&'static str]| [&weights[..], more].concat();

    explore("birthday", &with(&["--count", "1"]), 2, &["--count"]);
    explore("birthday", &with(&["--count", "32769"]), 2, &["--count"]);
    explore(
        "birthday",
        &with(&["--duplicate", "1.5"]),
        2,
        &["--duplicate"],
    );
    explore("interpolate", &with(&["--steps", "1"]), 2, &["--steps"]);
    let wrong = ["--weights", text(&discriminator)];
    explore("interpolate", &wrong, 1, &["discriminator.safetensors"]);
    explore("nearest", &["--training", text(&data)], 2, &["--weights"]);

    let other = folder.path().join("other.npy");
    write_noise(&other, 4, 32);
    let training = ["--training", text(&other)];
    explore(
        "nearest",
        &[&weights[..], &training].concat(),
        1,
        &["other.npy", "32×32"],
    );
    let fakes = ["--fake", text(&other), "--training", text(&data)];
    explore("nearest", &fakes, 1, &["maps.npy", "32×32"]);
    let mut values = vec![0.5; 2 * 256];
    values[300] = f32::NAN;
    write_npy(&other, "(2, 16, 16)", &values);
    explore(
        "nearest",
        &[&weights[..], &training].concat(),
        1,
        &["other.npy"],
    );
    write_npy(&other, "(1, 16, 16)", &vec![0.5; 256]);
    explore(
        "nearest",
        &[&weights[..], &training].concat(),
        1,
        &["other.npy", "two maps"],
    );

    let larger = folder.path().join("larger.toml");
    let larger_data = folder.path().join("larger.npy");
    fs::write(&larger, crate::support::SMALL_CONFIG.replace("16", "32")).unwrap();
    write_noise(&larger_data, 8, 32);
    let [_, critic] = small_networks(&folder.path().join("larger"), &larger, &larger_data);
    let mixed = [&weights[..], &["--discriminator", text(&critic)]].concat();
    explore(
        "birthday",
        &mixed,
        1,
        &["discriminator.safetensors", "32×32"],
    );

    let nowhere = [
        "explore",
        "birthday",
        "--weights",
        text(&generator),
        "--out",
        "/dev/null/x",
    ];
    refused(&nowhere, 1, &["/dev/null"]);
}
