//! Lines on stdout and stderr, whose loss never ends work.
//!
//! The macros `print!`, `println!` and `eprintln!` of this crate replace those of the standard library, which panic if the reader
//! of a pipe is gone or a device is full.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write, stderr, stdout};
use std::sync::OnceLock;

use cosmogan_base::printable;

/// Prints text to stdout.
macro_rules! print {
    ($($text:tt)*) => {
        $crate::terminal::result(format_args!($($text)*))
    };
}

/// Prints a line to stdout.
macro_rules! println {
    ($($text:tt)*) => {
        $crate::terminal::result(format_args!("{}\n", format_args!($($text)*)))
    };
}

/// Prints a line to stderr.
macro_rules! eprintln {
    ($($text:tt)*) => {
        $crate::terminal::message(format_args!($($text)*))
    };
}

/// The first error on stdout other than a closed pipe.
static FAILURE: OnceLock<io::Error> = OnceLock::new();

/// Prints results to stdout.
pub(crate) fn result(text: Arguments<'_>) {
    let text = text.to_string();
    let text = printable(&text, "\n\t\r");
    if let Err(error) = stdout().lock().write_all(text.as_bytes())
        && error.kind() != ErrorKind::BrokenPipe
    {
        let _ = FAILURE.set(error);
    }
}

/// Prints a message or a line of progress to stderr.
pub fn message(line: Arguments<'_>) {
    // There is no other place to report an error.
    let line = format!("{line}\n");
    let _ = stderr()
        .lock()
        .write_all(printable(&line, "\n\t").as_bytes());
}

/// The reason why results on stdout were lost, such as a full disk; not a reader that had enough.
pub fn failure() -> Option<&'static io::Error> {
    if let Err(error) = stdout().flush()
        && error.kind() != ErrorKind::BrokenPipe
    {
        let _ = FAILURE.set(error);
    }
    FAILURE.get()
}
