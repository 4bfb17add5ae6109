//! Helpers for tests of the binary.
#![allow(dead_code, reason = "every test file uses its own part of this")]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its files has failed"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cosmogan::data::MapWriter;
use cosmogan::rng::{Normals, Purpose, stream};

/// A command that runs the program, without arguments.
pub(crate) fn cosmogan() -> Command {
    Command::new(env!("CARGO_BIN_EXE_cosmogan"))
}

/// Runs the program and waits for its end.
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

/// Runs the program and expects a single error line on stderr that contains all `needles`.
pub(crate) fn refused(arguments: &[&str], status: i32, needles: &[&str]) {
    let output = run(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(status),
        "{arguments:?}: {stderr}"
    );
    assert!(!stderr.contains("panicked"), "{stderr}");
    let complaint: Vec<&str> = stderr
        .lines()
        .filter(|line| line.starts_with("cosmogan: "))
        .collect();
    assert_eq!(complaint.len(), 1, "{arguments:?}: {stderr}");
    for needle in needles {
        assert!(complaint[0].contains(needle), "no {needle:?} in {stderr:?}");
    }
}

/// Writes a float32 array in the NPY format; `dims` need not match the number of values.
pub(crate) fn write_npy(path: &Path, dims: &str, values: &[f32]) {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {dims}, }}");
    while !(header.len() + 11).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    std::fs::write(path, bytes).unwrap();
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Configuration of a model that trains quickly.
pub(crate) const SMALL_CONFIG: &str = "output_size = 16\nlayers = 2\ngf_dim = 4\ndf_dim = 4\nz_dim = 8\nbatch = 4\nflip_labels = 0.2\n";

/// Writes [`SMALL_CONFIG`] and maps for it into `folder`.
pub(crate) fn small_run(folder: &Path, maps: usize) -> (PathBuf, PathBuf) {
    let config = folder.join("small.toml");
    std::fs::write(&config, SMALL_CONFIG).unwrap();
    let data = folder.join("maps.npy");
    write_noise(&data, maps, 16);
    (config, data)
}

/// Writes maps of skewed noise, each a function of its index only.
pub(crate) fn write_noise(path: &Path, count: usize, size: usize) {
    let mut writer = MapWriter::create(path, count, size, size, None).unwrap();
    for index in 0..count {
        let normals = Normals::new(stream(5, Purpose::Simulation, index as u64));
        let map: Vec<f32> = normals
            .take(size * size)
            .map(|value| (0.05 * (0.8 * value).exp() - 0.07) as f32)
            .collect();
        writer.push(&map).unwrap();
    }
    writer.finish().unwrap();
}

/// Trains networks of [`SMALL_CONFIG`] on `data` for one step; returns their weight files.
pub(crate) fn small_networks(folder: &Path, config: &Path, data: &Path) -> [PathBuf; 2] {
    std::fs::create_dir_all(folder).unwrap();
    let run = folder.join("run");
    let train = ["train", "--config", text(config), "--data", text(data)];
    succeed(&[&train[..], &["--out", text(&run), "--steps", "1"]].concat());
    ["generator", "discriminator"].map(|kind| run.join(format!("{kind}.safetensors")))
}
