//! Working memory of the generator, kept from one call to the next.

use std::process;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use crate::simd::memory::Aligned;

/// Working memory of one call.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    pub(super) images: Vec<Aligned>,
    pub(super) windows: Aligned,
    pub(super) scratch: Vec<Aligned>,
}

/// Working memory of all calls.
///
/// After a fork the child has a copy in which calls of the parent's other threads never end, and in which a lock may be held
/// for ever. Each process therefore has memory of its own: a child finds the entries of its ancestors, and adds one.
#[derive(Debug)]
pub(super) struct Workspaces {
    process: u32,
    here: OfProcess,
    /// For the children of the process.
    next: OnceLock<Box<Workspaces>>,
}

impl Workspaces {
    /// Creates the memory of this process.
    pub(super) fn new() -> Self {
        Self {
            process: process::id(),
            here: OfProcess::default(),
            next: OnceLock::new(),
        }
    }

    /// Waits for a turn; creates working memory if none for enough threads is idle.
    pub(super) fn take(&self, threads: usize, make: impl FnOnce() -> Workspace) -> Turn<'_> {
        let process = process::id();
        let mut workspaces = self;
        while workspaces.process != process {
            workspaces = workspaces.next.get_or_init(|| Box::new(Self::new()));
        }
        workspaces.here.take(threads, make)
    }
}

/// The working memory of one process.
#[derive(Debug, Default)]
struct OfProcess {
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Workspace>,
    in_use: usize,
}

/// Working memory in use; it is returned when the call ends, also by a panic.
pub(super) struct Turn<'a> {
    workspaces: &'a OfProcess,
    pub(super) workspace: Workspace,
}

impl OfProcess {
    /// Waits for a turn; creates working memory if none for enough threads is idle.
    fn take(&self, threads: usize, make: impl FnOnce() -> Workspace) -> Turn<'_> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let most = (cores / threads).max(1);
        let mut state = self.lock();
        while state.in_use >= most {
            state = self
                .returned
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.in_use += 1;
        let mut idle = state.idle.iter();
        let fitting = idle.position(|workspace| workspace.scratch.len() >= threads);
        let workspace = fitting.map(|index| state.idle.swap_remove(index));
        if workspace.is_none() {
            // Idle memory for fewer threads would only waste space.
            state.idle.clear();
        }
        drop(state);
        Turn {
            workspaces: self,
            workspace: workspace.unwrap_or_else(make),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let workspace = std::mem::take(&mut self.workspace);
        let mut state = self.workspaces.lock();
        state.in_use -= 1;
        state.idle.push(workspace);
        drop(state);
        // Wakes a single waiter: if all were woken, most of them would find that another one was faster. A call that
        // waits for more threads than are free is woken again when the last call has ended.
        self.workspaces.returned.notify_one();
    }
}
