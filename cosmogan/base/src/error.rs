//! Errors about files and flags, failed checks and interrupts.
//!
//! Each error is one line that names the file or flag and the remedy.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

/// Result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Returns `text` with its control characters escaped, except those in `kept`.
///
/// Names from files and folders must not move the cursor of a terminal or break a line.
pub fn printable<'a>(text: &'a str, kept: &str) -> Cow<'a, str> {
    let is_escaped = |character: char| character.is_control() && !kept.contains(character);
    if !text.chars().any(is_escaped) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_escaped(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped.into()
}

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
        let line = match self {
            Self::File {
                path,
                problem,
                remedy,
            } => format!("{}: {problem}; {remedy}", path.display()),
            Self::Usage { flag, message } => format!("{flag}: {message}"),
            Self::CheckFailed(what) => what.clone(),
            Self::Interrupted(what) => format!("interrupted; {what}"),
        };
        formatter.write_str(&printable(&line, ""))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_control_a_terminal() {
        let error = Error::file("a\u{1b}[2J\nb\u{9b}.npy", "is empty\r", "name another");
        assert_eq!(
            error.to_string(),
            "a\\u{1b}[2J\\nb\\u{9b}.npy: is empty\\r; name another"
        );
        assert_eq!(printable("σ₈ 1\n2\t3\u{7}", "\n\t"), "σ₈ 1\n2\t3\\u{7}");
    }
}
