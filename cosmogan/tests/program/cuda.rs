//! Messages on machines whose GPU, driver or compiler is missing, unsuitable, out of memory or faulty.
//!
//! Kernels of the mock driver do nothing, so results are wrong.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot prepare its files has failed"
)]

use std::process::Output;

use crate::machine::{Machine, expect_failure, expect_line, stderr};
use crate::support::text;

#[test]
fn a_gpu_is_taken_and_named() {
    let machine = Machine::new();
    let output = machine.train("run", &[], &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    expect_line(&output, &["computing on cuda:0 (Imaginary 0, sm_90), f32"]);
    // The first step is launched kernel by kernel, and the others are replayed, unless their labels are flipped.
    expect_line(&output, &["graph launched"]);
    // The labels of the second step are flipped: those steps are never replayed.
    assert_eq!(machine.recorded("run"), [false, false, true]);
    // All memory is freed.
    expect_line(&output, &["closed with 0 bytes in use"]);

    // Kernels are compiled once, for the architecture of the GPU; the second run compiles nothing.
    let entries = |machine: &Machine| machine.path("cache").read_dir().unwrap().count();
    let compiled = entries(&machine);
    assert!(compiled > 5);
    expect_line(&output, &["loaded"]);
    let again = machine.train("again", &["--device", "cuda:0"], &[]);
    assert!(again.status.success(), "{}", stderr(&again));
    assert_eq!(entries(&machine), compiled);
    let other = machine.train("other", &["--device", "cuda"], &[("FAKE_CAPABILITY", "80")]);
    expect_line(&other, &["loaded sm_80"]);
    assert_eq!(entries(&machine), 2 * compiled);

    let doctor = machine.run(&["doctor"], &[]);
    let report = String::from_utf8(doctor.stdout).unwrap();
    for words in [
        "CUDA 13.0",
        "Imaginary 0, compute capability 9.0",
        "plain, tiled, Hopper kernels",
        "libnvrtc.so.13",
        "auto means cuda:0",
    ] {
        assert!(report.contains(words), "{words} is not in: {report}");
    }
    for (capability, words) in [
        (
            "75",
            "plain kernels; no tiled ones: Imaginary 0 has compute capability 7.5",
        ),
        (
            "80",
            "plain, tiled kernels; no Hopper ones: Imaginary 0 has compute capability 8.0",
        ),
        ("61", "no kernels: the GPU has compute capability 6.1"),
    ] {
        let doctor = machine.run(&["doctor"], &[("FAKE_CAPABILITY", capability)]);
        let report = String::from_utf8(doctor.stdout).unwrap();
        assert!(report.contains(words), "{words} is not in: {report}");
    }
}

#[test]
fn a_device_number_that_does_not_exist() {
    let machine = Machine::new();
    let output = machine.train("run", &["--device", "cuda:3"], &[]);
    expect_failure(
        &output,
        &["--device cuda:3", "no GPU number 3", "reports 1"],
    );
    let output = machine.train("run", &["--device", "cuda"], &[("FAKE_GPUS", "0")]);
    expect_failure(
        &output,
        &["--device cuda:0", "reports no GPU", "nvidia-smi"],
    );
    // With --device auto, the program reports this and continues on the CPU.
    let output = machine.train("auto", &[], &[("FAKE_GPUS", "0")]);
    assert!(output.status.success(), "{}", stderr(&output));
    expect_line(&output, &["the GPU is not used", "reports no GPU"]);
}

#[test]
fn drivers_and_compilers_that_do_not_fit() {
    let machine = Machine::new();
    let old = machine.train("run", &["--device", "cuda"], &[("FAKE_DRIVER", "11040")]);
    expect_failure(&old, &["supports CUDA 11.4", "too old", "--device cpu"]);

    // The driver belongs to CUDA 12 and NVRTC to 13: its output would not load.
    let mixed = [("FAKE_DRIVER", "12080")];
    let output = machine.train("run", &["--device", "cuda"], &mixed);
    expect_failure(&output, &["CUDA 12", "13.0", "nvidia-cuda-nvrtc-cu12"]);
    // With --device auto, the program continues on the CPU.
    let output = machine.train("auto", &[], &mixed);
    assert!(output.status.success(), "{}", stderr(&output));
    expect_line(&output, &["the GPU is not used", "nvidia-cuda-nvrtc-cu12"]);

    let missing = [("COSMOGAN_NVRTC", "/nowhere/libnvrtc.so.13")];
    let output = machine.train("run", &["--device", "cuda"], &missing);
    expect_failure(&output, &["COSMOGAN_NVRTC", "/nowhere/libnvrtc.so.13"]);
}

#[test]
fn gpus_older_and_newer_than_the_compiler() {
    let machine = Machine::new();
    let new = machine.train("new", &["--device", "cuda"], &[("FAKE_CAPABILITY", "121")]);
    assert!(new.status.success(), "{}", stderr(&new));
    // PTX, which the driver compiles.
    expect_line(&new, &["loaded compute_90"]);
    let old = machine.train("old", &["--device", "cuda"], &[("FAKE_CAPABILITY", "61")]);
    expect_failure(&old, &["compute capability 6.1", "7.5", "--device cpu"]);
}

#[test]
fn a_gpu_without_tensor_cores_takes_the_plain_kernels() {
    let machine = Machine::new();
    let arguments = ["--device", "cuda", "--precision", "bf16"];
    let output = machine.train("run", &arguments, &[("FAKE_CAPABILITY", "75")]);
    assert!(output.status.success(), "{}", stderr(&output));
    expect_line(&output, &["computing in f32", "7.5", "8.0"]);
}

/// Hopper kernels run if the GPU and NVRTC support them and `--tier` allows them.
#[test]
fn hopper_kernels_are_taken_where_they_can_be() {
    const CASE: &str = "conv2d n=2 h=16 w=16 c=64 k=128 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=1";
    let verify = |machine: &Machine, tier: &str, capability: &str| {
        let arguments = [
            "verify",
            "--device",
            "cuda",
            "--precision",
            "bf16",
            "--case",
            CASE,
        ];
        let arguments = [&arguments[..], &["--tier", tier]].concat();
        let output = machine.run(&arguments, &[("FAKE_CAPABILITY", capability)]);
        let errors = stderr(&output);
        assert!(
            !errors.contains("panicked") && errors.contains("closed"),
            "{errors}"
        );
        // The kernels do nothing, so the verification fails.
        assert!(!output.status.success());
        ["loaded sm_90a", "described a tensor of 4 axes"].map(|words| errors.contains(words))
    };
    let machine = Machine::new();
    assert_eq!(verify(&machine, "auto", "90"), [true, true]);
    assert_eq!(verify(&machine, "tiled", "90"), [false, false]);
    assert_eq!(verify(&machine, "auto", "80"), [false, false]);
    // PTX for the newest architecture that NVRTC knows; the GPU does not have compute capability 9.0.
    assert_eq!(verify(&machine, "auto", "121"), [false, false]);
}

#[test]
fn memory_that_runs_out() {
    let machine = Machine::new();
    let output = machine.train("run", &["--device", "cuda"], &[("FAKE_MEMORY", "60000")]);
    let words = [
        "out of memory on Imaginary 0",
        "requested",
        "used",
        "free",
        "--batch",
    ];
    expect_failure(&output, &words);
    // A step that cannot be captured is launched kernel by kernel, and that is reported once.
    let output = machine.train(
        "plain",
        &["--device", "cuda"],
        &[("FAKE_CAPTURE_FAILS", "1")],
    );
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!stderr(&output).contains("graph launched"));
    let words =
        "launched kernel by kernel, which is slower: cannot capture a CUDA graph on Imaginary 0";
    assert_eq!(stderr(&output).matches(words).count(), 1);
    assert_eq!(machine.recorded("plain"), [false; 3]);
}

