//! Profiles describe the operators that ran and are consistent; bad input is rejected before the work begins.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its data has failed"
)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::support::{SMALL_CONFIG, cosmogan, refused, succeed, text};
use cosmogan::model::{Network, NetworkKind, Preset};
use cosmogan::profile::{Profile, compare};
use cosmogan::train::{RealMaps, StepInputs, Trainer};
use cosmogan_engine::backend::Backend;
use cosmogan_engine::backend::cpu::CpuBackend;
use cosmogan_engine::profile::Profiled;
use serde_json::Value;

/// A folder with a configuration in it.
fn workplace() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("small.toml");
    fs::write(&config, SMALL_CONFIG).unwrap();
    let config = text(&config).to_owned();
    (folder, config)
}

fn read(path: &Path) -> Profile {
    Profile::from_json(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_profile_agrees_with_itself() {
    let (folder, config) = workplace();
    let file = |name: &str| folder.path().join(name);
    let (json, trace, plot) = (file("p.json"), file("t.json"), file("p.svg"));
    let mut arguments = vec!["profile", "step", "--device", "cpu", "--config", &config];
    arguments.extend(["--batch", "4", "--repeats", "4", "--json", text(&json)]);
    arguments.extend(["--trace", text(&trace), "--plot", text(&plot)]);
    let output = succeed(&arguments);
    let table = String::from_utf8(output.stdout).unwrap();
    for words in [
        "step on cpu",
        "verified in this run",
        "ceilings: matrix product",
        "clocks:",
        "dgrad 8→4 at 8²",
        "one pass takes",
        "its floor",
        "most of the gap is in",
    ] {
        assert!(table.contains(words), "{words} is not in: {table}");
    }

    let profile = read(&json);
    assert!(profile.verified.as_ref().unwrap().worst <= 1.0);
    let all = profile.profiled_seconds().unwrap();
    let shares: f64 = profile.rows.iter().filter_map(|row| row.share).sum();
    let outside = profile.outside_seconds.unwrap() / all;
    assert!((shares + outside - 1.0).abs() < 1e-9);
    let floor: f64 = profile
        .rows
        .iter()
        .filter_map(|row| row.reachable_seconds())
        .sum();
    assert!((profile.floor_seconds.unwrap() - floor).abs() < 1e-12);
    let ceilings = profile.ceilings.as_ref().unwrap();
    for row in &profile.rows {
        assert_eq!(row.samples.len(), 4, "{}", row.operator);
        assert!(row.calls > 0 && row.bytes > 0.0 && row.multiplied <= row.operations);
        let limit = (row.operations / ceilings.product.per_second)
            .max(row.bytes / ceilings.copy.per_second);
        assert!((row.limit_seconds.unwrap() / limit - 1.0).abs() < 1e-9);
    }
    // A dgrad is the forward pass of the generator's transposed convolution, and the discriminator's gradient with
    // respect to its input: real maps need no such gradient, generated ones need it for both losses.
    let row = profile
        .rows
        .iter()
        .find(|row| row.operator == "dgrad 8→4 at 8²")
        .unwrap();
    assert_eq!(
        row.shape,
        "n=4 h=8 w=8 c=4 k=8 kernel=5x5 stride=2x2 pad=1,1,2,2"
    );
    assert_eq!(
        row.operations,
        row.calls as f64 * 2.0 * (4 * 4 * 4 * 8) as f64 * (25 * 4) as f64
    );

    let trace: Value = serde_json::from_str(&fs::read_to_string(&trace).unwrap()).unwrap();
    let events: Vec<&Value> = trace["traceEvents"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["ph"] == "X")
        .collect();
    let calls: usize = profile.rows.iter().map(|row| row.calls).sum();
    assert_eq!(events.len(), calls);
    let mut end = 0.0;
    for event in events {
        let name = event["name"].as_str().unwrap();
        assert!(
            profile.rows.iter().any(|row| row.operator == name),
            "{name}"
        );
        // Operators do not overlap.
        let start = event["ts"].as_f64().unwrap();
        assert!(start >= end - 1e-3);
        end = start + event["dur"].as_f64().unwrap();
    }
    let svg = fs::read_to_string(&plot).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("arithmetic intensity"));
}

#[test]
fn generator_and_discriminator_run_their_own_operators() {
    let (folder, config) = workplace();
    let json = folder.path().join("p.json");
    let run = |what: &str| {
        let base = [
            "profile",
            what,
            "--device",
            "cpu",
            "--config",
            &config,
            "--repeats",
            "2",
        ];
        succeed(&[&base[..], &["--batch", "3", "--json", text(&json)]].concat());
        let mut names: Vec<String> = read(&json)
            .rows
            .into_iter()
            .map(|row| row.operator)
            .collect();
        names.sort();
        names
    };
    // The embeddable generator: normalisation is folded into the weights.
    let generator = ["dgrad 4→1 at 16²", "dgrad 8→4 at 8²", "linear 8→128"];
    assert_eq!(run("generator"), generator);
    let discriminator = [
        "fprop 1→4 at 16²",
        "fprop 4→8 at 8²",
        "leaky_relu 4 at 8²",
        "linear 128→1",
        "normalise 8 at 4²",
    ];
    assert_eq!(run("discriminator"), discriminator);
}

/// Results have the same bits with and without a profiler.
#[test]
fn a_profiler_changes_nothing() {
    let config = Preset::Tiny.model();
    let maps: Vec<f32> = (0..4 * 64 * 64).map(|i| (i as f32 * 0.37).sin()).collect();
    let latents: Vec<f32> = (0..4 * 64).map(|i| (i as f32 * 0.61).cos()).collect();
    let losses = |backend: &Arc<dyn Backend>| -> Vec<u32> {
        let network = |kind| Network::initial(kind, config, 3, backend).unwrap();
        let adam = Preset::Tiny.training().adam();
        let (generator, discriminator) = (
            network(NetworkKind::Generator),
            network(NetworkKind::Discriminator),
        );
        let mut trainer = Trainer::new(generator, discriminator, adam).unwrap();
        let mut all = Vec::new();
        for flip_labels in [false, true, false] {
            let inputs = StepInputs {
                maps: RealMaps::Values(&maps),
                latents: &latents,
                flip_labels,
            };
            let report = trainer.step(inputs).unwrap().report;
            all.extend([report.d_loss_real, report.d_loss_fake, report.g_loss]);
            all.extend(report.fake_logits);
        }
        all.into_iter().map(f32::to_bits).collect()
    };
    let plain: Arc<dyn Backend> = Arc::new(CpuBackend::new());
    let device = Arc::new(Profiled::on_processor(Arc::new(CpuBackend::new())));
    let profiled: Arc<dyn Backend> = device.clone();
    device.start();
    assert_eq!(losses(&plain), losses(&profiled));
    assert!(!device.finish().unwrap().is_empty());
}

#[test]
fn launches_are_counted_where_time_means_nothing() {
    let (folder, config) = workplace();
    let json = folder.path().join("p.json");
    let base = [
        "profile",
        "--device",
        "simt",
        "--precision",
        "bf16",
        "--config",
        &config,
    ];
    let output = succeed(&[&base[..], &["--batch", "4", "--json", text(&json)]].concat());
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(
        table.contains("launches counted, not run and not timed"),
        "{table}"
    );
    let profile = read(&json);
    assert!(profile.ceilings.is_none() && profile.seconds.is_none());
    assert!(
        profile
            .rows
            .iter()
            .all(|row| row.seconds.is_none() && row.kernel.is_some())
    );
    let launches = |name: &str| -> usize {
        let rows = profile.rows.iter();
        let mine = rows.filter(|row| {
            row.kernel
                .as_ref()
                .is_some_and(|kernel| kernel.name == name)
        });
        mine.map(|row| row.calls).sum()
    };
    // One Adam launch for all tensors of both networks. A single-channel dgrad is the forward pass of the generator's
    // last layer, and the gradient with respect to the generated maps.
    assert_eq!(launches("adam"), 1);
    assert_eq!(launches("single_channel_dgrad"), 2);
    // Statistics and activations are fused into GEMMs, except for the generator's first normalisation, which follows a
    // linear layer.
    assert_eq!(launches("batch_norm_slices"), 1);
    // One launch combines the discriminator's statistics of real and of generated maps.
    assert_eq!(launches("batch_norm_combine"), 3);
    // Real and generated maps are copied into one batch, and so are the gradients of their logits.
    assert_eq!(launches("copy"), 4);
    assert_eq!(launches("leaky_relu") + launches("hyperbolic_tangent"), 0);
    // No activations are packed separately, neither for the GEMM that reads them first nor for a weight gradient; fprop
    // packs weights by the other kernel.
    let packs = profile.rows.iter().filter(|row| {
        let kernel = row.kernel.as_ref();
        kernel.is_some_and(|kernel| kernel.name == "pack_rows")
    });
    for row in packs {
        let images = ["fprop", "wgrad"].map(|product| row.operator.starts_with(product));
        assert_eq!(images, [false; 2], "{}", row.operator);
    }
    // Matrix-vector products are not tiled.
    assert!(table.contains("plain kernels run at linear_"), "{table}");
    for flag in ["--cold", "--trace", "--plot"] {
        let value = folder.path().join("file.svg");
        let value = if flag == "--cold" {
            &[][..]
        } else {
            &[text(&value)]
        };
        refused(&[&base[..], &[flag], value].concat(), 2, &[flag, "simt"]);
    }
}

#[test]
fn one_operator_runs_alone_and_is_compared() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("p.json");
    let shape = "n=2 h=16 w=16 c=16 k=32";
    let base = [
        "profile", "--device", "cpu", "--kernel", "wgrad", "--shape", shape,
    ];
    let base = [&base[..], &["--repeats", "5"]].concat();
    let output = succeed(&[&base[..], &["--json", text(&json), "--cold"]].concat());
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(
        table.contains("wgrad 16→32 at 16²") && table.contains("minimal filtering"),
        "{table}"
    );
    let profile = read(&json);
    assert_eq!(profile.rows.len(), 1);
    assert!((profile.rows[0].multiplied / profile.rows[0].operations - 121.0 / 400.0).abs() < 1e-9);

    let output = succeed(&[&base[..], &["--cold", "--compare", text(&json)]].concat());
    let text_of = String::from_utf8(output.stdout).unwrap();
    assert!(text_of.contains("compared with") && text_of.contains("measured peaks: GEMM"));
    // Profiles with warm and with cold caches are not comparable.
    let refuse_comparison = |path: &Path, needles: &[&str]| {
        let arguments = [&base[..], &["--compare", text(path)]].concat();
        refused(&arguments, 1, needles);
    };
    refuse_comparison(&json, &["p.json", "caches", "cold", "warm"]);

    let mut slower = profile.clone();
    slower.rows[0].seconds = profile.rows[0].seconds.map(|seconds| 2.0 * seconds);
    slower.rows[0].noise = Some(0.01);
    let mut calm = profile.clone();
    calm.rows[0].noise = Some(0.01);
    let words = compare(&calm, &slower).unwrap();
    assert!(words.contains("slower: 1\n  wgrad 16→32 at 16²"), "{words}");
    let words = compare(&slower, &calm).unwrap();
    assert!(
        words.contains("faster: 1") && words.contains("slower: 0"),
        "{words}"
    );
    // The difference is within noise as large as this.
    slower.rows[0].noise = Some(0.5);
    assert!(compare(&calm, &slower).unwrap().contains("within noise: 1"));
    slower.device = "an abacus".to_owned();
    assert!(compare(&slower, &calm).unwrap_err().contains("an abacus"));

    let bad = folder.path().join("bad.json");
    for (contents, needle) in [
        ("", "not JSON"),
        ("{}", "not a profile"),
        ("{\"format\": 2}", "format 2"),
        ("{\"format\": 1}", "not a profile"),
    ] {
        fs::write(&bad, contents).unwrap();
        refuse_comparison(&bad, &["bad.json", needle]);
    }
    refuse_comparison(&folder.path().join("none.json"), &["none.json"]);
}

