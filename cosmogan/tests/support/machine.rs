//! A machine with a mock CUDA driver and a mock NVRTC.
#![allow(dead_code, reason = "every test file uses its own part of this")]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its files has failed"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{cosmogan, small_run, text};

/// A folder with the mock libraries, a data set and a configuration.
pub(crate) struct Machine {
    folder: tempfile::TempDir,
    pub(crate) data: PathBuf,
    pub(crate) config: PathBuf,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/fake_cuda.cpp");
        let library = folder.path().join("libcuda.so.1");
        let compiled = Command::new("c++")
            .args(["-std=c++17", "-O1", "-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .status()
            .unwrap();
        assert!(compiled.success());
        std::fs::copy(&library, folder.path().join("libnvrtc.so.13")).unwrap();
        let (config, data) = small_run(folder.path(), 12);
        Self {
            folder,
            data,
            config,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command that runs the program on this machine; `settings` are environment variables of the mock driver.
    pub(crate) fn command(&self, arguments: &[&str], settings: &[(&str, &str)]) -> Command {
        let mut command = cosmogan();
        command
            .args(arguments)
            .env_remove("COSMOGAN_NVRTC")
            .env("LD_LIBRARY_PATH", self.folder.path())
            .env("COSMOGAN_CACHE", self.path("cache"))
            .env("FAKE_TRACE", "1")
            .envs(settings.iter().copied());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str], settings: &[(&str, &str)]) -> Output {
        self.command(arguments, settings).output().unwrap()
    }

    /// Runs three training steps on `device`.
    pub(crate) fn train(&self, out: &str, device: &[&str], settings: &[(&str, &str)]) -> Output {
        let out = self.path(out);
        let mut arguments = vec!["train", "--data", text(&self.data), "--out", text(&out)];
        arguments.extend(["--config", text(&self.config), "--steps", "3"]);
        arguments.extend(device);
        self.run(&arguments, settings)
    }

    /// Whether each logged step of a run was replayed from a CUDA graph.
    pub(crate) fn recorded(&self, run: &str) -> Vec<bool> {
        let log = std::fs::read_to_string(self.path(run).join("log.jsonl")).unwrap();
        let lines = log
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines
            .map(|line| line["recorded"].as_bool().unwrap())
            .collect()
    }
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Expects a line on stderr that contains all `words`, and no panic.
pub(crate) fn expect_line(output: &Output, words: &[&str]) {
    let errors = stderr(output);
    assert!(!errors.contains("panicked"), "{errors}");
    let found = errors
        .lines()
        .any(|line| words.iter().all(|word| line.contains(word)));
    assert!(found, "no line with {words:?} in: {errors}");
}

/// Expects a failure with a line on stderr that contains all `words`.
pub(crate) fn expect_failure(output: &Output, words: &[&str]) {
    assert!(!output.status.success(), "{}", stderr(output));
    expect_line(output, words);
}
