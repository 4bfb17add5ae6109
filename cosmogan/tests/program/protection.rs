//! Work is not lost: run folders are protected, sound checkpoints stay, and messages never end a run.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its files has failed"
)]

use std::fs;
use std::path::Path;
use std::process::Stdio;

use cosmogan::files;

use crate::support::{cosmogan, refused, small_run, succeed, text};

fn training<'a>(config: &'a Path, data: &'a Path, run: &'a Path) -> Vec<&'a str> {
    let (config, data, run) = (text(config), text(data), text(run));
    vec!["train", "--config", config, "--data", data, "--out", run]
}

#[test]
fn a_folder_is_trained_in_by_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = small_run(folder.path(), 8);
    let run = folder.path().join("run");
    let train = training(&config, &data, &run);
    fs::create_dir(&run).unwrap();
    let lock = files::lock(&run.join("lock"), "run", "--out").unwrap();
    let steps = [&train[..], &["--steps", "2"]].concat();
    refused(&steps, 1, &["lock", "another process is using this run"]);
    assert!(!run.join("checkpoint.safetensors").exists());
    drop(lock);
    succeed(&steps);
    // A link in its place is not followed.
    fs::remove_file(run.join("lock")).unwrap();
    let target = folder.path().join("precious");
    fs::write(&target, "content").unwrap();
    std::os::unix::fs::symlink(&target, run.join("lock")).unwrap();
    let more = [&train[..], &["--steps", "3", "--resume"]].concat();
    refused(&more, 1, &["lock", "is a link"]);
    assert_eq!(fs::read(&target).unwrap(), b"content");
}

#[test]
fn files_of_another_run_are_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = small_run(folder.path(), 8);
    let run = folder.path().join("run");
    let train = training(&config, &data, &run);
    let steps = [&train[..], &["--steps", "2"]].concat();
    succeed(&steps);
    let generator = run.join("generator.safetensors");
    let before = fs::read(&generator).unwrap();
    refused(
        &steps,
        1,
        &["already holds a run", "--resume", "--overwrite"],
    );
    // Without its checkpoint, the largest file, the folder still holds a run.
    fs::remove_file(run.join("checkpoint.safetensors")).unwrap();
    let other = [&steps[..], &["--seed", "7"]].concat();
    for arguments in [&other[..], &[&other[..], &["--resume"]].concat()] {
        refused(
            arguments,
            1,
            &["generator.safetensors", "left over", "--overwrite"],
        );
    }
    assert_eq!(fs::read(&generator).unwrap(), before);
    fs::write(run.join("best.safetensors"), "of another run").unwrap();
    fs::write(run.join("notes.txt"), "mine").unwrap();
    succeed(&[&other[..], &["--overwrite"]].concat());
    assert_ne!(fs::read(&generator).unwrap(), before);
    assert!(!run.join("best.safetensors").exists());
    assert_eq!(fs::read(run.join("notes.txt")).unwrap(), b"mine");
}

#[test]
fn the_checkpoint_before_the_last_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = small_run(folder.path(), 8);
    let run = folder.path().join("run");
    let train = training(&config, &data, &run);
    succeed(&[&train[..], &["--steps", "2"]].concat());
    let last = fs::read(run.join("checkpoint.safetensors")).unwrap();
    // A resumed run saves before its first step: the same state once more.
    succeed(&[&train[..], &["--steps", "3", "--resume"]].concat());
    let previous = run.join("checkpoint-previous.safetensors");
    assert_eq!(fs::read(&previous).unwrap(), last);
    // It can take the place of the last one.
    fs::rename(&previous, run.join("checkpoint.safetensors")).unwrap();
    succeed(&[&train[..], &["--steps", "3", "--resume"]].concat());
}

