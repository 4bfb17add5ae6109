//! N-body simulation: linear growth, reproducibility, resumption, and damaged files.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its files has failed"
)]

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{cosmogan, refused, succeed, text};
use cosmogan::data::MapSet;
use cosmogan::simulate::nbody::{BoxSettings, NBodyBox};
use cosmogan::simulate::{ConvergencePower, Cosmology};
use cosmogan::stats::{Moments, PowerSpectrum};

/// Arguments for a box that is simulated quickly.
const TINY: [&str; 12] = [
    "simulate",
    "--method",
    "nbody",
    "--maps",
    "2",
    "--pixels",
    "64",
    "--particles",
    "32",
    "--mesh",
    "64",
    "--steps",
];

fn tiny<'a>(steps: &'a str, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [&TINY[..], &[steps, "--out", text(out)], more].concat()
}

#[test]
fn large_waves_grow_as_linear_theory_says() {
    let folder = tempfile::tempdir().unwrap();
    // The box is so large that its largest waves are still linear today. The number of steps must not matter.
    let settings = BoxSettings {
        particles: 64,
        mesh: 64,
        box_side: 2048.0,
        steps: 5,
        ..BoxSettings::default()
    };
    let mut simulated = NBodyBox::open(&folder.path().join("box"), &settings).unwrap();
    simulated.simulate(|_| Ok(())).unwrap();
    assert_eq!(simulated.growth().len(), 5);
    for record in simulated.growth() {
        println!(
            "a = {:.3}: {:.5}",
            record.scale_factor, record.over_linear_theory
        );
        // Waves of this length are linear: 0.5 % covers the few steps and second-order effects.
        assert!((record.over_linear_theory - 1.0).abs() < 0.005);
    }
}

#[test]
fn a_quick_box_has_maps_that_matter_could_make() {
    let folder = tempfile::tempdir().unwrap();
    let settings = BoxSettings::quick();
    let mut simulated = NBodyBox::open(&folder.path().join("box"), &settings).unwrap();
    assert!(simulated.bytes_missing() > 0);
    let mut reports = Vec::new();
    simulated
        .simulate(|report| {
            reports.push(report);
            Ok(())
        })
        .unwrap();
    let last = reports.last().unwrap();
    assert_eq!(reports.len(), settings.steps + 1);
    assert_eq!((last.steps_done, last.slabs_done), (12, last.slabs));
    assert_eq!(simulated.bytes_missing(), 0);
    for record in simulated.growth() {
        let ratio = record.over_linear_theory;
        assert!((ratio - 1.0).abs() < 0.02, "{record:?}");
    }

    let (pixels, side) = (256, 12_f64.sqrt());
    let maps = simulated.maps(0..32, pixels, side).unwrap();
    let slices: Vec<&[f32]> = maps.iter().map(Vec::as_slice).collect();
    let moments = Moments::of_all(&slices);
    println!("{moments:?}, empty beam {}", simulated.empty_beam());
    assert!(f64::from(moments.minimum()) >= -simulated.empty_beam());
    assert!(moments.skewness() > 0.5);
    assert!(moments.mean().abs() < 0.2 * moments.standard_deviation());
    assert_eq!(simulated.maps(5..6, pixels, side).unwrap()[0], maps[5]);
    assert_ne!(maps[5], maps[6]);

    // The mesh of 1 Mpc/h lacks power on smaller scales, and there is only one realisation. This tests distances,
    // weights and growth, an error in any of which would exceed the limit.
    let edges = vec![300.0, 1000.0];
    let power = PowerSpectrum::new(pixels, side, edges).unwrap();
    let measured = power.measure_all(&slices);
    let mean = measured.iter().map(|spectrum| spectrum[0]).sum::<f64>() / 32.0;
    let theory = ConvergencePower::new(&settings.cosmology, settings.source_redshift);
    let ratio = mean / power.binned(|ell| theory.at(ell))[0];
    println!("300 < ℓ < 1,000: {ratio:.3} of halofit");
    assert!((0.8..1.2).contains(&ratio), "{ratio}");
}

