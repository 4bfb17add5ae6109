//! PyTorch's golden training steps are reproduced.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its data has failed"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::support::{refused, run, succeed, text};
use cosmogan::model::tensor_file::TensorFile;
use cosmogan::model::weights::read_file;
use cosmogan::verify::{Outcome, reference};
use cosmogan_engine::backend::cpu::CpuBackend;
use cosmogan_engine::backend::launch::LaunchBackend;
use cosmogan_engine::backend::simt::SimtLauncher;
use cosmogan_engine::backend::{Backend, Precision};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../oracle/golden")
}

fn reproduces_the_golden_sets(backend: &Arc<dyn Backend>) {
    let sets = reference::find(&golden()).unwrap();
    assert_eq!(sets.len(), 2);
    for set in sets {
        let mut checks = Vec::new();
        set.check(backend, None, &mut checks).unwrap();
        // Four forward passes, the losses of three steps, the gradients of one, three kinds of state after two steps.
        assert_eq!(checks.len(), 4 + 3 + 1 + 6);
        for check in checks {
            assert!(check.passed, "{check:?}");
        }
    }
}

#[test]
fn golden_sets_are_reproduced() {
    reproduces_the_golden_sets(&(Arc::new(CpuBackend::new()) as Arc<dyn Backend>));
}

/// On the kernel executor (`simt`), which checks every access. The second and third step replay a recorded step.
#[test]
fn golden_sets_are_reproduced_by_the_kernels() {
    let launcher = Arc::new(SimtLauncher::new(4).unwrap());
    let backend = LaunchBackend::new(launcher, Precision::F32).unwrap();
    reproduces_the_golden_sets(&(Arc::new(backend) as Arc<dyn Backend>));
}

/// Forward passes, first losses and first gradients of a set on a device, by name.
fn first_step(
    set: &reference::ReferenceSet,
    backend: Arc<dyn Backend>,
) -> BTreeMap<String, Vec<f64>> {
    let folder = tempfile::tempdir().unwrap();
    set.check(&backend, Some(folder.path()), &mut Vec::new())
        .unwrap();
    let mut computed = BTreeMap::new();
    for part in ["forward", "train"] {
        let path = folder.path().join(format!("two_{part}.safetensors"));
        let bytes = read_file(&path).unwrap();
        let file = TensorFile::parse(&path, &bytes).unwrap();
        let of_first_step = |name: &&str| {
            part == "forward"
                || name.starts_with("step1") && name.contains("loss")
                || name.starts_with("step1.grad")
        };
        for name in file.names().into_iter().filter(of_first_step) {
            let (_, values) = file.get(name).unwrap().unwrap();
            computed.insert(name.to_owned(), values.to_vec());
        }
    }
    computed
}

/// ‖a − b‖ / ‖b‖.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let squares =
        |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let difference = squares(&mut a.iter().zip(b).map(|(a, b)| a - b));
    (difference / squares(&mut b.iter().copied())).sqrt()
}

/// A training step in bf16 multiplies the same operands on the CPU as in the kernels, which round some operands when
/// they are written and not when they are read: in the median over tensors, the difference between the two devices is
/// less than a tenth of that between bf16 and f32. (Not in every tensor: if sums in another order differ in the last
/// bit, an operand may round to its other neighbour.)
#[test]
fn the_processor_rounds_a_training_step_as_the_kernels_do() {
    let sets = reference::find(&golden()).unwrap();
    let set = sets.last().unwrap();
    let emulated = first_step(
        set,
        Arc::new(CpuBackend::new().multiplying(Precision::Bf16)),
    );
    let exact = first_step(set, Arc::new(CpuBackend::new()));
    let launcher = Arc::new(SimtLauncher::new(4).unwrap());
    let kernels = first_step(
        set,
        Arc::new(LaunchBackend::new(launcher, Precision::Bf16).unwrap()),
    );
    let distances = kernels.iter().map(|(name, kernels)| {
        [
            distance(&emulated[name], kernels),
            distance(&exact[name], kernels),
        ]
    });
    // The gradients of biases that batch normalisation cancels consist of rounding errors.
    let distances: Vec<[f64; 2]> = distances
        .filter(|[_, changed]| *changed > 1e-5 && *changed < 1.0)
        .collect();
    for [between, changed] in &distances {
        println!("{between:.1e} between the devices, {changed:.1e} by bf16");
    }
    let mut shares: Vec<f64> = distances
        .iter()
        .map(|[between, changed]| between / changed)
        .collect();
    shares.sort_by(f64::total_cmp);
    assert!(shares.len() > 15, "{shares:?}");
    assert!(shares[shares.len() / 2] < 0.1, "{shares:?}");
}