#[test]
fn a_kernel_that_fails() {
    let machine = Machine::new();
    let output = machine.train(
        "run",
        &["--device", "cuda"],
        &[("FAKE_LAUNCH_FAILS", "701")],
    );
    let words = [
        "cannot launch kernel ",
        "grid [",
        "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, 701",
    ];
    expect_failure(&output, &words);
    // The launch itself was refused: no earlier kernel is to blame.
    assert!(!stderr(&output).contains("a fault in"));
}

/// The compiled modules, each with its options.
fn compiled(output: &Output) -> Vec<String> {
    let errors = stderr(output);
    let lines = errors.lines().filter(|line| line.starts_with("compiled "));
    lines.map(str::to_owned).collect()
}

#[test]
fn nothing_is_compiled_twice_or_in_vain() {
    let machine = Machine::new();
    let old = machine.train("old", &["--device", "cuda"], &[("FAKE_CAPABILITY", "75")]);
    assert!(old.status.success(), "{}", stderr(&old));
    let modules = compiled(&old);
    assert!(!modules.is_empty());
    for module in modules {
        assert!(!module.contains("implicit_gemm"), "{module}");
    }
    assert!(compiled(&machine.run(&["doctor"], &[])).is_empty());

    let mut arguments = vec!["profile", "step", "--device", "cuda", "--no-verify"];
    arguments.extend(["--config", text(&machine.config), "--batch", "4"]);
    arguments.extend(["--repeats", "1"]);
    let first = machine.run(&arguments, &[]);
    assert!(first.status.success(), "{}", stderr(&first));
    let mut modules = compiled(&first);
    let count = modules.len();
    modules.sort();
    modules.dedup();
    assert_eq!(modules.len(), count);
    assert!(compiled(&machine.run(&arguments, &[])).is_empty());
}

