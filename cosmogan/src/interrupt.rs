//! Ctrl-C asks a long job to save its work and stop; a second Ctrl-C stops it at once.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// The exit status that shells give a program stopped by Ctrl-C.
const INTERRUPTED: i32 = 130;

/// Starts to listen for Ctrl-C and for a request to terminate.
pub fn listen() {
    let handler = || {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            process::exit(INTERRUPTED);
        }
        eprintln!("stopping after this step; press Ctrl-C again to stop at once");
    };
    // A second handler in one process is refused; the first does the same work.
    let _ = ctrlc::set_handler(handler);
}

/// Whether the user asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}
