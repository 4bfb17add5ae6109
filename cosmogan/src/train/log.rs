//! `log.jsonl`: one JSON object per line and logged step.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::step::StepReport;
use crate::error::Result;
use crate::files::{cannot_write, write_atomically};

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// [`RunIdentity::name`](super::checkpoint::RunIdentity::name) of the run.
    #[serde(default)]
    pub run: String,
    /// Number of steps done, including this one.
    pub step: u64,
    /// Current pass over the data, counted from 1.
    pub epoch: u64,
    /// The discriminator's loss on real maps.
    pub d_loss_real: f64,
    /// The discriminator's loss on generated maps.
    pub d_loss_fake: f64,
    /// The generator's loss.
    pub g_loss: f64,
    /// Mean of D(x) over the real maps, a probability.
    pub d_real: f64,
    /// Mean of D(G(z)) over the generated maps.
    pub d_fake: f64,
    /// Euclidean norm of the discriminator's gradient.
    pub d_gradient_norm: f64,
    /// Euclidean norm of the generator's gradient.
    pub g_gradient_norm: f64,
    /// Whether this step's labels were flipped.
    pub flipped: bool,
    /// Whether this step was replayed as a CUDA graph.
    #[serde(default)]
    pub recorded: bool,
    /// Real maps per second of wall-clock time since the last line.
    pub maps_per_second: f64,
    /// χ² distance of the generator's power spectra to those of the development maps, at scored steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

/// Mean of the logistic function over logits.
pub(crate) fn mean_probability(logits: &[f32]) -> f64 {
    let sum: f64 = logits
        .iter()
        .map(|&logit| 1.0 / (1.0 + (-f64::from(logit)).exp()))
        .sum();
    sum / logits.len().max(1) as f64
}

/// Whether all losses of a step are finite.
pub(crate) fn is_sound(report: &StepReport) -> bool {
    [report.d_loss_real, report.d_loss_fake, report.g_loss]
        .iter()
        .all(|loss| loss.is_finite())
}

/// A log open for appending.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens the log of `run` at `path` and deletes the lines after step `last_step`, because these steps will be
    /// repeated, and those of other runs.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn open(path: &Path, run: &str, last_step: u64) -> Result<Self> {
        let kept: String = read(path)
            .into_iter()
            .filter(|line| line.step <= last_step && line.run == run)
            .map(|line| to_json(&line))
            .collect();
        write_atomically(path, kept.as_bytes())?;
        let file = OpenOptions::new()
            .append(true)
            .open(path)
            .map_err(|error| cannot_write(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Waits until all lines are on the disk.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn sync(&self) -> Result<()> {
        let written = self.file.sync_data();
        Ok(written.map_err(|error| cannot_write(&self.path, &error))?)
    }

    /// Appends a line in a single write, so that a killed process leaves complete lines.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn append(&mut self, line: &LogLine) -> Result<()> {
        self.file
            .write_all(to_json(line).as_bytes())
            .map_err(|error| cannot_write(&self.path, &error))?;
        Ok(())
    }
}

/// Reads the lines of a log; an unreadable file or line counts as absent.
pub fn read(path: &Path) -> Vec<LogLine> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn to_json(line: &LogLine) -> String {
    let mut json = serde_json::to_string(line).expect("a struct of numbers has a JSON form");
    json.push('\n');
    json
}
