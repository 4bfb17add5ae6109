//! `verify` where devices fail, hang and crash: every case keeps its row.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its files has failed"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::machine::{Machine, expect_failure, stderr};
use crate::support::{cosmogan, refused, succeed, text};
use cosmogan::verify::Outcome;
use cosmogan_oracle::Case;

/// More than any machine that runs this test has.
const VAST: &str = "conv2d n=200000 h=1000 w=1000 c=2 k=2 kernel=3x3 stride=1x1 pad=0,0,0,0 seed=1";
const SUM: &str = "add length=10 seed=1";
/// Launches the kernel `adam`.
const ADAM: &str =
    "adam length=10 rate=0.0002 beta1=0.5 beta2=0.999 epsilon=0.00000001 step=7 seed=2";
const TANH: &str = "tanh length=10 seed=3";

fn read(path: &Path) -> Outcome {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Arguments that check `cases` on the mock GPU.
fn verify<'a>(json: &'a Path, cases: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["verify", "--device", "cuda", "--json", text(json)];
    arguments.extend(cases.iter().flat_map(|case| ["--case", case]));
    arguments.extend(more);
    arguments
}

/// All rows of `cases` in order, in a file that says so; their failures.
fn expect_rows(output: &Output, json: &Path, cases: &[&str]) -> Vec<Option<String>> {
    let errors = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let complaint = format!("cosmogan: {0} of {0} checks failed", cases.len());
    assert!(errors.contains(&complaint), "{errors}");
    let outcome = read(json);
    assert!(outcome.complete && !outcome.passed);
    assert!(outcome.device.unwrap().contains("Imaginary 0"));
    let subjects: Vec<_> = outcome.checks.iter().map(|check| &check.subject).collect();
    assert_eq!(subjects, cases);
    let table = String::from_utf8(output.stdout.clone()).unwrap();
    for check in &outcome.checks {
        // Kernels of the mock driver do nothing.
        assert!(!check.passed);
        if let Some(failure) = &check.failure {
            let mut lines = table.lines();
            let words = ["FAIL ", &check.subject, failure];
            assert!(
                lines.any(|line| words.iter().all(|word| line.contains(word))),
                "{words:?} is not in: {table}"
            );
        }
    }
    let failures = outcome.checks.into_iter().map(|check| check.failure);
    failures.collect()
}

#[test]
fn an_error_of_the_device_is_a_row() {
    let machine = Machine::new();
    let json = machine.path("table.json");
    let cases = [SUM, "add length=100000 seed=4", TANH];
    let memory = [("FAKE_MEMORY", "60000")];
    let output = machine.run(&verify(&json, &cases, &[]), &memory);
    let failures = expect_rows(&output, &json, &cases);
    assert!(failures[0].is_none() && failures[2].is_none());
    let failure = failures[1].as_ref().unwrap();
    assert!(
        failure.contains("out of memory on Imaginary 0"),
        "{failure}"
    );
    let rows: serde_json::Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert!(rows["checks"][1]["error"].is_null());

    let output = machine.run(&verify(&json, &cases, &[]), &[("FAKE_LAUNCH_FAILS", "719")]);
    let failures = expect_rows(&output, &json, &cases);
    assert!(failures.iter().all(Option::is_some));
    let failure = failures[0].as_ref().unwrap();
    assert!(failure.contains("unspecified launch failure"), "{failure}");
}

#[test]
fn an_isolated_hang_or_crash_costs_one_case() {
    let machine = Machine::new();
    let json = machine.path("table.json");
    let cases = [SUM, ADAM, TANH, SUM];
    // Of a group, too, the cases before and after it have results.
    for cases_each in ["1", "3"] {
        for (setting, expected) in [
            ("FAKE_HANG_IN", "no result after 2 s, killed"),
            ("FAKE_DIE_IN", "killed by signal 11 (SIGSEGV)"),
        ] {
            let isolated = ["--isolate", cases_each, "--time-limit", "2"];
            let arguments = verify(&json, &cases, &isolated);
            let output = machine.run(&arguments, &[(setting, "adam")]);
            let failures = expect_rows(&output, &json, &cases);
            let expected = [None, Some(expected.to_owned()), None, None];
            assert_eq!(failures, expected, "{setting}, {cases_each} in a process");
        }
    }
    // If the device is lost at every launch, each case has its own process and error.
    let arguments = verify(&json, &cases, &["--isolate", "4"]);
    let output = machine.run(&arguments, &[("FAKE_LAUNCH_FAILS", "719")]);
    for failure in expect_rows(&output, &json, &cases) {
        let failure = failure.unwrap();
        assert!(failure.contains("unspecified launch failure"), "{failure}");
    }
    // A crash before the first result of all.
    let output = machine.run(
        &verify(&json, &[ADAM, SUM], &["--isolate"]),
        &[("FAKE_DIE_IN", "adam")],
    );
    let failures = expect_rows(&output, &json, &[ADAM, SUM]);
    assert!(failures[0].is_some() && failures[1].is_none());
}