/// Copies the golden set `two` and changes one byte in the middle of a tensor of one file.
fn damaged(folder: &Path, part: &str, tensor: &str) {
    for entry in fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("two_") {
            fs::write(folder.join(name), fs::read(&path).unwrap()).unwrap();
        }
    }
    let path = folder.join(format!("two_{part}.safetensors"));
    let mut bytes = read_file(&path).unwrap();
    let needle = {
        let file = TensorFile::parse(&path, &bytes).unwrap();
        let (_, values) = file.get(tensor).unwrap().unwrap();
        let largest = values
            .iter()
            .copied()
            .fold(0.0, |a: f64, b| if b.abs() > a.abs() { b } else { a });
        largest.to_le_bytes()
    };
    let position = bytes
        .windows(8)
        .position(|window| window == needle)
        .unwrap();
    // The lowest bit of the exponent: the value doubles or halves.
    bytes[position + 6] ^= 0x10;
    fs::write(&path, bytes).unwrap();
}

#[test]
fn a_wrong_reference_is_noticed() {
    for (part, tensor) in [
        ("forward", "generator_eval"),
        ("forward", "discriminator_train_logits"),
        ("train", "step1.grad.generator.deconv1.weight"),
        ("train", "step2.g_loss"),
        ("train", "step3.discriminator.bn1.running_var"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        damaged(folder.path(), part, tensor);
        let output = run(&["verify", "--reference", text(folder.path())]);
        assert_eq!(output.status.code(), Some(1), "{tensor}");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert_eq!(printed.matches("FAIL").count(), 1, "{tensor}: {printed}");
    }
}

/// An error in one set keeps the other set, and the checks of its own set before it.
#[test]
fn a_damaged_set_costs_itself_alone() {
    for (part, rows) in [("data.npy", 0), ("forward.safetensors", 0), ("train", 5)] {
        let folder = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(golden()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_file() && name != format!("four_{part}") {
                fs::copy(&path, folder.path().join(name)).unwrap();
            }
        }
        if part == "train" {
            renamed(
                &folder.path().join("four_train.safetensors"),
                "step2.g_loss",
            );
        }
        let json = folder.path().join("table.json");
        let arguments = ["verify", "--device", "cpu", "--json", text(&json)];
        let arguments = [&arguments[..], &["--reference", text(folder.path())]].concat();
        refused(&arguments, 1, &["1 of", "checks failed"]);
        let outcome: Outcome = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
        assert!(outcome.complete && !outcome.passed);
        let of = |prefix: &'static str| {
            outcome
                .checks
                .iter()
                .filter(move |row| row.subject.starts_with(prefix))
        };
        assert_eq!(of("two: ").filter(|row| row.passed).count(), 14);
        let failed: Vec<_> = of("four").filter(|row| !row.passed).collect();
        assert!(
            of("four: ").filter(|row| row.passed).count() >= rows,
            "{part}"
        );
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].subject, "four");
        let failure = failed[0].failure.as_ref().unwrap();
        assert!(failure.contains(&format!("four_{part}")), "{failure}");
    }
}

/// Changes the last letter of a tensor's name, so that it is missing.
fn renamed(path: &Path, tensor: &str) {
    let mut bytes = fs::read(path).unwrap();
    let name = format!("\"{tensor}\"");
    let place = bytes
        .windows(name.len())
        .position(|window| window == name.as_bytes());
    bytes[place.unwrap() + tensor.len()] = b'X';
    fs::write(path, bytes).unwrap();
}

#[test]
fn the_dump_has_the_references_names_and_extents() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump");
    succeed(&[
        "verify",
        "--reference",
        text(&golden()),
        "--dump",
        text(&dump),
    ]);
    for prefix in ["two", "four"] {
        for part in ["forward", "train"] {
            let name = format!("{prefix}_{part}.safetensors");
            let (ours, theirs) = (dump.join(&name), golden().join(&name));
            let (our_bytes, their_bytes) = (read_file(&ours).unwrap(), read_file(&theirs).unwrap());
            let ours = TensorFile::parse(&ours, &our_bytes).unwrap();
            let theirs = TensorFile::parse(&theirs, &their_bytes).unwrap();
            let sorted = |file: &TensorFile<'_>| {
                let mut names: Vec<_> = file.names().into_iter().map(str::to_owned).collect();
                names.sort();
                names
            };
            assert_eq!(sorted(&ours), sorted(&theirs), "{name}");
            for tensor in theirs.names() {
                assert_eq!(
                    ours.get(tensor).unwrap().unwrap().0,
                    theirs.get(tensor).unwrap().unwrap().0,
                    "{tensor}"
                );
            }
        }
    }
}
