//! Provenance from data set manifests: how it is recorded and checked.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its files has failed"
)]

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{SMALL_CONFIG, refused, succeed, text};
use cosmogan::model::tensor_file::{CONFIG_KEY, TensorFile};
use cosmogan::model::weights::read_file;
use cosmogan::provenance::Provenance;
use cosmogan::report::Metrics;
use cosmogan::simulate::nbody::{BoxSettings, NBodyBox};
use cosmogan::train::checkpoint;

/// A data set of four boxes with maps of 16².
/// It has 30 training maps, and 15 validation and development maps each.
struct Setting {
    folder: tempfile::TempDir,
    data: PathBuf,
    config: PathBuf,
}

impl Setting {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let boxes = [0, 1, 2, 3].map(|seed| {
            let path = folder.path().join(format!("{seed}.box"));
            let settings = BoxSettings {
                seed,
                particles: 16,
                mesh: 32,
                steps: 3,
                ..BoxSettings::default()
            };
            let mut simulated = NBodyBox::open(&path, &settings).unwrap();
            simulated.simulate(|_| Ok(())).unwrap();
            path
        });
        let [first, second, third, fourth] = boxes.each_ref().map(|path| text(path));
        let data = folder.path().join("data");
        let sets = [
            &["dataset", "--training", first, second][..],
            &["--validation", third, "--development", fourth],
            &["--pixels", "64", "--size", "16", "--per-map", "5"],
            &["--maps-per-box", "3", "--out", text(&data)],
        ];
        succeed(&sets.concat());
        let config = folder.path().join("small.toml");
        fs::write(&config, SMALL_CONFIG).unwrap();
        Self {
            data,
            config,
            folder,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn train<'a>(&'a self, data: &'a Path, run: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
        let fixed = [
            &[
                "train",
                "--data",
                text(data),
                "--config",
                text(&self.config),
            ][..],
            &["--device", "cpu", "--out", text(run)],
        ];
        [&fixed.concat()[..], more].concat()
    }
}

fn of_checkpoint(run: &Path) -> Option<Provenance> {
    let record = checkpoint::record(&run.join("checkpoint.safetensors"));
    record.unwrap().identity.data.provenance
}

fn seeds(provenance: &Provenance) -> Vec<u64> {
    provenance.boxes.iter().map(|of_box| of_box.seed).collect()
}