/// Nothing else runs in a process whose CUDA context was destroyed by a fault.
#[test]
fn a_lost_device_ends_its_process_only() {
    let machine = Machine::new();
    let json = machine.path("table.json");
    let cases = [SUM, ADAM, TANH];
    let fault = [("FAKE_FAULT_AT", "1"), ("FAKE_FAULT_SEEN_BY", "copy")];
    let output = machine.run(&verify(&json, &cases, &[]), &fault);
    let failures = expect_rows(&output, &json, &cases);
    let failure = failures[0].as_ref().unwrap();
    assert!(failure.contains("a fault in"), "{failure}");
    let expected = format!(
        "not run: the device was lost in `{SUM}`; --isolate gives each case a process of its own"
    );
    assert_eq!(failures[1..], [Some(expected.clone()), Some(expected)]);

    // The first launch of each process faults.
    let output = machine.run(&verify(&json, &cases, &["--isolate", "3"]), &fault);
    for failure in expect_rows(&output, &json, &cases) {
        let failure = failure.unwrap();
        assert!(failure.contains("a fault in"), "{failure}");
    }
}

#[test]
fn isolated_cases_have_the_results_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = |name: &str, more: &[&str]| {
        let json = folder.path().join(name);
        let cases = ["verify", "--device", "cpu", "--json", text(&json)];
        let cases = [&cases[..], &["--set", "random", "--random", "1"]].concat();
        succeed(&[&cases[..], more].concat());
        fs::read_to_string(json).unwrap()
    };
    let here = outcome("here.json", &[]);
    assert!(here.contains("\"passed\": true,\n  \"complete\": true,\n  \"checks\""));
    assert_eq!(outcome("isolated.json", &["--isolate", "5"]), here);
}

#[test]
fn cases_are_listed_without_a_device() {
    let lines = |arguments: &[&str]| -> Vec<String> {
        let output = succeed(&[&["verify", "--device", "cuda", "--list"], arguments].concat());
        assert!(output.stderr.is_empty());
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    let printed = |cases: &[Case]| -> Vec<String> { cases.iter().map(Case::to_string).collect() };
    let [hopper, edges] = [Case::hopper_set(), Case::edge_set()];
    let random = Case::random_set(1, 3);
    assert_eq!(lines(&["--set", "hopper"]), printed(&hopper));
    assert_eq!(
        lines(&["--set", "edges", "--set", "hopper", "--set", "edges"]),
        printed(&[&edges[..], &hopper].concat())
    );
    let random_lines = lines(&["--set", "random", "--random", "1", "--seed", "3"]);
    assert_eq!(random_lines, printed(&random));
    assert_eq!(lines(&["--case", SUM, "--case", ADAM]), [SUM, ADAM]);
    let default = lines(&["--random", "1", "--seed", "3"]);
    let named = ["--set", "model", "--set", "random"];
    assert_eq!(
        default,
        lines(&[&named[..], &["--random", "1", "--seed", "3"]].concat())
    );
    assert!(default.len() > random.len() && default.ends_with(&random_lines));
}

#[test]
fn flags_that_do_not_fit_are_refused() {
    for (arguments, needles) in [
        (
            &["--set", "everything"][..],
            &["--set", "everything", "hopper"][..],
        ),
        (&["--set", "model", "--case", SUM], &["--set", "--case"]),
        (
            &["--case", "add length=7 seed=1 groups=2"],
            &["--case", "`groups=2` is unknown"],
        ),
        (&["--case", VAST], &["--case", "GiB of memory"]),
        (
            &["--set", "random", "--random", "0"],
            &["--random", "no cases"],
        ),
        (
            &["--reference", "golden", "--isolate"],
            &["--reference", "--isolate"],
        ),
        (&["--time-limit", "5"], &["--isolate"]),
        (&["--isolate", "--time-limit", "0"], &["--time-limit", "0"]),
        (&["--isolate", "0"], &["--isolate", "0"]),
        (&["--list", "--isolate"], &["--list", "--isolate"]),
        // An error of the first child process.
        (
            &["--device", "cuda", "--isolate"],
            &["--device cuda:0", "libcuda.so.1"],
        ),
    ] {
        refused(&[&["verify"], arguments].concat(), 2, needles);
    }
}

/// The machine's `verify` and its children, as long as they run.
struct Running<'a> {
    machine: &'a Machine,
    parent: Child,
}