/// Reads all files of a box by name.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn the_same_bits_on_one_thread_on_two_and_after_a_kill() {
    const STEPS: &str = "30";
    let folder = tempfile::tempdir().unwrap();
    let [one, two, killed] = ["one", "two", "killed"].map(|name| folder.path().join(name));
    let out = |folder: &Path| folder.join("maps.npy");
    for (threads, folder) in [("1", &one), ("2", &two)] {
        let finished = cosmogan()
            .args(tiny(STEPS, &out(folder), &[]))
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .unwrap();
        assert!(finished.status.success());
    }
    let boxes = |folder: &Path| contents(&folder.join("maps.box"));
    assert_eq!(boxes(&one), boxes(&two));
    assert_eq!(
        fs::read(out(&one)).unwrap(),
        fs::read(out(&two)).unwrap(),
        "one thread and two"
    );

    let path = out(&killed);
    let arguments = tiny(STEPS, &path, &[]);
    // Killed as soon as a few slabs are finished, and once more a little later.
    let kill_after = |slabs: usize| {
        let mut child = cosmogan()
            .args(&arguments)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let manifest = killed.join("maps.box/manifest.json");
        let deadline = Instant::now() + Duration::from_secs(300);
        loop {
            let text = fs::read_to_string(&manifest).unwrap_or_default();
            if text.matches("sha256").count() > slabs {
                break;
            }
            assert!(child.try_wait().unwrap().is_none(), "ended before the kill");
            assert!(Instant::now() < deadline, "no slab in five minutes");
            thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!path.exists());
    };
    kill_after(3);
    kill_after(12);
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(killed.join("maps.box/manifest.json")).unwrap()).unwrap();
    assert!(manifest["state"]["steps_done"].as_u64().unwrap() > 0);
    let written = || {
        let slab = manifest["slabs"][0]["file"].as_str().unwrap();
        let file = fs::metadata(killed.join("maps.box").join(slab)).unwrap();
        file.modified().unwrap()
    };
    let before = written();
    succeed(&arguments);
    // It did not start from the beginning.
    assert_eq!(written(), before);
    assert_eq!(boxes(&killed), boxes(&one));
    assert_eq!(fs::read(&path).unwrap(), fs::read(out(&one)).unwrap());

    // More maps from the same box start with the same maps.
    let more = folder.path().join("more.npy");
    let box_folder = killed.join("maps.box");
    let mut arguments = tiny(STEPS, &more, &["--box", text(&box_folder)]);
    arguments[4] = "3";
    let told = succeed(&arguments).stderr;
    assert!(String::from_utf8_lossy(&told).contains("complete"));
    let (few, more) = (MapSet::read(&path).unwrap(), MapSet::read(&more).unwrap());
    assert_eq!(more.count(), 3);
    assert_eq!(few.map(1), more.map(1));
}

/// Simulates a tiny box; returns the file of maps and the folder of the box.
fn finished(folder: &Path) -> (PathBuf, PathBuf) {
    let out = folder.join("maps.npy");
    succeed(&tiny("3", &out, &[]));
    (out, folder.join("maps.box"))
}

#[test]
fn damaged_and_foreign_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (out, box_folder) = finished(folder.path());
    let slab = box_folder.join("slab-004.npy");
    let whole = fs::read(&slab).unwrap();
    let refuse = |more: &[&str], status: i32, needles: &[&str]| {
        refused(&tiny("3", &out, more), status, needles);
    };

    let file = OpenOptions::new().write(true).open(&slab).unwrap();
    file.set_len(whole.len() as u64 - 100).unwrap();
    refuse(&[], 1, &["slab-004.npy", "truncated", "remove the folder"]);
    let mut changed = whole.clone();
    changed[5000] ^= 1;
    fs::write(&slab, &changed).unwrap();
    refuse(&[], 1, &["slab-004.npy", "SHA-256", "remove the folder"]);
    fs::remove_file(&slab).unwrap();
    refuse(&[], 1, &["slab-004.npy", "remove the folder"]);
    fs::write(&slab, &whole).unwrap();
    succeed(&tiny("3", &out, &[]));

    for (more, needle) in [
        (&["--sigma8", "0.9"], "--sigma8 0.798, not 0.9"),
        (&["--seed", "5"], "--seed 0, not 5"),
        (&["--box-side", "256"], "--box-side 128, not 256"),
    ] {
        refuse(more, 1, &["manifest.json", needle, "--box"]);
    }

    let manifest = box_folder.join("manifest.json");
    let text_of = fs::read_to_string(&manifest).unwrap();
    for (damaged, needle) in [
        ("{".to_owned(), "not the manifest"),
        (
            text_of.replace("cosmogan box 2", "cosmogan box 9"),
            "cosmogan box 9",
        ),
        (
            text_of.replace("\"steps\": 3", "\"steps\": \"three\""),
            "damaged",
        ),
    ] {
        fs::write(&manifest, damaged).unwrap();
        refuse(&[], 1, &["manifest.json", needle, "--box"]);
    }
    fs::write(&manifest, text_of).unwrap();
    fs::write(box_folder.join("thesis.tex"), "years of work").unwrap();
    refuse(&[], 1, &["thesis.tex", "--box"]);
}

