//! Faults of kernels, on a mock driver that reports them in a later call.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot prepare its files has failed"
)]

use std::process::Output;

use crate::machine::{Machine, expect_failure, expect_line, stderr};

/// The kernel or graph in which the mock driver caused a fault.
fn guilty(output: &Output) -> String {
    let errors = stderr(output);
    let mut lines = errors.lines();
    let name = lines.find_map(|line| line.strip_prefix("fault in "));
    name.unwrap_or_else(|| panic!("no fault in: {errors}"))
        .to_owned()
}

/// An error reported by a later call names the launches that may have caused it; no driver call follows.
fn expect_lost(output: &Output, words: &[&str]) {
    expect_failure(output, words);
    let errors = stderr(output);
    for wrong in ["out of memory", "called after the fault"] {
        assert!(!errors.contains(wrong), "{wrong} in: {errors}");
    }
    let complaints = errors.lines().filter(|line| line.contains("719"));
    assert_eq!(complaints.count(), 1, "{errors}");
}

#[test]
fn a_fault_that_surfaces_in_a_later_call() {
    let machine = Machine::new();
    for seen_by in ["alloc", "launch", "copy"] {
        let settings = [("FAKE_FAULT_AT", "5"), ("FAKE_FAULT_SEEN_BY", seen_by)];
        let output = machine.train(seen_by, &["--device", "cuda"], &settings);
        let doing = match seen_by {
            "alloc" => "cannot allocate 0.00 MiB on Imaginary 0",
            "launch" => "cannot launch kernel",
            _ => "cannot download from Imaginary 0",
        };
        let words = [
            doing,
            "unspecified launch failure (CUDA_ERROR_LAUNCH_FAILED, 719)",
            "a fault in one of the ",
            "COSMOGAN_SYNC=1",
        ];
        expect_lost(&output, &words);
        if seen_by != "copy" {
            // The next call of this kind follows soon, so the faulty kernel is among those named.
            expect_line(&output, &[&format!("{} on grid [", guilty(&output)), "719"]);
        }
    }
}

#[test]
fn a_fault_in_a_graph() {
    let machine = Machine::new();
    let settings = |seen_by| {
        [
            ("FAKE_FAULT_AT_REPLAY", "1"),
            ("FAKE_FAULT_SEEN_BY", seen_by),
        ]
    };
    let output = machine.train("copy", &["--device", "cuda"], &settings("copy"));
    let graph = "CUDA graph 1, nodes 0 to ";
    expect_lost(&output, &["cannot download", graph, "719"]);
    // Without flipped labels (seed 1) the second and third step are replays, and nothing is read between them.
    let arguments = ["--device", "cuda", "--log-every", "10", "--seed", "1"];
    let output = machine.train("replay", &arguments, &settings("replay"));
    let words = [
        "cannot replay a CUDA graph",
        "CUDA graph 1, nodes 0 to ",
        "719",
    ];
    expect_lost(&output, &words);
}

#[test]
fn waiting_for_every_kernel_names_the_guilty_one() {
    let machine = Machine::new();
    let synchronous = ("COSMOGAN_SYNC", "1");
    let device = ["--device", "cuda"];
    for number in ["1", "7", "23"] {
        let settings = [synchronous, ("FAKE_FAULT_AT", number)];
        let output = machine.train(number, &device, &settings);
        let kernel = format!("kernel {}, grid [", guilty(&output));
        expect_lost(&output, &[&kernel, "failed on Imaginary 0", "719"]);
    }
    let output = machine.train("sound", &device, &[synchronous]);
    assert!(output.status.success(), "{}", stderr(&output));
    expect_line(&output, &["launched kernel by kernel", "COSMOGAN_SYNC=1"]);
    assert!(!stderr(&output).contains("graph launched"));
    let output = machine.train("wrong", &device, &[("COSMOGAN_SYNC", "yes")]);
    expect_failure(&output, &["COSMOGAN_SYNC", "`yes`", "unset it"]);
}
