//! Kernels read from a folder (`COSMOGAN_KERNELS`), and `kernels --kernel`.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its files has failed"
)]

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::machine::{Machine, expect_failure, expect_line, stderr};
use crate::support::{cosmogan, refused, text};

const SUM: &str = "add length=10 seed=1";
/// The line of the kernel `add` that computes.
const RIGHT: &str = "y[i] = a[i] + b[i];";

/// A copy of `kernels/cuda`.
fn copy_of_sources() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernels/cuda");
    for entry in fs::read_dir(sources).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

/// Replaces the computing line of `add`; returns its number.
fn edit(folder: &Path, wrong: &str) -> usize {
    let file = folder.join("elementwise.cu");
    let source = fs::read_to_string(&file).unwrap();
    assert_eq!(source.matches(RIGHT).count(), 1);
    fs::write(&file, source.replace(RIGHT, wrong)).unwrap();
    let mut lines = source.lines();
    1 + lines.position(|line| line.contains(RIGHT)).unwrap()
}

fn verify(kernels: &Path, cache: &Path) -> Output {
    cosmogan()
        .args(["verify", "--device", "simt", "--case", SUM])
        .env("COSMOGAN_KERNELS", kernels)
        .env("COSMOGAN_CACHE", cache)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn an_edited_kernel_is_verified_without_a_new_build() {
    let (kernels, cache) = (copy_of_sources(), tempfile::tempdir().unwrap());
    let output = verify(kernels.path(), cache.path());
    assert!(output.status.success(), "{}", stderr(&output));
    expect_line(
        &output,
        &[
            "kernels are read from",
            text(kernels.path()),
            "COSMOGAN_KERNELS",
        ],
    );

    // A wrong result, by way of a header that the program does not know.
    fs::write(kernels.path().join("mine.cuh"), "#define MINE 1.5f\n").unwrap();
    edit(kernels.path(), "y[i] = a[i] + MINE * b[i];");
    let file = kernels.path().join("elementwise.cu");
    let source = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("#include \"mine.cuh\"\n{source}")).unwrap();
    let output = verify(kernels.path(), cache.path());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stdout(&output).contains(&format!("FAIL {SUM}")));
    fs::write(kernels.path().join("mine.cuh"), "#define MINE 1.0f\n").unwrap();
    assert!(verify(kernels.path(), cache.path()).status.success());

    let kernels = copy_of_sources();
    let line = edit(kernels.path(), "y[i] = a[i] + b[i + length];");
    let output = verify(kernels.path(), cache.path());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let table = stdout(&output);
    let row = table.lines().find(|line| line.contains(SUM)).unwrap();
    assert!(
        row.contains("FAIL") && row.contains("outside every buffer"),
        "{row}"
    );
    if std::process::Command::new("addr2line")
        .arg("--version")
        .output()
        .is_ok()
    {
        assert!(
            row.contains(&format!(" at elementwise.cu:{line}: ")),
            "{row}"
        );
    }
}

#[test]
fn a_missing_source_is_one_line() {
    let (kernels, cache) = (copy_of_sources(), tempfile::tempdir().unwrap());
    fs::remove_file(kernels.path().join("linear.cu")).unwrap();
    let words = ["cosmogan: COSMOGAN_KERNELS: ", "linear.cu", "unset it"];
    let output = verify(kernels.path(), cache.path());
    expect_failure(&output, &words);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());

    let output = verify(&kernels.path().join("nowhere"), cache.path());
    expect_failure(&output, &["cosmogan: COSMOGAN_KERNELS: ", "nowhere"]);

    // A GPU is not replaced by the CPU for that.
    let machine = Machine::new();
    let settings = [("COSMOGAN_KERNELS", text(kernels.path()))];
    for device in ["auto", "cuda"] {
        let arguments = ["verify", "--device", device, "--case", SUM];
        expect_failure(&machine.run(&arguments, &settings), &words);
    }
    expect_failure(&machine.run(&["kernels", "--compile"], &settings), &words);
}

#[test]
fn nvrtc_compiles_edited_kernels() {
    let (machine, kernels) = (Machine::new(), copy_of_sources());
    edit(kernels.path(), &format!("{RIGHT} // edited for a test"));
    let settings = [("COSMOGAN_KERNELS", text(kernels.path()))];
    let arguments = ["verify", "--device", "cuda", "--case", SUM];
    let marked = |output: &Output| stderr(output).contains("compiled elementwise.cu, edited");
    assert!(!marked(&machine.run(&arguments, &[])));
    // Although an unedited one is in the cache.
    let output = machine.run(&arguments, &settings);
    assert!(marked(&output), "{}", stderr(&output));
    expect_line(&output, &["kernels are read from", text(kernels.path())]);
}

#[test]
fn named_kernels_are_compiled_alone() {
    let unknown = [
        "kernels",
        "--compile",
        "--kernel",
        "adam",
        "--kernel",
        "adamant",
    ];
    let words = ["--kernel", "`adamant`", "choose from", "conv_dgrad_tiled"];
    refused(&unknown, 2, &words);
    refused(&["kernels", "--kernel", "adam"], 2, &["--compile"]);

    let machine = Machine::new();
    let named = [
        "kernels",
        "--compile",
        "--kernel",
        "add",
        "--kernel",
        "adam",
    ];
    // An architecture is refused before anything is compiled.
    let output = machine.run(&[&named[..], &["--architectures", "80,86"]].concat(), &[]);
    expect_failure(&output, &["--architectures", "sm_86"]);
    assert!(!stderr(&output).contains("compiled"));

    let output = machine.run(&named, &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let compiled: Vec<_> = stderr(&output)
        .lines()
        .filter_map(|line| {
            Some(
                line.strip_prefix("compiled ")?
                    .split(' ')
                    .next()?
                    .to_owned(),
            )
        })
        .collect();
    assert!(!compiled.is_empty());
    assert!(
        compiled
            .iter()
            .all(|file| file == "adam.cu" || file == "elementwise.cu")
    );
    let page = stdout(&output);
    assert!(page.contains("| `add` |") && page.contains("| `adam` |"));
    assert!(!page.contains("| `copy` |") && !page.contains("conv_dgrad"));
    expect_line(&output, &["2 kernels in ", "compile for"]);
}