#[test]
fn a_state_that_was_cut_short_is_refused_and_a_held_box_too() {
    let folder = tempfile::tempdir().unwrap();
    let settings = BoxSettings {
        particles: 32,
        mesh: 64,
        steps: 6,
        ..BoxSettings::default()
    };
    let path = folder.path().join("box");
    let stop = || cosmogan_base::Error::Interrupted("a test".to_owned());
    let mut simulated = NBodyBox::open(&path, &settings).unwrap();
    let stopped = simulated.simulate(|report| {
        if report.steps_done == 4 {
            Err(stop())
        } else {
            Ok(())
        }
    });
    assert_eq!(stopped.unwrap_err().exit_status(), 130);
    let held = NBodyBox::open(&path, &settings).unwrap_err().to_string();
    assert!(
        held.contains("lock") && held.contains("another process"),
        "{held}"
    );
    drop(simulated);

    let state = path.join("state-004.bin");
    let manifest = path.join("manifest.json");
    let stopped_at: serde_json::Value =
        serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    let whole = fs::read(&state).unwrap();
    fs::write(&state, &whole[..whole.len() / 2]).unwrap();
    let refused = |needles: &[&str]| {
        let mut simulated = NBodyBox::open(&path, &settings).unwrap();
        let error = simulated.simulate(|_| Ok(())).unwrap_err().to_string();
        for needle in needles {
            assert!(error.contains(needle), "no {needle:?} in {error:?}");
        }
    };
    refused(&["state-004.bin", "truncated", "remove the folder"]);
    let mut changed = whole.clone();
    changed[0] ^= 1;
    fs::write(&state, &changed).unwrap();
    refused(&["state-004.bin", "SHA-256"]);

    // With the file restored, the run continues; leftovers of a killed program are removed.
    fs::write(&state, &whole).unwrap();
    let [half, orphan] = [".slab-003.npy.x.partial", "state-003.bin"].map(|name| path.join(name));
    fs::write(&half, "half").unwrap();
    fs::write(&orphan, "old").unwrap();
    let mut simulated = NBodyBox::open(&path, &settings).unwrap();
    let mut first = None;
    simulated
        .simulate(|report| {
            first.get_or_insert(report.steps_done);
            Ok(())
        })
        .unwrap();
    assert_eq!(first, Some(4));
    assert!(!half.exists() && !orphan.exists() && !state.exists());
    drop(simulated);

    // A box killed between the last planes and the end is not complete. It continues, and ends with the same manifest.
    let finished = fs::read_to_string(&manifest).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&finished).unwrap();
    value["state"] = stopped_at["state"].clone();
    value["growth"].as_array_mut().unwrap().pop();
    fs::write(&manifest, value.to_string()).unwrap();
    fs::write(&state, &whole).unwrap();
    let mut simulated = NBodyBox::open(&path, &settings).unwrap();
    assert!(!simulated.is_complete());
    simulated.simulate(|_| Ok(())).unwrap();
    assert!(simulated.is_complete() && !state.exists());
    assert_eq!(fs::read_to_string(&manifest).unwrap(), finished);
    drop(simulated);

    // A box killed a moment later only has to remove its particles.
    fs::write(&state, &whole).unwrap();
    let mut simulated = NBodyBox::open(&path, &settings).unwrap();
    assert!(simulated.is_complete());
    simulated.simulate(|_| Ok(())).unwrap();
    assert!(!state.exists());
    drop(simulated);

    // The program never saves particles after the last step.
    value["state"]["steps_done"] = 6.into();
    value["state"]["file"] = "state-006.bin".into();
    fs::write(&manifest, value.to_string()).unwrap();
    let error = NBodyBox::open(&path, &settings).unwrap_err().to_string();
    assert!(
        error.contains("manifest.json") && error.contains("6 of 6 steps"),
        "{error}"
    );
}

