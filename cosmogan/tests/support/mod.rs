//! What the tests of the binary share.
#![allow(dead_code, reason = "every test file uses its own part of this")]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its files has failed"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cosmogan::data::MapWriter;
use cosmogan::rng::{Purpose, stream};
use rand_distr::{Distribution, StandardNormal};

/// The program, ready for arguments.
pub(crate) fn cosmogan() -> Command {
    Command::new(env!("CARGO_BIN_EXE_cosmogan"))
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    cosmogan().args(arguments).output().unwrap()
}

/// Runs the program and expects success.
pub(crate) fn succeed(arguments: &[&str]) -> Output {
    let output = run(arguments);
    assert!(
        output.status.success(),
        "cosmogan {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A model that trains in moments.
pub(crate) const SMALL_CONFIG: &str = "output_size = 16\nlayers = 2\ngf_dim = 4\ndf_dim = 4\nz_dim = 8\nbatch = 4\nflip_labels = 0.2\n";

/// Writes [`SMALL_CONFIG`] and maps for it into `folder`.
pub(crate) fn small_run(folder: &Path, maps: usize) -> (PathBuf, PathBuf) {
    let config = folder.join("small.toml");
    std::fs::write(&config, SMALL_CONFIG).unwrap();
    let data = folder.join("maps.npy");
    write_noise(&data, maps, 16);
    (config, data)
}

/// Writes maps of skewed noise, each a function of its index alone.
pub(crate) fn write_noise(path: &Path, count: usize, size: usize) {
    let mut writer = MapWriter::create(path, count, size, size, None).unwrap();
    for index in 0..count {
        let mut rng = stream(5, Purpose::Simulation, index as u64);
        let map: Vec<f32> = (0..size * size)
            .map(|_| {
                let value: f64 = StandardNormal.sample(&mut rng);
                (0.05 * (0.8 * value).exp() - 0.07) as f32
            })
            .collect();
        writer.push(&map).unwrap();
    }
    writer.finish().unwrap();
}
