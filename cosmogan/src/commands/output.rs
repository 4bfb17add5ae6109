//! Output files: the question before one is overwritten, and the line that says what was written.

use std::fmt;
use std::io::{BufRead, IsTerminal, stderr, stdin};
use std::path::Path;

use crate::error::{Error, Result};

/// Asks before the file at `path` is overwritten.
///
/// Does not ask with `force`, or unless both stdin and stderr are terminals.
///
/// # Errors
/// If the answer is not yes.
pub(super) fn confirm_overwrite(path: &Path, force: bool) -> Result<()> {
    if force || !path.is_file() || !stdin().is_terminal() || !stderr().is_terminal() {
        return Ok(());
    }
    eprint!("{} exists; overwrite it? [y/N] ", path.display());
    require_yes(path, &mut stdin().lock())
}

fn require_yes(path: &Path, answers: &mut impl BufRead) -> Result<()> {
    let mut answer = String::new();
    let read = answers.read_line(&mut answer);
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" if read.is_ok() => Ok(()),
        _ => Err(Error::file(
            path,
            "exists and was not overwritten",
            "choose another --out, or add --force",
        )),
    }
}

/// Prints that `path` was written, and its content.
pub(super) fn print_written(path: &Path, content: impl fmt::Display) {
    println!("wrote {}: {content}", path.display());
}

/// The number of maps in words.
pub(super) fn number_of_maps(count: u64) -> String {
    match count {
        1 => "1 map".to_owned(),
        _ => format!("{count} maps"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_overwrites() {
        let answered = |answer: &str| require_yes(Path::new("maps.npy"), &mut answer.as_bytes());
        for yes in ["y\n", "Yes\n", " y"] {
            assert!(answered(yes).is_ok(), "{yes}");
        }
        for no in ["", "\n", "n\n", "yesterday\n"] {
            let refused = answered(no).expect_err(no).to_string();
            assert!(refused.contains("--force"), "{refused}");
        }
    }

    #[test]
    fn a_new_file_needs_no_answer() {
        assert!(confirm_overwrite(Path::new("no such file"), false).is_ok());
    }
}
