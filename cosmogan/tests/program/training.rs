//! Training runs of the binary give the same bits, however they are interrupted and resumed.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its data has failed"
)]

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use cosmogan::data::MapSet;
use cosmogan::model::preset::with_overrides;
use cosmogan::model::tensor_file::TensorFile;
use cosmogan::model::{Network, NetworkKind, Preset};
use cosmogan_engine::backend::Backend;
use cosmogan_engine::backend::cpu::CpuBackend;

use crate::support::{cosmogan, small_run, succeed, text, write_npy};

const STEPS: &str = "120";

/// Weights, checkpoint and log of a run, without the log's times.
fn result(run: &Path) -> ([Vec<u8>; 3], Vec<serde_json::Value>) {
    let log = fs::read_to_string(run.join("log.jsonl")).unwrap();
    let lines = log
        .lines()
        .map(|line| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            // How fast and by which launches a step ran is not part of its result.
            for key in ["maps_per_second", "recorded"] {
                line.as_object_mut().unwrap().remove(key);
            }
            line
        })
        .collect();
    let weights = ["checkpoint", "generator", "average"];
    let weights = weights.map(|name| fs::read(run.join(format!("{name}.safetensors"))).unwrap());
    (weights, lines)
}

fn arguments<'a>(config: &'a Path, data: &'a Path, run: &'a Path, steps: &'a str) -> Vec<&'a str> {
    vec![
        "train",
        "--config",
        text(config),
        "--data",
        text(data),
        "--out",
        text(run),
        "--steps",
        steps,
        "--seed",
        "3",
        "--average",
        "0.9",
    ]
}

fn resumed(mut arguments: Vec<&str>) -> Vec<&str> {
    arguments.push("--resume");
    arguments
}

/// Starts a run and waits until its log has at least `lines` lines.
fn start_and_wait(arguments: &[&str], run: &Path, lines: usize) -> Child {
    let mut child = cosmogan()
        .args(arguments)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    loop {
        let written = fs::read_to_string(run.join("log.jsonl")).unwrap_or_default();
        if written.lines().count() >= lines {
            return child;
        }
        assert!(
            child.try_wait().unwrap().is_none(),
            "the run ended before {lines} lines"
        );
        assert!(started.elapsed() < Duration::from_secs(120));
        sleep(Duration::from_millis(2));
    }
}

#[test]
fn resumed_and_killed_runs_give_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    // 22 maps in batches of 4: two maps are left over at the end of an epoch.
    let (config, data) = small_run(folder.path(), 22);
    let whole = folder.path().join("whole");
    succeed(&arguments(&config, &data, &whole, STEPS));
    let expected = result(&whole);
    assert_eq!(expected.1.len(), 120);

    let halves = folder.path().join("halves");
    succeed(&arguments(&config, &data, &halves, "63"));
    succeed(&resumed(arguments(&config, &data, &halves, STEPS)));
    assert_eq!(result(&halves), expected);

    let killed = folder.path().join("killed");
    let mut child = start_and_wait(&arguments(&config, &data, &killed, STEPS), &killed, 31);
    child.kill().unwrap();
    child.wait().unwrap();
    succeed(&resumed(arguments(&config, &data, &killed, STEPS)));
    assert_eq!(result(&killed), expected);
}

/// On the kernel executor (`simt`): an uninterrupted run replays a recorded step for all steps but the first; a run
/// resumed after every step replays none, and runs its threads in another order each time.
#[test]
fn recorded_steps_give_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = small_run(folder.path(), 8);
    let on = |run: &Path, steps: &str, device: &str| {
        let mut arguments = resumed(arguments(&config, &data, run, steps));
        arguments.extend(["--device", device]);
        succeed(&arguments);
    };
    let (whole, pieces) = (folder.path().join("whole"), folder.path().join("pieces"));
    on(&whole, "4", "simt");
    for (steps, device) in [
        ("1", "simt:1"),
        ("2", "simt:2"),
        ("3", "simt:3"),
        ("4", "simt:4"),
    ] {
        on(&pieces, steps, device);
    }
    assert_eq!(result(&pieces), result(&whole));
}

