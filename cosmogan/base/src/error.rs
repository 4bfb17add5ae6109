//! Errors about files and flags, failed checks and interrupts.
//!
//! Each error is one line that names the file or flag and the remedy.

use std::fmt;
use std::path::{Path, PathBuf};

/// Result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error: one line for the user and an [exit status](Error::exit_status) for the shell.
#[derive(Debug)]
pub enum Error {
    /// A file or folder cannot be used as requested.
    File {
        /// The file or folder in question.
        path: PathBuf,
        /// The problem.
        problem: String,
        /// The remedy.
        remedy: String,
    },
    /// A flag, or a combination of flags, is invalid.
    Usage {
        /// The flag as typed, e.g. `--count`.
        flag: String,
        /// The problem and the remedy.
        message: String,
    },
    /// A check ran to completion and failed.
    CheckFailed(String),
    /// The user asked to stop; the work done so far has been saved.
    Interrupted(String),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File {
                path,
                problem,
                remedy,
            } => write!(formatter, "{}: {problem}; {remedy}", path.display()),
            Self::Usage { flag, message } => write!(formatter, "{flag}: {message}"),
            Self::CheckFailed(what) => formatter.write_str(what),
            Self::Interrupted(what) => write!(formatter, "interrupted; {what}"),
        }
    }
}

impl std::error::Error for Error {}

impl Error {
    /// Creates an error about the file or folder at `path`.
    ///
    /// Only the first line of `problem` is kept.
    pub fn file(path: impl AsRef<Path>, problem: impl ToString, remedy: impl Into<String>) -> Self {
        Self::File {
            path: path.as_ref().to_owned(),
            problem: problem
                .to_string()
                .lines()
                .next()
                .unwrap_or_default()
                .trim_end_matches([' ', ':'])
                .to_owned(),
            remedy: remedy.into(),
        }
    }

    /// Creates an error about the value given for `flag`.
    pub fn usage(
        flag: impl Into<String>,
        problem: impl fmt::Display,
        remedy: impl fmt::Display,
    ) -> Self {
        Self::refused(flag, format!("{problem}; {remedy}"))
    }

    /// Creates an error about the value given for `flag` from a message that includes its remedy.
    pub fn refused(flag: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Usage {
            flag: flag.into(),
            message: message.into(),
        }
    }

    /// Exit status for the shell.
    ///
    /// 2 for bad usage, 130 for an interrupt (as in shells), 1 for everything else.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Usage { .. } => 2,
            Self::Interrupted(_) => 130,
            _ => 1,
        }
    }
}
