//! Everything that can go wrong, each as one line that names the file or flag and the remedy.

use std::fmt;
use std::path::{Path, PathBuf};

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// One line for the user, and through [`Error::exit_status`] one number for the shell.
#[derive(Debug)]
pub enum Error {
    /// A file or folder that cannot be used as asked.
    File {
        /// The file or folder in question.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What the user can do about it.
        remedy: String,
    },
    /// A flag, or a combination of flags, that makes no sense.
    Usage {
        /// The flag as typed, e.g. `--count`.
        flag: String,
        /// What is wrong with it.
        problem: String,
        /// What the user can do about it.
        remedy: String,
    },
    /// A check ran to its end and did not pass.
    CheckFailed(String),
    /// The engine refused an operation.
    #[cfg(feature = "program")]
    Engine(cosmogan_engine::Error),
    /// The user asked to stop; what was done so far is on disk.
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
            Self::Usage {
                flag,
                problem,
                remedy,
            } => write!(formatter, "{flag}: {problem}; {remedy}"),
            Self::CheckFailed(what) => formatter.write_str(what),
            #[cfg(feature = "program")]
            Self::Engine(error) => write!(formatter, "{error}"),
            Self::Interrupted(what) => write!(formatter, "interrupted; {what}"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(feature = "program")]
impl From<cosmogan_engine::Error> for Error {
    fn from(error: cosmogan_engine::Error) -> Self {
        Self::Engine(error)
    }
}

impl Error {
    /// A problem with the file or folder at `path`; of a problem told in several lines, the first.
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

    /// A problem with the value given for `flag`.
    pub fn usage(
        flag: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Usage {
            flag: flag.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    /// 2 for bad usage, 130 for an interrupt as shells do, 1 for everything else.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Usage { .. } => 2,
            Self::Interrupted(_) => 130,
            _ => 1,
        }
    }
}