#[test]
fn settings_and_disks_that_cannot_be_are_refused_before_the_work_starts() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("maps.npy");
    for (more, flag) in [
        (&["--particles", "128"][..], "--particles"),
        (&["--mesh", "100"], "--mesh"),
        (&["--box-side", "5"], "--box-side"),
        (&["--box-side", "64"], "--side-degrees"),
        (&["--box-side", "nan"], "--box-side"),
        (&["--side-degrees", "nan"], "--side-degrees"),
        (&["--side-degrees", "7"], "--side-degrees"),
        (&["--source-redshift", "8"], "--source-redshift"),
        (&["--omega-m", "2"], "--omega-m"),
        (&["--shift", "0.03"], "--shift"),
    ] {
        let mut arguments = tiny("3", &out, more);
        // Flags cannot be given twice, so the value is replaced.
        if more[0] == "--particles" || more[0] == "--mesh" {
            let place = arguments.iter().position(|word| *word == more[0]).unwrap();
            arguments[place + 1] = more[1];
            arguments.truncate(arguments.len() - 2);
        }
        refused(&arguments, 2, &[flag]);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let lognormal = ["simulate", "--maps", "1", "--quick", "--out", text(&out)];
    refused(&lognormal, 2, &["--quick", "--method nbody"]);

    let mut vast = tiny("3", &out, &[]);
    vast[4] = "1000000000";
    vast[6] = "8192";
    refused(&vast, 1, &["maps.box", "GB free", "free some space"]);
    let state = folder.path().join("maps.box");
    assert!(contents(&state).iter().all(|(name, _)| name == "lock"));
}

#[test]
fn a_manifest_names_files_of_its_own_folder_only() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("box");
    let settings = BoxSettings {
        particles: 8,
        mesh: 16,
        steps: 2,
        ..BoxSettings::default()
    };
    let mut simulated = NBodyBox::open(&place, &settings).unwrap();
    // Stops with particles saved.
    let mut left = 2;
    let stopped = simulated.simulate(|_| {
        left -= 1;
        match left {
            0 => Err(cosmogan_base::Error::Interrupted("here".to_owned())),
            _ => Ok(()),
        }
    });
    assert!(stopped.is_err());
    drop(simulated);
    let manifest = place.join("manifest.json");
    let original = fs::read_to_string(&manifest).unwrap();
    let outside = folder.path().join("outside.npy");
    fs::copy(place.join("slab-037.npy"), &outside).unwrap();
    let precious = folder.path().join("state-001.bin");
    fs::write(&precious, "precious").unwrap();
    for (from, to) in [
        ("slab-037.npy", "../outside.npy"),
        ("state-001.bin", "../state-001.bin"),
        ("\"bytes\": 49280", "\"bytes\": 128"),
    ] {
        let altered = original.replacen(from, to, 1);
        assert_ne!(altered, original, "{from} in {original}");
        fs::write(&manifest, &altered).unwrap();
        let error = NBodyBox::open(&place, &settings).unwrap_err().to_string();
        assert!(error.contains("manifest.json: is damaged"), "{error}");
        assert!(NBodyBox::settings_in(&place).is_err());
    }
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
    assert!(outside.exists());
    fs::write(&manifest, &original).unwrap();
    let mut simulated = NBodyBox::open(&place, &settings).unwrap();
    simulated.simulate(|_| Ok(())).unwrap();
}

#[test]
fn another_universe_is_another_box() {
    let folder = tempfile::tempdir().unwrap();
    let base = BoxSettings {
        steps: 6,
        ..BoxSettings::quick()
    };
    let (pixels, side) = (256, 3.0);
    let estimator = PowerSpectrum::new(pixels, side, vec![300.0, 1000.0]).unwrap();
    let power = |name: &str, sigma8: f64| {
        let settings = BoxSettings {
            cosmology: Cosmology {
                sigma8,
                ..base.cosmology
            },
            ..base
        };
        let mut simulated = NBodyBox::open(&folder.path().join(name), &settings).unwrap();
        simulated.simulate(|_| Ok(())).unwrap();
        let maps = simulated.maps(0..4, pixels, side).unwrap();
        maps.iter()
            .map(|map| estimator.measure(map)[0])
            .sum::<f64>()
    };
    let ratio = power("bright", 1.0) / power("faint", 0.5);
    println!("twice the amplitude of the same field has {ratio:.2} times the power");
    // A factor of four in linear theory; both boxes have the same particle noise.
    assert!((2.5..5.0).contains(&ratio), "{ratio}");
}
