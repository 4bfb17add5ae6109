//! The error type of the program: errors about files and flags, and those of the engine.

use std::fmt;
use std::path::Path;

/// Result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error: one line for the user and an [exit status](Error::exit_status) for the shell.
#[derive(Debug)]
pub enum Error {
    /// A file or flag, a failed check, or an interrupt.
    Program(cosmogan_base::Error),
    /// The engine refused an operation.
    Engine(cosmogan_engine::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(error) => write!(formatter, "{error}"),
            Self::Engine(error) => write!(formatter, "{error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<cosmogan_base::Error> for Error {
    fn from(error: cosmogan_base::Error) -> Self {
        Self::Program(error)
    }
}

impl From<cosmogan_engine::Error> for Error {
    fn from(error: cosmogan_engine::Error) -> Self {
        Self::Engine(error)
    }
}

impl Error {
    /// Creates an error about the file or folder at `path`.
    pub fn file(path: impl AsRef<Path>, problem: impl ToString, remedy: impl Into<String>) -> Self {
        cosmogan_base::Error::file(path, problem, remedy).into()
    }

    /// Creates an error about the value given for `flag`.
    pub fn usage(
        flag: impl Into<String>,
        problem: impl fmt::Display,
        remedy: impl fmt::Display,
    ) -> Self {
        cosmogan_base::Error::usage(flag, problem, remedy).into()
    }

    /// Creates an error about the value given for `flag` from a message that includes its remedy.
    pub fn refused(flag: impl Into<String>, message: impl Into<String>) -> Self {
        cosmogan_base::Error::refused(flag, message).into()
    }

    /// Creates an error about a check that ran to completion and failed.
    pub fn check_failed(problem: impl Into<String>) -> Self {
        cosmogan_base::Error::CheckFailed(problem.into()).into()
    }

    /// Creates the error of a user who asked to stop; `saved` says what is on disk.
    pub fn interrupted(saved: impl Into<String>) -> Self {
        cosmogan_base::Error::Interrupted(saved.into()).into()
    }

    /// Whether nothing else can run on the device in this process.
    pub fn is_device_lost(&self) -> bool {
        matches!(self, Self::Engine(cosmogan_engine::Error::DeviceLost(_)))
    }

    /// Exit status for the shell.
    ///
    /// 2 for bad usage, 130 for an interrupt (as in shells), 1 for everything else.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Program(error) => error.exit_status(),
            Self::Engine(_) => 1,
        }
    }
}