/// The program does not wait for steps that are not logged; on the executor they are replayed as well.
#[test]
fn steps_that_are_not_looked_at_give_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    // An epoch has two steps, and the run is saved at its end.
    let (config, data) = small_run(folder.path(), 16);
    for (device, steps) in [("cpu", "11"), ("simt", "5")] {
        let run = |every: &str| {
            let run = folder.path().join(format!("{device}-{every}"));
            let mut arguments = arguments(&config, &data, &run, steps);
            arguments.extend(["--device", device, "--log-every", every]);
            succeed(&arguments);
            result(&run)
        };
        let (all, some) = (run("1"), run("3"));
        assert_eq!(all.0, some.0);
        let last: u64 = steps.parse().unwrap();
        let is_logged = |line: &serde_json::Value| {
            let step = line["step"].as_u64().unwrap();
            step.is_multiple_of(3) || step == last
        };
        let expected: Vec<_> = all.1.into_iter().filter(is_logged).collect();
        assert_eq!(some.1, expected);
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_resume_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = small_run(folder.path(), 64);
    let whole = folder.path().join("whole");
    succeed(&arguments(&config, &data, &whole, "2000"));
    let stopped = folder.path().join("stopped");
    let mut child = start_and_wait(&arguments(&config, &data, &stopped, "2000"), &stopped, 5);
    let interrupt = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupt.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let lines = result(&stopped).1.len();
    assert!((5..2000).contains(&lines), "stopped after {lines} steps");
    // Without flags, the settings of the run apply.
    succeed(&[
        "train",
        "--data",
        text(&data),
        "--out",
        text(&stopped),
        "--steps",
        "2000",
        "--resume",
    ]);
    assert_eq!(result(&stopped), result(&whole));
}

#[test]
fn a_seed_means_the_same_maps_in_any_batch_and_count() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = small_run(folder.path(), 8);
    let run = folder.path().join("run");
    succeed(&arguments(&config, &data, &run, "3"));
    let weights = run.join("generator.safetensors");
    let maps = |count: &str, batch: &str| {
        let out = folder.path().join(format!("maps-{count}-{batch}.npy"));
        succeed(&[
            "generate",
            "--weights",
            text(&weights),
            "--count",
            count,
            "--seed",
            "9",
            "--batch",
            batch,
            "--out",
            text(&out),
        ]);
        cosmogan::data::MapSet::read(&out)
            .unwrap()
            .values()
            .to_vec()
    };
    let expected = maps("37", "16");
    assert_eq!(expected.len(), 37 * 16 * 16);
    for (count, batch) in [
        ("37", "1"),
        ("37", "5"),
        ("37", "64"),
        ("3", "2"),
        ("1", "16"),
    ] {
        let found = maps(count, batch);
        assert_eq!(
            found[..],
            expected[..found.len()],
            "--count {count} --batch {batch}"
        );
    }
}

/// `map_scale` rescales the layers next to the maps and no others: the discriminator's loss on scaled maps is that on
/// larger maps, and Adam's first step moves some weight of each tensor by very nearly its scaled learning rate.
#[test]
fn small_maps_are_learnt_as_if_they_were_larger() {
    const SCALE: f32 = 8.0;
    const LEARNING_RATE: f64 = 2e-4;
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = small_run(folder.path(), 8);
    let larger = folder.path().join("larger.npy");
    let maps = MapSet::read(&data).unwrap();
    let values: Vec<f32> = maps.values().iter().map(|value| SCALE * value).collect();
    write_npy(&larger, "(8, 16, 16)", &values);
    let scaled = folder.path().join("scaled.toml");
    let plain = fs::read_to_string(&config).unwrap();
    fs::write(&scaled, format!("{plain}map_scale = {SCALE:.1}\n")).unwrap();

    let run = |name: &str, config: &Path, data: &Path| {
        let run = folder.path().join(name);
        succeed(
            &[
                &arguments(config, data, &run, "1")[..],
                &["--device", "cpu"],
            ]
            .concat(),
        );
        let checkpoint = run.join("checkpoint.safetensors");
        (result(&run).1[0]["d_loss_real"].clone(), checkpoint)
    };
    let (seen_of_larger, _) = run("larger", &config, &larger);
    let (seen, checkpoint) = run("scaled", &scaled, &data);
    assert_eq!(seen, seen_of_larger);

    let bytes = fs::read(&checkpoint).unwrap();
    let after = TensorFile::parse(&checkpoint, &bytes).unwrap();
    let backend: Arc<dyn Backend> = Arc::new(CpuBackend::new());
    let (model, _) = with_overrides(Preset::Paper, &config).unwrap();
    for kind in [NetworkKind::Generator, NetworkKind::Discriminator] {
        let initial = Network::initial(kind, model, 3, &backend).unwrap();
        for (tensor, before) in initial.download().unwrap() {
            let factor = match tensor.name.as_str() {
                "conv0.weight" => SCALE,
                "deconv2.weight" | "deconv2.bias" => 1.0 / SCALE,
                _ => 1.0,
            };
            if !tensor.role.is_trained() {
                continue;
            }
            let name = format!("{}.{}", kind.name(), tensor.name);
            let after = after.expect(&name, &tensor.file_dims).unwrap();
            let steps = before.iter().zip(after);
            let steps = steps.map(|(before, after)| (f64::from(before * factor) - after).abs());
            let step = steps.fold(0.0, f64::max) / (LEARNING_RATE * f64::from(factor));
            // Weights near one are rounded to 2⁻²⁴, which is 3e-4 of a step.
            assert!((0.99..1.001).contains(&step), "{name}: {step} step sizes");
        }
    }
}