impl<'a> Running<'a> {
    /// Two cases, of which the second hangs; returns when the first has its row.
    fn hanging(machine: &'a Machine, json: &Path, more: &[&str]) -> Self {
        let arguments = verify(json, &[SUM, ADAM], more);
        let mut command = machine.command(&arguments, &[("FAKE_HANG_IN", "adam")]);
        // Children's files are below this folder, which is how they are found.
        let parent = command
            .env("TMPDIR", machine.path(""))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let running = Self { machine, parent };
        wait_for(|| json.exists() && read(json).checks.len() == 1);
        if !more.is_empty() {
            wait_for(|| !running.children().is_empty());
        }
        running
    }

    fn children(&self) -> Vec<PathBuf> {
        let folder = self.machine.path("").to_str().unwrap().to_owned();
        let entries = fs::read_dir("/proc").unwrap();
        let processes = entries.filter_map(|entry| {
            let path = entry.unwrap().path();
            let command = fs::read(path.join("cmdline")).ok()?;
            let command = String::from_utf8_lossy(&command).into_owned();
            (command.contains("--isolated") && command.contains(&folder)).then_some(path)
        });
        processes.collect()
    }

    /// Sends a signal, and waits for the end of all; returns the status.
    fn signal(&mut self, name: &str) -> Option<i32> {
        let id = self.parent.id().to_string();
        let sent = Command::new("kill").args([name, &id]).status().unwrap();
        assert!(sent.success());
        let status = self.parent.wait().unwrap();
        wait_for(|| self.children().is_empty());
        status.code()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.parent.kill();
        let _ = self.parent.wait();
    }
}

fn wait_for(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "timed out");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn rows_outlive_a_killed_run() {
    let machine = Machine::new();
    for (number, more) in [&[][..], &["--isolate"], &["--isolate", "2"]]
        .into_iter()
        .enumerate()
    {
        let json = machine.path(&format!("{number}.json"));
        let status = Running::hanging(&machine, &json, more).signal("-KILL");
        assert_eq!(status, None);
        let outcome = read(&json);
        assert!(!outcome.complete && !outcome.passed);
        assert_eq!(outcome.checks.len(), 1);
        assert_eq!(outcome.checks[0].subject, SUM);
    }
}

#[test]
fn an_interrupt_ends_the_children() {
    let machine = Machine::new();
    let json = machine.path("table.json");
    let status = Running::hanging(&machine, &json, &["--isolate"]).signal("-INT");
    assert_eq!(status, Some(130));
    assert_eq!(read(&json).checks.len(), 1);
}

#[test]
fn an_interrupt_prints_the_rows_so_far() {
    let machine = Machine::new();
    let json = machine.path("table.json");
    // More cases than can be checked until the signal arrives.
    let many = ["--set", "random", "--random", "2000", "--device", "cpu"];
    let running = cosmogan()
        .args([&["verify", "--json", text(&json)], &many[..]].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for(|| json.exists() && !read(&json).checks.is_empty());
    let id = running.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let rows = read(&json).checks.len();
    let table = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(table.lines().count(), rows);
    expect_failure(&output, &["cases were checked"]);
}

#[test]
fn an_isolated_process_that_cannot_open_its_device_is_refused_in_one_line() {
    let machine = Machine::new();
    let json = machine.path("table.json");
    let output = machine.run(
        &verify(&json, &[SUM, TANH], &["--isolate"]),
        &[("FAKE_GPUS", "0")],
    );
    expect_failure(
        &output,
        &["--device cuda:0", "reports no GPU", "nvidia-smi"],
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(!json.exists());
}