#[test]
fn bad_input_is_refused_before_the_work_begins() {
    let (folder, config) = workplace();
    let base = [
        "profile", "--device", "cpu", "--config", &config, "--batch", "4",
    ];
    for flag in ["--trace", "--json", "--plot"] {
        let path = if flag == "--plot" {
            "/proc/none/p.png"
        } else {
            "/proc/none/p.json"
        };
        let arguments = [&base[..], &[flag, path]].concat();
        refused(&arguments, 1, &["/proc/none"]);
        let output = cosmogan().args(&arguments).output().unwrap();
        assert!(!String::from_utf8_lossy(&output.stderr).contains("verifying"));
        assert!(output.stdout.is_empty());
    }
    refused(
        &[&base[..], &["--plot", "p.jpg"]].concat(),
        2,
        &["--plot", ".svg"],
    );
    refused(
        &[&base[..], &["--repeats", "0"]].concat(),
        2,
        &["--repeats"],
    );
    refused(&["profile", "--batch", "0"], 2, &["--batch"]);
    refused(&["profile", "--batch", "1"], 2, &["--batch", "2"]);
    refused(&["profile", "everything"], 2, &["everything", "generator"]);
    refused(
        &["profile", "--device", "cpu", "--precision", "bf16"],
        2,
        &["--precision"],
    );
    let generator = [
        "profile",
        "generator",
        "--device",
        "cpu",
        "--config",
        &config,
        "--cold",
    ];
    refused(&generator, 2, &["--cold", "depth first"]);

    let kernel = |name: &str, shape: &str, needles: &[&str]| {
        let arguments = [
            "profile", "--device", "cpu", "--kernel", name, "--shape", shape,
        ];
        refused(&arguments, 2, needles);
    };
    kernel("dgrda", "", &["--kernel", "dgrda", "fprop, dgrad"]);
    kernel(
        "conv_dgrad_tiled",
        "",
        &["GPU kernel", "--device cuda", "dgrad"],
    );
    kernel(
        "dgrad",
        "n=2 h=64 w=64 c=3",
        &["--shape", "`k=` is missing", "n=8 h=64"],
    );
    kernel("adam", "n=2", &["--shape", "`length=` is missing"]);
    let vast = "n=200000 h=1000 w=1000 c=8";
    kernel("relu", vast, &["--shape", "GiB of memory"]);
    kernel("linear", "8 64", &["--shape", "`8` is not NAME=VALUE"]);
    refused(&["profile", "--shape", "n=2"], 2, &["--kernel"]);
    refused(&["profile", "step", "--kernel", "add"], 2, &["--kernel"]);

    let out = folder.path().join("listing");
    let dump = [
        "profile",
        "--dump",
        "ptx",
        "--out",
        text(&out),
        "--kernel",
        "nothing",
    ];
    refused(&dump, 2, &["--kernel", "nothing", "conv_fprop_tiled"]);
    refused(
        &["profile", "--dump", "ptx", "--device", "cpu"],
        2,
        &["--dump", "--device"],
    );
    let output = cosmogan()
        .args(["profile", "--dump", "sass", "--out", text(&out)])
        .env("PATH", folder.path())
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        complaint.contains("neither nvdisasm nor cuobjdump is on PATH"),
        "{complaint}"
    );
    assert!(!out.exists());
}
