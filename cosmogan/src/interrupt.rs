//! Ctrl-C handling.
//!
//! The first Ctrl-C asks a long job to save its work and stop, the second stops it at once.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::threads;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Exit status that shells report for a program stopped by Ctrl-C.
const INTERRUPTED: i32 = 130;

/// Installs the handler for Ctrl-C and termination requests.
pub fn listen() {
    let handler = || {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            process::exit(INTERRUPTED);
        }
        eprintln!("stopping after this step; press Ctrl-C again to stop at once");
    };
    // The handler needs a thread of its own. Without one, Ctrl-C ends the program at once.
    if !threads::are_available() {
        return;
    }
    // A second handler in the same process is rejected; the first one remains in place.
    let _ = ctrlc::set_handler(handler);
}

/// Whether the user has asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}
