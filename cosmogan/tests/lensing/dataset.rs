//! Data sets from several boxes: their contents, and rejection of unsuitable boxes.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its files has failed"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{cosmogan, refused, succeed, text};
use cosmogan::data::MapSet;
use cosmogan::provenance::Provenance;
use cosmogan::simulate::Cosmology;
use cosmogan::simulate::nbody::{BoxSettings, NBodyBox};

fn settings(seed: u64) -> BoxSettings {
    BoxSettings {
        seed,
        particles: 16,
        mesh: 32,
        steps: 3,
        ..BoxSettings::default()
    }
}

fn simulated(folder: &Path, name: &str, settings: BoxSettings) -> PathBuf {
    let path = folder.join(name);
    let mut simulated = NBodyBox::open(&path, &settings).unwrap();
    simulated.simulate(|_| Ok(())).unwrap();
    path
}

fn dataset<'a>(training: &[&'a Path], out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let sizes = ["--pixels", "64", "--size", "16", "--per-map", "5"];
    let mut arguments = vec!["dataset", "--training"];
    arguments.extend(training.iter().map(|path| text(path)));
    arguments.extend(["--out", text(out), "--maps-per-box", "3"]);
    arguments.extend(sizes.iter().chain(more));
    arguments
}

#[test]
fn sets_come_from_different_boxes_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let boxes: Vec<PathBuf> = (0..3)
        .map(|seed| simulated(folder.path(), &format!("{seed}.box"), settings(seed)))
        .collect();
    let out = folder.path().join("data");
    let training = [boxes[0].as_path(), boxes[1].as_path()];
    let validation = ["--validation", text(&boxes[2])];
    succeed(&dataset(&training, &out, &validation));

    let set = |name: &str| MapSet::read(&out.join(name)).unwrap();
    let (training_set, validation_set) = (set("training.npy"), set("validation.npy"));
    assert_eq!((training_set.count(), training_set.width()), (30, 16));
    assert_eq!(validation_set.count(), 15);
    // Every crop is a piece of a map of the right box.
    let all = [
        (0, 0, &training_set),
        (1, 15, &training_set),
        (2, 0, &validation_set),
    ];
    for (seed, first, crops) in all {
        let opened = NBodyBox::open(&boxes[seed as usize], &settings(seed)).unwrap();
        let maps = opened.maps(0..3, 64, 12_f64.sqrt()).unwrap();
        for index in 0..15 {
            let crop = crops.map(first + index);
            let map = &maps[index / 5];
            let found = (0..=48).any(|top| {
                (0..=48).any(|left| {
                    (0..16)
                        .all(|row| map[(top + row) * 64 + left..][..16] == crop[row * 16..][..16])
                })
            });
            assert!(found, "box {seed}, crop {index}");
        }
    }

    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("dataset.json")).unwrap()).unwrap();
    assert_eq!(manifest["sets"][0]["set"], "training");
    assert_eq!(manifest["sets"][0]["boxes"][1]["settings"]["seed"], 1);
    assert_eq!(
        manifest["sets"][1]["boxes"][0]["settings"]["cosmology"]["omega_m"],
        0.26
    );
    assert_eq!(manifest["sets"][1]["sha256"].as_str().unwrap().len(), 64);
    // A second run gives the same result.
    let before = fs::read(out.join("training.npy")).unwrap();
    succeed(&dataset(&training, &out, &validation));
    assert_eq!(fs::read(out.join("training.npy")).unwrap(), before);

    // Whole training maps do not change the other sets.
    let cut = fs::read(out.join("validation.npy")).unwrap();
    let whole = [&validation[..], &["--whole-training"]].concat();
    succeed(&dataset(&training, &out, &whole));
    assert!(fs::read(out.join("validation.npy")).unwrap() == cut);
    let maps = set("training.npy");
    assert_eq!((maps.count(), maps.width()), (6, 64));
    let opened = NBodyBox::open(&boxes[1], &settings(1)).unwrap();
    let second = opened.maps(0..3, 64, 12_f64.sqrt()).unwrap();
    assert_eq!(maps.map(5), second[2]);
    drop(opened);
    let of = |name: &str, dims| Provenance::of(&out.join(name), dims).unwrap().unwrap();
    let provenance = of("training.npy", [6, 64, 64]);
    assert_eq!(provenance.cut, None);
    assert_eq!(provenance.side_degrees, 12_f64.sqrt());
    assert!(
        provenance
            .to_string()
            .contains("training set, 6 whole maps of 64²")
    );
    assert_eq!(of("validation.npy", [15, 16, 16]).cut.unwrap().per_map, 5);

    // Only one process at a time.
    let held = fs::File::create(out.join("lock")).unwrap();
    held.lock().unwrap();
    refused(
        &dataset(&training, &out, &validation),
        1,
        &["lock", "another process", "data set", "--out"],
    );
    drop(held);

    // Another division of the boxes, after a killed run: nothing is left of the earlier sets.
    let partial = out.join(".auxiliary.npy.x.partial");
    fs::write(&partial, "half").unwrap();
    let training = [boxes[1].as_path(), boxes[2].as_path()];
    succeed(&dataset(&training, &out, &[]));
    assert!(!out.join("validation.npy").exists() && !partial.exists());
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("dataset.json")).unwrap()).unwrap();
    assert_eq!(manifest["sets"].as_array().unwrap().len(), 1);
}