#[test]
fn checkpoints_weights_and_reports_say_what_they_come_from() {
    let setting = Setting::new();
    let set = |name: &str| setting.data.join(format!("{name}.npy"));
    let (training, validation, development) =
        (set("training"), set("validation"), set("development"));
    let run = setting.path("run");
    let select = ["--select", text(&development), "--select-maps", "8"];
    let steps = |steps| [&select[..], &["--steps", steps]].concat();
    succeed(&setting.train(&training, &run, &steps("5")));

    let provenance = of_checkpoint(&run).unwrap();
    assert_eq!(seeds(&provenance), [0, 1]);
    assert_eq!((provenance.count, provenance.pixels), (30, 16));
    assert_eq!(provenance.simulation.cosmology.omega_m, 0.26);
    let own_folder = text(setting.folder.path());
    for name in ["checkpoint", "generator", "discriminator", "best"] {
        let path = run.join(format!("{name}.safetensors"));
        let bytes = read_file(&path).unwrap();
        let holds = |needle: &str| {
            let mut windows = bytes.windows(needle.len());
            windows.any(|window| window == needle.as_bytes())
        };
        assert!(!holds(own_folder), "{name} names a folder");
        assert!(holds(&provenance.sha256));
        let file = TensorFile::parse(&path, &bytes).unwrap();
        if let Some(config) = file.metadata(CONFIG_KEY) {
            let config: serde_json::Value = serde_json::from_str(config).unwrap();
            let found: Provenance = serde_json::from_value(config["data"].clone()).unwrap();
            assert_eq!(found, provenance, "{name}");
        }
    }

    // The run is split in two parts; the second uses a copy without a manifest. The result has the same bits, including
    // the provenance.
    let parts = setting.path("parts");
    succeed(&setting.train(&training, &parts, &steps("2")));
    let moved = setting.path("moved.npy");
    fs::copy(&training, &moved).unwrap();
    let resumed = [&steps("5")[..], &["--resume"]].concat();
    succeed(&setting.train(&moved, &parts, &resumed));
    let bits = |run: &Path, name: &str| fs::read(run.join(name)).unwrap();
    for name in ["checkpoint.safetensors", "generator.safetensors"] {
        assert!(bits(&run, name) == bits(&parts, name), "{name}");
    }

    let best = run.join("best.safetensors");
    let report = setting.path("report");
    let evaluate = |real: &Path, more: &[&str]| {
        let (real, best, report) = (text(real), text(&best), text(&report));
        let fixed = ["evaluate", "--real", real, "--weights", best];
        let rest = ["--out", report, "--resamples", "20", "--device", "cpu"];
        let all = [&fixed[..], &rest, more].concat();
        all.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let words = |arguments: &[String]| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        String::from_utf8_lossy(&succeed(&arguments).stderr).into_owned()
    };
    let others = [
        "--training",
        text(&training),
        "--auxiliary",
        text(&development),
    ];
    // The side of the maps is taken from the manifest.
    let told = words(&evaluate(&validation, &others));
    assert!(!told.contains("warning"), "{told}");
    let metrics: Metrics = serde_json::from_slice(&bits(&report, "metrics.json")).unwrap();
    assert_eq!(metrics.side_degrees, 12_f64.sqrt() / 4.0);
    assert_eq!(metrics.origins["training maps of the weights"], provenance);
    assert_eq!(metrics.origins["training maps"], provenance);
    assert_eq!(seeds(&metrics.origins["real maps"]), [2]);
    assert_eq!(seeds(&metrics.origins["auxiliary maps"]), [3]);
    assert_eq!(
        seeds(&metrics.origins["development maps of the weights"]),
        [3]
    );
    let page = String::from_utf8(bits(&report, "report.html")).unwrap();
    assert!(page.contains("boxes of seeds 0–1 of 128 Mpc/h"));

    // Dependences that only cause warnings.
    let close = [
        "--auxiliary",
        text(&development),
        "--training",
        text(&validation),
    ];
    let told = words(&evaluate(&development, &close));
    for warning in [
        "seed 3, by which the generator was selected",
        "share the box with seed 3",
        "not the file that the weights were trained on",
    ] {
        assert!(told.contains(warning), "{told}");
    }
    let refuse = |real: &Path, more: &[&str], status, needles: &[&str]| {
        let arguments = evaluate(real, more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        refused(&arguments, status, needles);
    };
    let seen = [
        "training.npy",
        "the box with seed 0",
        "generator was trained",
        "other boxes",
    ];
    refuse(&training, &[], 1, &seen);
    let narrow = ["--side-degrees", "0.5"];
    refuse(
        &validation,
        &narrow,
        2,
        &["--side-degrees", "0.866", "omit the flag"],
    );
}

#[test]
fn a_manifest_is_held_against_its_file() {
    let setting = Setting::new();
    let training = setting.data.join("training.npy");
    let manifest = setting.data.join("dataset.json");
    let (whole, maps) = (
        fs::read_to_string(&manifest).unwrap(),
        fs::read(&training).unwrap(),
    );
    let run = setting.path("run");
    let refuse = |more: &[&str], needles: &[&str]| {
        let arguments = [&["--steps", "1"], more].concat();
        refused(&setting.train(&training, &run, &arguments), 1, needles);
        assert!(!run.join("checkpoint.safetensors").exists());
    };
    let with = |content: &str, needles: &[&str]| {
        fs::write(&manifest, content).unwrap();
        refuse(&[], &[&["dataset.json"], needles].concat());
    };
    with(
        &whole[..whole.len() / 2],
        &["is damaged", "cosmogan dataset"],
    );
    with(
        &whole.replace("dataset 1", "dataset 2"),
        &["`cosmogan dataset 2`"],
    );
    with(
        &whole.replace("\"version\"", "\"vision\""),
        &["is damaged", "`version`"],
    );
    with(
        &whole.replace("\"maps_per_box\": 3", "\"maps_per_box\": 4"),
        &["is damaged", "2 boxes", "30 crops"],
    );
    let fewer = whole
        .replace("\"maps_per_box\": 3", "\"maps_per_box\": 2")
        .replace("\"crops\": 30", "\"crops\": 20")
        .replace("\"crops\": 15", "\"crops\": 10");
    with(&fewer, &["training.npy", "30 maps of 16×16", "20 of 16×16"]);

    fs::write(&manifest, &whole).unwrap();
    let mut changed = maps.clone();
    let last = changed.len() - 3;
    changed[last] ^= 1;
    fs::write(&training, &changed).unwrap();
    refuse(
        &[],
        &[
            "training.npy",
            "dataset.json",
            "SHA-256",
            "create the data set again",
        ],
    );
    fs::write(&training, &maps).unwrap();
    refuse(
        &["--select", text(&training)],
        &["training.npy", "box of seed 0", "--select"],
    );

    // A file that the manifest does not list, and a manifest of another program.
    let renamed = setting.data.join("maps.npy");
    fs::copy(&training, &renamed).unwrap();
    succeed(&setting.train(&renamed, &run, &["--steps", "1"]));
    assert_eq!(of_checkpoint(&run), None);
    fs::write(&manifest, "{\"name\": \"mnist\"}").unwrap();
    let other = setting.path("other");
    succeed(&setting.train(&training, &other, &["--steps", "1"]));
    assert_eq!(of_checkpoint(&other), None);
}
