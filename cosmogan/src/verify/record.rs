//! The rows of a verification, on disk after each one.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Check;
use crate::error::Result;
use crate::files::write_json;

/// The JSON form of a verification.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The version of the program.
    pub version: String,
    /// How the device describes itself; absent as long as none was opened.
    pub device: Option<String>,
    /// Whether every check ran and passed.
    pub passed: bool,
    /// Whether every check ran.
    pub complete: bool,
    /// One row for each check, in order.
    pub checks: Vec<Check>,
}

impl Outcome {
    /// Reads the file at `path`, if it is there and valid.
    pub(super) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// How many checks did not pass.
    pub fn failed(&self) -> usize {
        self.checks.iter().filter(|check| !check.passed).count()
    }
}

/// A verification under way. Its file holds every row so far at any time.
#[derive(Debug)]
pub struct Record {
    path: Option<PathBuf>,
    outcome: Outcome,
}

impl Record {
    /// Without rows, to be written to `path` if there is one.
    pub fn new(path: Option<PathBuf>) -> Self {
        Self {
            path,
            outcome: Outcome {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                device: None,
                passed: false,
                complete: false,
                checks: Vec::new(),
            },
        }
    }

    /// The rows so far.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Names the device on which checks run.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn set_device(&mut self, description: String) -> Result<()> {
        self.outcome.device = Some(description);
        self.write()
    }

    /// Adds a row.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn push(&mut self, check: Check) -> Result<()> {
        self.outcome.checks.push(check);
        self.write()
    }

    /// Marks the rows as complete.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn finish(&mut self) -> Result<()> {
        self.outcome.complete = true;
        self.outcome.passed = self.outcome.failed() == 0;
        self.write()
    }

    fn write(&self) -> Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        Ok(write_json(path, &self.outcome)?)
    }
}
