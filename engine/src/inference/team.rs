//! Threads that work through the stages of one call together.
//!
//! They live as long as the call: a library embedded in a program must not keep threads of its own, and starting one
//! takes some 20 µs where a map takes milliseconds.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Spin iterations before a waiting worker yields its core.
const SPINS: usize = 4000;

/// State shared by the workers of a call.
struct Team {
    /// Number of workers; 0 until the last of them has been started.
    workers: AtomicUsize,
    /// Number of times that any worker reached the end of a stage.
    arrivals: AtomicUsize,
    /// Next task of the stages with an even and an odd number.
    next: [AtomicUsize; 2],
}

impl Team {
    /// Waits until the number of workers is known.
    fn workers(&self) -> usize {
        loop {
            match self.workers.load(Ordering::Acquire) {
                0 => thread::yield_now(),
                workers => return workers,
            }
        }
    }
}

/// One of the threads.
pub(super) struct Worker<'a> {
    team: &'a Team,
    stage: usize,
}

/// Runs `work` on one thread per state, including the calling thread, and returns when all have finished.
///
/// Uses fewer threads if the system cannot start more. Every worker must go through the same stages.
pub(super) fn run<T: Send>(states: &mut [T], work: impl Fn(&mut Worker<'_>, &mut T) + Sync) {
    run_on(states, thread::Builder::new, work);
}

fn run_on<T: Send>(
    states: &mut [T],
    builder: impl Fn() -> thread::Builder,
    work: impl Fn(&mut Worker<'_>, &mut T) + Sync,
) {
    let team = Team {
        workers: AtomicUsize::new(0),
        arrivals: AtomicUsize::new(0),
        next: [AtomicUsize::new(0), AtomicUsize::new(0)],
    };
    let start = |state: &mut T| {
        let _release = ReleaseOnPanic(&team);
        let mut worker = Worker {
            team: &team,
            stage: 0,
        };
        work(&mut worker, state);
    };
    let Some((first, others)) = states.split_first_mut() else {
        return;
    };
    thread::scope(|scope| {
        let start = &start;
        let mut workers = 1;
        for state in others {
            if builder().spawn_scoped(scope, move || start(state)).is_err() {
                break;
            }
            workers += 1;
        }
        team.workers.store(workers, Ordering::Release);
        start(first);
    });
}

/// Releases the other workers if one panics: they finish, and the panic propagates to the caller.
struct ReleaseOnPanic<'a>(&'a Team);

impl Drop for ReleaseOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.arrivals.store(usize::MAX / 2, Ordering::Release);
        }
    }
}

impl Worker<'_> {
    /// Runs one stage: each number below `count` goes to one of the workers.
    ///
    /// Returns when all of them are done.
    pub(super) fn share(&mut self, count: usize, mut work: impl FnMut(usize)) {
        let next = &self.team.next[self.stage % 2];
        loop {
            let item = next.fetch_add(1, Ordering::Relaxed);
            if item >= count {
                break;
            }
            work(item);
        }
        self.wait();
    }

    fn wait(&mut self) {
        self.stage += 1;
        let workers = self.team.workers();
        if workers == 1 {
            self.team.next[0].store(0, Ordering::Relaxed);
            self.team.next[1].store(0, Ordering::Relaxed);
            return;
        }
        let all = self.stage * workers;
        // The counter of the stage that has just ended is used again after the next stage, which cannot end before all
        // workers have reached this point.
        if self.team.arrivals.fetch_add(1, Ordering::AcqRel) + 1 == all {
            self.team.next[(self.stage + 1) % 2].store(0, Ordering::Release);
        }
        let mut spins = 0;
        while self.team.arrivals.load(Ordering::Acquire) < all {
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
            } else {
                thread::yield_now();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_of_every_stage_is_done_once_and_in_order() {
        for workers in [1, 2, 3, 8] {
            let done: Vec<AtomicUsize> = (0..50 * 17).map(|_| AtomicUsize::new(0)).collect();
            run(&mut vec![(); workers], |worker, ()| {
                for stage in 0..50 {
                    worker.share(17, |item| {
                        if stage > 0 {
                            let before = (stage - 1) * 17..stage * 17;
                            assert!(
                                done[before]
                                    .iter()
                                    .all(|count| count.load(Ordering::Relaxed) == 1)
                            );
                        }
                        done[stage * 17 + item].fetch_add(1, Ordering::Relaxed);
                    });
                }
            });
            assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn work_is_done_where_threads_cannot_be_had() {
        for possible in [0, 1, 3] {
            let started = AtomicUsize::new(0);
            let builder = || match started.fetch_add(1, Ordering::Relaxed) {
                number if number < possible => thread::Builder::new(),
                // No system has memory for such a stack.
                _ => thread::Builder::new().stack_size(usize::MAX / 4),
            };
            let done = AtomicUsize::new(0);
            run_on(&mut [(); 8], builder, |worker, ()| {
                for _ in 0..50 {
                    worker.share(17, |_| {
                        done.fetch_add(1, Ordering::Relaxed);
                    });
                }
            });
            assert_eq!(done.into_inner(), 50 * 17);
            assert_eq!(started.into_inner(), possible + 1);
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_nobody_waits_for_ever() {
        // Any of the workers may be the one that panics.
        let outcome = std::panic::catch_unwind(|| {
            run(&mut [(); 4], |worker, ()| {
                worker.share(100, |item| assert!(item != 7, "planted"));
                worker.share(100, |_| {});
            });
        });
        assert!(outcome.is_err());
    }
}
