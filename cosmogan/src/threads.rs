//! Threads, on systems that may refuse to start any.

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::ThreadPoolBuilder;

static REFUSED: AtomicBool = AtomicBool::new(false);

/// Prepares the thread pool of the program: one thread per core, or the calling thread alone where the system refuses
/// to start that many (`ulimit -u`, limits of containers).
pub fn prepare() {
    // The pool that is created on first use panics without its threads, and cannot be created a second time.
    if ThreadPoolBuilder::new().build().is_ok() {
        return;
    }
    REFUSED.store(true, Ordering::Relaxed);
    let alone = ThreadPoolBuilder::new().num_threads(1).use_current_thread();
    if alone.build_global().is_ok() {
        eprintln!("computing on one thread: the system refuses to start more (ulimit -u)");
    }
}

/// Whether the system allows the program to start threads.
pub(crate) fn are_available() -> bool {
    !REFUSED.load(Ordering::Relaxed)
}
