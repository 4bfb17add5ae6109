//! Systems that refuse: file sizes, file handles, threads, a home folder, readers of pipes.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::{small_run, text};

/// Runs the program in a shell after `limit`.
fn limited(limit: &str, arguments: &[&str], folder: &Path) -> Output {
    let script = format!("{limit}; exec \"$0\" \"$@\"");
    Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_cosmogan")])
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Expects one line of error that contains `needle`, and no panic.
fn one_line(output: &Output, needle: &str) {
    let told = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    let lines = told.lines().filter(|line| line.starts_with("cosmogan: "));
    assert_eq!(lines.count(), 1, "{told}");
    assert!(
        told.contains(needle) && !told.contains("panicked"),
        "{told}"
    );
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_limit_on_file_sizes_is_an_error_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // 64 blocks of 512 or 1,024 bytes; four maps need 65,664.
    let generate = [
        "generate", "--count", "4", "--device", "cpu", "--out", "maps.npy",
    ];
    let output = limited("ulimit -f 64", &generate, folder.path());
    one_line(&output, "maps.npy: cannot write");
    assert_eq!(names(folder.path()), [""; 0]);

    let (config, data) = small_run(folder.path(), 8);
    let before = names(folder.path());
    let train = [
        "train", "--device", "cpu", "--steps", "2", "--out", "run", "--config",
    ];
    let train = [&train[..], &[text(&config), "--data", text(&data)]].concat();
    one_line(
        &limited("ulimit -f 8", &train, folder.path()),
        "cannot write",
    );
    let after: Vec<String> = names(folder.path())
        .into_iter()
        .filter(|name| name != "run")
        .collect();
    assert_eq!(after, before);
    let of_run = names(&folder.path().join("run"));
    assert!(
        of_run.iter().all(|name| !name.contains("partial")),
        "{of_run:?}"
    );
}

#[test]
fn few_file_handles_are_enough() {
    let folder = tempfile::tempdir().unwrap();
    let generate = [
        "generate", "--count", "2", "--device", "cpu", "--out", "maps.npy",
    ];
    let output = limited("ulimit -n 16", &generate, folder.path());
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn no_home_and_no_variables_are_needed() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["generate --count 1 --out maps.npy", "doctor"] {
        let output = Command::new(env!("CARGO_BIN_EXE_cosmogan"))
            .args(command.split(' '))
            .env_clear()
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {}", stderr(&output));
    }
}

/// Root may start any number of threads, so that the limit is tested as another user where that is possible.
#[test]
fn one_thread_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    // `nobody` must be able to write here and to run the program.
    let open = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    };
    open(folder.path());
    let program = folder.path().join("cosmogan");
    fs::copy(env!("CARGO_BIN_EXE_cosmogan"), &program).unwrap();
    open(&program);
    let under = |command: &str| {
        Command::new("prlimit")
            .args([
                "--nproc=1",
                "setpriv",
                "--reuid=65534",
                "--clear-groups",
                "./cosmogan",
            ])
            .args(command.split(' '))
            .current_dir(folder.path())
            .output()
    };
    let (config, data) = small_run(folder.path(), 8);
    open(&config);
    open(&data);
    for command in [
        "generate --count 2 --device cpu --out one.npy --force",
        "simulate --maps 2 --pixels 32 --out two.npy",
        "stats one.npy --out stats.json",
        "train --device cpu --steps 2 --config small.toml --data maps.npy --out run",
    ] {
        let Ok(output) = under(command) else {
            eprintln!("skipped: prlimit is not installed");
            return;
        };
        let told = stderr(&output);
        if told.contains("setpriv: ") || told.contains("prlimit: ") {
            eprintln!("skipped: {told}");
            return;
        }
        assert!(output.status.success(), "{command}: {told}");
        assert!(
            told.contains("computing on one thread"),
            "{command}: {told}"
        );
    }
    // The same maps as with all threads.
    let one = fs::read(folder.path().join("one.npy")).unwrap();
    let all = folder.path().join("all.npy");
    crate::support::succeed(&[
        "generate",
        "--count",
        "2",
        "--device",
        "cpu",
        "--out",
        text(&all),
    ]);
    assert!(one == fs::read(all).unwrap());
}
