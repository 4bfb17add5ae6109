//! Files of a training run.

use std::path::{Path, PathBuf};

/// Paths of the files in a run folder.
#[derive(Clone, Debug)]
pub struct RunFolder(PathBuf);

impl RunFolder {
    /// The run folder at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The checkpoint, from which a run resumes.
    pub fn checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint.safetensors")
    }

    /// The generator's weights at the last checkpoint.
    pub fn generator(&self) -> PathBuf {
        self.0.join("generator.safetensors")
    }

    /// The discriminator's weights at the last checkpoint.
    pub fn discriminator(&self) -> PathBuf {
        self.0.join("discriminator.safetensors")
    }

    /// The generator's moving average at the last checkpoint, if one is kept.
    pub fn average(&self) -> PathBuf {
        self.0.join("average.safetensors")
    }

    /// The generator with the best score, if generators are scored.
    pub fn best(&self) -> PathBuf {
        self.0.join("best.safetensors")
    }

    /// The log.
    pub fn log(&self) -> PathBuf {
        self.0.join("log.jsonl")
    }

    pub(super) fn selection_plot(&self) -> PathBuf {
        self.0.join("selection.png")
    }

    pub(super) fn preview(&self, step: u64) -> PathBuf {
        self.0.join(format!("previews/step-{step:07}.png"))
    }
}