#[test]
fn a_cache_that_cannot_be_written() {
    let machine = Machine::new();
    let blocked = machine.path("maps.npy").join("cache");
    let output = machine.train(
        "run",
        &["--device", "cuda"],
        &[("COSMOGAN_CACHE", text(&blocked))],
    );
    assert!(output.status.success(), "{}", stderr(&output));
    expect_line(&output, &["kernels are not cached", "COSMOGAN_CACHE"]);
}

#[test]
fn kernels_are_listed_and_compiled() {
    let machine = Machine::new();
    let listed = machine.run(&["kernels"], &[]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    for name in ["conv_dgrad_tiled", "single_channel_wgrad", "adam"] {
        assert!(listed.contains(name), "{name} is not in: {listed}");
    }
    let table = machine.path("kernels.md");
    let compile = ["kernels", "--compile", "--table", text(&table)];
    let output = machine.run(&compile, &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    // This NVRTC does not know sm_100, which is one of the default architectures.
    expect_line(&output, &["compile for [75, 80, 90]"]);
    assert!(
        std::fs::read_to_string(&table)
            .unwrap()
            .contains("| sm_75 | sm_80 | sm_90 |")
    );

    let output = machine.run(&["kernels", "--compile", "--architectures", "86"], &[]);
    expect_failure(&output, &["--architectures", "sm_86", "[75, 80, 90]"]);
    let output = machine.run(&compile, &[("COSMOGAN_NVRTC", "/nowhere")]);
    expect_failure(&output, &["COSMOGAN_NVRTC", "/nowhere"]);
    let output = machine.run(&["kernels", "--table", text(&table)], &[]);
    expect_failure(&output, &["--compile"]);
}

/// A complete profile, of kernels that do nothing and take no time.
#[test]
fn a_profile_holds_what_driver_and_compiler_say() {
    let machine = Machine::new();
    let json = machine.path("profile.json");
    let trace = machine.path("trace.json");
    let mut arguments = vec!["profile", "step", "--device", "cuda", "--precision", "bf16"];
    arguments.extend(["--config", text(&machine.config), "--batch", "4"]);
    arguments.extend(["--repeats", "2", "--cold"]);
    arguments.extend(["--json", text(&json), "--trace", text(&trace)]);
    // Verification detects kernels that do nothing.
    let output = machine.run(&arguments, &[]);
    expect_failure(&output, &["operators are wrong at these shapes"]);
    assert!(!json.exists());

    arguments.push("--no-verify");
    let output = machine.run(&arguments, &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    expect_line(&output, &["closed with 0 bytes in use"]);
    let table = String::from_utf8(output.stdout).unwrap();
    for words in [
        "tiled kernels run at",
        "most of a Hopper kernel's tile empty",
        "NOT verified in this run",
        "caches emptied",
        "1500 MHz highest clock of a multiprocessor",
        "nvidia-smi",
        "conv_dgrad_tiled bf16",
    ] {
        assert!(table.contains(words), "{words} is not in: {table}");
    }
    let profile = cosmogan::profile::Profile::from_json(&std::fs::read_to_string(&json).unwrap());
    let profile = profile.unwrap();
    assert!(profile.ceilings.unwrap().rounded_product.is_some());
    assert!(profile.recorded);
    let seconds = profile.device_seconds.unwrap();
    assert_eq!([seconds.with_copy, seconds.without_copy], [0.25e-3; 2]);
    for row in &profile.rows {
        let kernel = row.kernel.as_ref().unwrap();
        let found = kernel.resources.as_ref().unwrap();
        assert_eq!(found.registers, 40);
        // The 40 bytes that the mock driver reports, and the stages of a GEMM.
        let has_stages = kernel.specialisation.contains("stages");
        assert!(if has_stages {
            found.shared_bytes > 32 << 10
        } else {
            found.shared_bytes == 40
        });
        let expected = 0.25e-3 * row.calls as f64;
        assert!((row.seconds.unwrap() - expected).abs() < 1e-9, "{row:?}");
    }
    let events: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&trace).unwrap()).unwrap();
    let kernels = events["traceEvents"].as_array().unwrap().iter();
    let kernels = kernels.filter(|event| event["cat"] == "kernel").count();
    let launches: usize = profile.rows.iter().map(|row| row.calls).sum();
    assert_eq!(kernels, launches);

    // The reason why no GEMM runs on a Hopper kernel is reported.
    for (flags, capability, words) in [
        (
            &["--tier", "tiled"][..],
            "90",
            "--tier excludes Hopper kernels",
        ),
        (&[], "80", "Imaginary 0 has compute capability 8.0"),
    ] {
        let arguments = [&arguments[..], flags].concat();
        let output = machine.run(&arguments, &[("FAKE_CAPABILITY", capability)]);
        let table = String::from_utf8(output.stdout).unwrap();
        let mut lines = table.lines();
        let said =
            lines.any(|line| line.starts_with("tiled kernels run at") && line.contains(words));
        assert!(said, "{words} is not in: {table}");
    }

    // A single kernel: the operator's other kernels are launched only during the warm-up.
    let mut arguments = vec![
        "profile",
        "--device",
        "cuda",
        "--no-verify",
        "--json",
        text(&json),
    ];
    arguments.extend(["--kernel", "conv_dgrad_tiled", "--precision", "bf16"]);
    arguments.extend(["--shape", "n=1 h=16 w=16 c=16 k=32"]);
    let output = machine.run(&arguments, &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let profile = cosmogan::profile::Profile::from_json(&std::fs::read_to_string(&json).unwrap());
    let kernels: Vec<_> = profile
        .unwrap()
        .rows
        .into_iter()
        .filter_map(|row| row.kernel)
        .collect();
    assert_eq!(kernels.len(), 1);
    assert_eq!(kernels[0].name, "conv_dgrad_tiled");
    let absent = [
        &arguments[..arguments.len() - 3],
        &["f32", "--shape", "n=1 h=16 w=16 c=1 k=32"],
    ]
    .concat();
    let output = machine.run(&absent, &[]);
    expect_failure(&output, &["--kernel", "does not run at this shape"]);
}