#[test]
fn a_run_is_resumed_in_another_precision_by_name_only() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = small_run(folder.path(), 8);
    let run = folder.path().join("run");
    let train = [&training(&config, &data, &run)[..], &["--device", "cpu"]].concat();
    succeed(&[&train[..], &["--steps", "2"]].concat());
    let other = [&train[..], &["--steps", "3", "--precision", "bf16"]].concat();
    for resume in ["--resume", "--resume=device,version"] {
        refused(
            &[&other[..], &[resume]].concat(),
            1,
            &[
                "checkpoint.safetensors",
                "`f32`, now `bf16`",
                "--resume=precision",
            ],
        );
    }
    let output = succeed(&[&other[..], &["--resume=precision"]].concat());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("not bit for bit"), "{told}");
    let described = fs::read(run.join("run.json")).unwrap();
    let described: serde_json::Value = serde_json::from_slice(&described).unwrap();
    let segments = described["segments"].as_array().unwrap();
    let said: Vec<_> = segments
        .iter()
        .map(|segment| {
            (
                segment["after_step"].as_u64(),
                segment["precision"].as_str(),
            )
        })
        .collect();
    assert_eq!(said, [(Some(0), Some("f32")), (Some(2), Some("bf16"))]);
    // Log and weights carry the name of the run.
    let name = described["run"].as_str().unwrap();
    let log = fs::read_to_string(run.join("log.jsonl")).unwrap();
    assert_eq!(log.matches(name).count(), 3, "{log}");
    let weights = fs::read(run.join("generator.safetensors")).unwrap();
    assert!(String::from_utf8_lossy(&weights).contains(name));
}

#[test]
fn a_checkpoint_that_was_altered_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = small_run(folder.path(), 8);
    let run = folder.path().join("run");
    let train = training(&config, &data, &run);
    succeed(&[&train[..], &["--steps", "2"]].concat());
    let path = run.join("checkpoint.safetensors");
    let whole = fs::read(&path).unwrap();
    let resume = [&train[..], &["--steps", "3", "--resume"]].concat();
    let find = |needle: &[u8]| {
        whole
            .windows(needle.len())
            .position(|window| window == needle)
    };
    // The seed, and the lowest bit of the last weight.
    let seed = find(br#"\"seed\":0"#).unwrap() + br#"\"seed\":"#.len();
    for (place, byte) in [(seed, b'1'), (whole.len() - 4, whole[whole.len() - 4] ^ 1)] {
        let mut altered = whole.clone();
        altered[place] = byte;
        fs::write(&path, &altered).unwrap();
        refused(
            &resume,
            1,
            &["checkpoint.safetensors", "SHA-256", "checkpoint-previous"],
        );
        assert_eq!(fs::read(&path).unwrap(), altered);
    }
    let mut older = whole.clone();
    let format = find(b"cosmogan checkpoint 2").unwrap() + b"cosmogan checkpoint ".len();
    older[format] = b'9';
    fs::write(&path, &older).unwrap();
    refused(&resume, 1, &["format `cosmogan checkpoint 9`"]);
    fs::write(&path, &whole).unwrap();
    succeed(&resume);
}

#[test]
fn nothing_that_diverged_takes_the_place_of_a_sound_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = small_run(folder.path(), 8);
    let settings = fs::read_to_string(&config).unwrap();
    for rate in ["1e38", "1e10"] {
        fs::write(&config, format!("{settings}learning_rate = {rate}\n")).unwrap();
        let run = folder.path().join(rate);
        let train = training(&config, &data, &run);
        refused(&[&train[..], &["--steps", "40"]].concat(), 1, &["diverged"]);
        // What is left makes maps.
        let maps = folder.path().join("generated.npy");
        let generator = run.join("generator.safetensors");
        let generate = ["generate", "--weights", text(&generator), "--count", "1"];
        succeed(&[&generate[..], &["--out", text(&maps), "--force"]].concat());
    }
}

/// A reader that is gone, as in `cosmogan train … 2>&1 | head -1`, and a full device.
#[test]
fn messages_that_cannot_be_written_end_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = small_run(folder.path(), 8);
    let run = folder.path().join("run");
    let mut train = cosmogan();
    train
        .args(training(&config, &data, &run))
        .args(["--steps", "3"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = train.spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert!(child.wait().unwrap().success());
    assert!(run.join("generator.safetensors").exists());

    let full = || {
        fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap()
    };
    let maps = folder.path().join("simulated.npy");
    let simulate = || {
        let mut command = cosmogan();
        command.args([
            "simulate",
            "--maps",
            "1",
            "--pixels",
            "16",
            "--out",
            text(&maps),
        ]);
        command
    };
    assert!(simulate().stderr(full()).status().unwrap().success());
    // Results that are lost are an error, in one line.
    let output = simulate().stdout(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("stdout: cannot write") && !stderr.contains("panicked"),
        "{stderr}"
    );
}