#[test]
fn boxes_that_do_not_belong_together_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str, settings| simulated(folder.path(), name, settings);
    let first = at("first.box", settings(0));
    let other = at(
        "other.box",
        BoxSettings {
            cosmology: Cosmology {
                sigma8: 0.9,
                ..Cosmology::default()
            },
            ..settings(1)
        },
    );
    let twin = at(
        "twin.box",
        BoxSettings {
            steps: 4,
            ..settings(0)
        },
    );
    let longer = at(
        "longer.box",
        BoxSettings {
            steps: 4,
            ..settings(3)
        },
    );
    let unfinished = folder.path().join("unfinished.box");
    let mut begun = NBodyBox::open(&unfinished, &settings(2)).unwrap();
    let stop = || cosmogan_base::Error::Interrupted("a test".to_owned());
    begun
        .simulate(|report| {
            if report.steps_done == 2 {
                Err(stop())
            } else {
                Ok(())
            }
        })
        .unwrap_err();
    drop(begun);
    let out = folder.path().join("data");
    let refuse = |training: &[&Path], more: &[&str], status, needles: &[&str]| {
        refused(&dataset(training, &out, more), status, needles);
        assert!(!out.join("training.npy").exists());
    };
    refuse(
        &[&first, &other],
        &[],
        1,
        &["other.box", "--sigma8 0.9", "first.box", "0.798"],
    );
    let validation = ["--validation", text(&longer)];
    refuse(
        &[&first],
        &validation,
        1,
        &["longer.box", "--steps 4", "first.box", "has 3"],
    );
    let validation = ["--validation", text(&twin)];
    refuse(
        &[&first],
        &validation,
        1,
        &["twin.box", "the same seed as", "--seed"],
    );
    let itself = ["--development", text(&first)];
    refuse(&[&first], &itself, 1, &["first.box", "the same matter"]);
    refuse(
        &[&first, &unfinished],
        &[],
        1,
        &["unfinished.box", "is not complete"],
    );
    refuse(
        &[folder.path()],
        &[],
        1,
        &["manifest.json", "simulate --method nbody"],
    );
    for (more, flag) in [
        (["--size", "65"], "--size"),
        (["--per-map", "0"], "--per-map"),
        (["--side-degrees", "9"], "--side-degrees"),
    ] {
        let mut arguments = dataset(&[&first], &out, &[]);
        match arguments.iter().position(|word| *word == more[0]) {
            Some(place) => arguments[place + 1] = more[1],
            None => arguments.extend(more),
        }
        refused(&arguments, 2, &[flag]);
    }
    let mut vast = dataset(&[&first], &out, &[]);
    let place = vast.iter().position(|word| *word == "--per-map").unwrap();
    vast[place + 1] = "100000000000000";
    refused(&vast, 1, &["data", "GB free", "free some space"]);

    let manifest = unfinished.join("manifest.json");
    let whole = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, whole.replace("\"mesh\": 32", "\"mesh\": 33")).unwrap();
    refuse(
        &[&unfinished],
        &[],
        1,
        &["manifest.json", "--mesh", "remove this one"],
    );

    let slab = first.join("slab-002.npy");
    let whole = fs::read(&slab).unwrap();
    fs::write(&slab, &whole[..whole.len() / 2]).unwrap();
    refuse(&[&first], &[], 1, &["slab-002.npy", "truncated"]);
    // Damage in the last box is also found before the first box is cropped.
    fs::write(&slab, &whole).unwrap();
    let last = at("last.box", settings(4));
    let slab = last.join("slab-001.npy");
    let mut changed = fs::read(&slab).unwrap();
    changed[4000] ^= 1;
    fs::write(&slab, &changed).unwrap();
    let validation = ["--validation", text(&last)];
    refuse(
        &[&first],
        &validation,
        1,
        &["last.box", "slab-001.npy", "SHA-256"],
    );
}

#[test]
#[cfg(unix)]
fn an_interrupt_stops_between_maps_and_leaves_no_set() {
    let folder = tempfile::tempdir().unwrap();
    let first = simulated(folder.path(), "first.box", settings(0));
    let out = folder.path().join("data");
    let mut arguments = dataset(&[&first], &out, &[]);
    let place = arguments.iter().position(|word| *word == "3").unwrap();
    arguments[place] = "100000";
    let mut child = cosmogan()
        .args(&arguments)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let is_a_set = |name: &str| name.contains(".npy");
    let files = || {
        fs::read_dir(&out).map_or(0, |entries| {
            let names = entries.map(|entry| entry.unwrap().file_name());
            names
                .filter(|name| is_a_set(&name.to_string_lossy()))
                .count()
        })
    };
    let deadline = Instant::now() + Duration::from_secs(300);
    while files() == 0 {
        assert!(
            child.try_wait().unwrap().is_none(),
            "ended before the interrupt"
        );
        assert!(Instant::now() < deadline, "no set in five minutes");
        thread::sleep(Duration::from_millis(1));
    }
    let process = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &process]).status();
    assert!(sent.unwrap().success());
    let ended = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(130), "{told}");
    assert!(told.contains("run the same command again"), "{told}");
    assert_eq!(files(), 0);
}
