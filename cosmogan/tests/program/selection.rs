//! Selection of the best generator from the last epochs of a run.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its files has failed"
)]

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{run, small_run, succeed, text, write_noise};
use cosmogan::model::tensor_file::{CONFIG_KEY, TensorFile};
use cosmogan::model::weights::read_file;
use cosmogan::train::Selected;
use cosmogan::train::log;

struct Setting {
    folder: tempfile::TempDir,
    config: PathBuf,
    data: PathBuf,
    development: PathBuf,
}

impl Setting {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (config, data) = small_run(folder.path(), 12);
        let development = folder.path().join("development.npy");
        write_noise(&development, 40, 16);
        Self {
            folder,
            config,
            data,
            development,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Arguments for twelve steps, three per epoch.
    fn arguments<'a>(&'a self, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
        let fixed = [
            "train",
            "--data",
            text(&self.data),
            "--config",
            text(&self.config),
            "--out",
            text(out),
            "--epochs",
            "4",
            "--log-every",
            "100",
            "--device",
            "cpu",
            "--select",
            text(&self.development),
            "--select-maps",
            "100",
        ];
        [&fixed[..], more].concat()
    }
}

fn selected(path: &Path) -> Selected {
    let bytes = read_file(path).unwrap();
    let file = TensorFile::parse(path, &bytes).unwrap();
    let config: serde_json::Value =
        serde_json::from_str(file.metadata(CONFIG_KEY).unwrap()).unwrap();
    serde_json::from_value(config["selection"].clone()).unwrap()
}

#[test]
fn the_best_of_the_last_epochs_is_kept() {
    let setting = Setting::new();
    let out = setting.path("run");
    let output = succeed(&setting.arguments(&out, &[]));
    let scores: Vec<(u64, f64)> = log::read(&out.join("log.jsonl"))
        .iter()
        .filter_map(|line| Some((line.step, line.score?)))
        .collect();
    let steps: Vec<u64> = scores.iter().map(|score| score.0).collect();
    assert_eq!(steps, [7, 8, 9, 10, 11, 12], "two epochs, every step");
    assert!(scores.iter().all(|(_, score)| (0.0..=1.0).contains(score)));
    let best = selected(&out.join("best.safetensors"));
    let lowest = scores.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1));
    assert_eq!(Some((best.step, best.score)), lowest);
    assert!(String::from_utf8_lossy(&output.stderr).contains("best score"));
    assert!(out.join("selection.png").exists());
    // The selected file is a generator like any other.
    let maps = setting.path("generated.npy");
    let weights = out.join("best.safetensors");
    succeed(&[
        "generate",
        "--weights",
        text(&weights),
        "--count",
        "3",
        "--out",
        text(&maps),
    ]);
}

#[test]
fn a_single_score_keeps_the_last_generator_and_a_resumed_run_the_best() {
    let setting = Setting::new();
    let (short, long) = (setting.path("short"), setting.path("long"));
    let once = ["--select-epochs", "1", "--select-every", "1000"];
    succeed(&setting.arguments(&short, &once));
    let tensor = |path: PathBuf| {
        let bytes = read_file(&path).unwrap();
        let file = TensorFile::parse(&path, &bytes).unwrap();
        file.get("deconv1.weight").unwrap().unwrap()
    };
    assert_eq!(
        tensor(short.join("best.safetensors")),
        tensor(short.join("generator.safetensors"))
    );
    assert_eq!(selected(&short.join("best.safetensors")).step, 12);

    // Resuming for more epochs keeps the best of both windows; the log holds the scores of both.
    succeed(&setting.arguments(&long, &[]));
    let first = selected(&long.join("best.safetensors"));
    let mut more = setting.arguments(&long, &["--resume"]);
    let epochs = more.iter().position(|word| *word == "4").unwrap();
    more[epochs] = "5";
    succeed(&more);
    let second = selected(&long.join("best.safetensors"));
    assert!(second.score <= first.score);
    let scored = log::read(&long.join("log.jsonl"));
    assert_eq!(scored.iter().filter(|line| line.score.is_some()).count(), 9);

    // Scores from other development maps cannot be compared.
    write_noise(&setting.development, 39, 16);
    let output = run(&more);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("best.safetensors") && stderr.contains("40 development maps"),
        "{stderr}"
    );
}

#[test]
fn development_maps_that_do_not_fit_are_refused() {
    let setting = Setting::new();
    let out = setting.path("run");
    let refused = |status: i32, more: &[&str], needle: &str| {
        let output = run(&setting.arguments(&out, more));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{stderr}");
        assert!(
            stderr.contains(needle) && !stderr.contains("panicked"),
            "{stderr}"
        );
        assert!(!out.join("checkpoint.safetensors").exists());
    };
    refused(2, &["--select-every", "0"], "--select-every");
    write_noise(&setting.development, 5, 8);
    refused(1, &[], "8×8");
    write_noise(&setting.development, 1, 16);
    refused(1, &[], "at least two maps");
    fs::remove_file(&setting.development).unwrap();
    refused(1, &[], "development.npy");
}
