//! Files of a training run.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::{self, create_folder};

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

    /// The description of the run.
    pub fn description(&self) -> PathBuf {
        self.0.join("run.json")
    }

    /// The checkpoint before the last one.
    pub(super) fn previous_checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint-previous.safetensors")
    }

    /// Locks the folder, so that no other process writes to it while the returned handle is open.
    ///
    /// # Errors
    /// If another process holds the lock, or the folder cannot be written.
    pub(super) fn lock(&self) -> Result<File> {
        create_folder(&self.0)?;
        Ok(files::lock(&self.0.join("lock"), "run", "--out")?)
    }

    /// A file of a run that the folder holds although it holds no checkpoint.
    pub fn left_over(&self) -> Option<PathBuf> {
        let files = [
            self.generator(),
            self.discriminator(),
            self.average(),
            self.best(),
            self.log(),
            self.description(),
        ];
        let found = files.into_iter().find(|file| file.exists());
        found.filter(|_| !self.checkpoint().exists())
    }

    /// Removes the files of a run.
    ///
    /// # Errors
    /// If one cannot be removed.
    pub fn clear(&self) -> Result<()> {
        let entries = fs::read_dir(self.0.join("previews"));
        let entries = entries.into_iter().flatten().flatten();
        let is_preview = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("step-") && name.ends_with(".png")
        };
        let previews = entries.map(|entry| entry.path()).filter(is_preview);
        // The checkpoint last: until then the folder is that of a run.
        let files = [
            self.generator(),
            self.discriminator(),
            self.average(),
            self.best(),
            self.log(),
            self.description(),
            self.selection_plot(),
            self.previous_checkpoint(),
            self.checkpoint(),
        ];
        for file in previews.chain(files) {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Error::file(
                        file,
                        error,
                        "remove it, or choose another --out",
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn selection_plot(&self) -> PathBuf {
        self.0.join("selection.png")
    }

    pub(super) fn preview(&self, step: u64) -> PathBuf {
        self.0.join(format!("previews/step-{step:07}.png"))
    }
}
