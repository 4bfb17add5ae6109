//! Driver errors: the call that reported one, the launches that may have caused it, and whether the context survives.
//!
//! Kernels run asynchronously, so a fault in one of them is reported by a later call: an allocation, a copy or another
//! launch. Such an error also destroys the context, and every later call fails with the same code (CUDA driver API,
//! `CUresult`). The first report counts the launches since the last successful synchronisation and names the last four.
//! Every later request fails with [`Error::DeviceLost`], without a driver call.

use std::collections::VecDeque;
use std::env;
use std::fmt::{self, Display};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use cosmogan_kernels::Launch;
use cudarc::driver::result::DriverError;

use super::device::describe_code;
use crate::error::{Error, Result};

/// Environment variable; 1 synchronises the stream after every launch, so that an error names its kernel.
pub const SYNC_VARIABLE: &str = "COSMOGAN_SYNC";

/// Most launches named in an error.
const NAMED: usize = 4;

/// `CUresult` codes after which "the process must be terminated and relaunched" to use CUDA again.
const FATAL: [i32; 16] = [
    214, // ECC_UNCORRECTABLE
    220, // NVLINK_UNCORRECTABLE
    226, // CONTAINED
    700, // ILLEGAL_ADDRESS
    702, // LAUNCH_TIMEOUT
    709, // CONTEXT_IS_DESTROYED
    710, // ASSERT
    714, // HARDWARE_STACK_ERROR
    715, // ILLEGAL_INSTRUCTION
    716, // MISALIGNED_ADDRESS
    717, // INVALID_ADDRESS_SPACE
    718, // INVALID_PC
    719, // LAUNCH_FAILED
    721, // TENSOR_MEMORY_LEAK
    911, // EXTERNAL_DEVICE
    999, // UNKNOWN
];

/// Reads [`SYNC_VARIABLE`].
pub(super) fn is_synchronous() -> Result<bool> {
    match env::var(SYNC_VARIABLE).as_deref() {
        Err(_) | Ok("" | "0") => Ok(false),
        Ok("1") => Ok(true),
        Ok(other) => Err(Error::Device(format!(
            "{SYNC_VARIABLE} is `{other}`; set it to 1 to wait for every kernel, or unset it"
        ))),
    }
}

/// Work queued in the stream that may still fail.
#[derive(Clone, Debug)]
enum Queued {
    Kernel {
        name: &'static str,
        grid: [u32; 3],
    },
    /// A replayed CUDA graph.
    Graph(Arc<Graph>),
}

/// The kernel nodes of a recorded CUDA graph.
#[derive(Debug)]
pub(super) struct Graph {
    /// Number of the graph, counted from 1 on each device.
    number: usize,
    kernels: Vec<&'static str>,
}

impl Display for Queued {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel { name, grid } => write!(formatter, "{name} on grid {grid:?}"),
            Self::Graph(graph) => match graph.kernels.as_slice() {
                [] => write!(formatter, "CUDA graph {} without kernels", graph.number),
                [first, .., last] => write!(
                    formatter,
                    "CUDA graph {}, nodes 0 to {} ({first} to {last})",
                    graph.number,
                    graph.kernels.len() - 1
                ),
                [only] => write!(formatter, "CUDA graph {}, node 0 ({only})", graph.number),
            },
        }
    }
}

#[derive(Debug, Default)]
struct History {
    /// Number of launches since the stream last completed without an error.
    unconfirmed: usize,
    /// The last [`NAMED`] of these launches.
    recent: VecDeque<Queued>,
    /// The launches of the graph being captured.
    captured: Option<Vec<&'static str>>,
    /// Graphs captured so far.
    graphs: usize,
}

/// Fault state of one device.
#[derive(Debug, Default)]
pub(super) struct Faults {
    history: Mutex<History>,
    /// The first fatal error.
    lost: OnceLock<String>,
}

impl Faults {
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns an error if a fault has destroyed the context.
    pub(super) fn check(&self) -> Result<()> {
        match self.lost.get() {
            None => Ok(()),
            Some(problem) => Err(Error::DeviceLost(format!(
                "the GPU is lost to this process after an earlier error: {problem}; start the program again"
            ))),
        }
    }

    /// Records that a kernel was queued or captured.
    pub(super) fn launched(&self, launch: &Launch) {
        let mut history = self.history();
        match &mut history.captured {
            Some(captured) => captured.push(launch.kernel.name),
            None => history.push(Queued::Kernel {
                name: launch.kernel.name,
                grid: launch.grid,
            }),
        }
    }

    /// Records that a graph was queued.
    pub(super) fn replayed(&self, graph: &Arc<Graph>) {
        self.history().push(Queued::Graph(Arc::clone(graph)));
    }

    /// Records that everything queued so far has completed without an error.
    pub(super) fn confirmed(&self) {
        let mut history = self.history();
        history.unconfirmed = 0;
        history.recent.clear();
    }

    pub(super) fn begin_capture(&self) {
        self.history().captured = Some(Vec::new());
    }

    pub(super) fn end_capture(&self) -> Arc<Graph> {
        let mut history = self.history();
        history.graphs += 1;
        Arc::new(Graph {
            number: history.graphs,
            kernels: history.captured.take().unwrap_or_default(),
        })
    }

    /// The error of a failed driver call; `doing` names the attempted action, e.g. "allocate 2.00 MiB on NVIDIA H200".
    pub(super) fn error(&self, doing: impl Display, error: DriverError) -> Error {
        let code = describe_code(error);
        if !FATAL.contains(&(error.0 as i32)) {
            return Error::Device(format!("cannot {doing}: {code}"));
        }
        let problem = format!("cannot {doing}: {code}, {}", self.history().suspects());
        self.lose(
            &problem,
            &format!("run again with {SYNC_VARIABLE}=1 to find the kernel"),
        )
    }

    /// The error of the kernel that was launched last and waited for, so that it is the culprit.
    pub(super) fn kernel_error(&self, launch: &Launch, device: &str, error: DriverError) -> Error {
        let code = describe_code(error);
        let problem = format!(
            "kernel {}, grid {:?} of blocks {:?}, failed on {device}: {code}",
            launch.kernel.name, launch.grid, launch.block
        );
        self.lose(
            &problem,
            "run it under compute-sanitizer to find the access, or run cosmogan verify --device simt, which checks every access",
        )
    }

    fn lose(&self, problem: &str, remedy: &str) -> Error {
        let _ = self.lost.set(problem.to_owned());
        Error::DeviceLost(format!("{problem}; {remedy}"))
    }
}

impl History {
    fn push(&mut self, queued: Queued) {
        self.unconfirmed += 1;
        if self.recent.len() == NAMED {
            self.recent.pop_front();
        }
        self.recent.push_back(queued);
    }

    fn suspects(&self) -> String {
        let names: Vec<String> = self.recent.iter().map(Queued::to_string).collect();
        match (self.unconfirmed, names.as_slice()) {
            (0, _) | (_, []) => {
                "although nothing was queued since the last synchronisation".to_owned()
            }
            (1, [only]) => format!("caused by a fault in the preceding launch: {only}"),
            (count, names) => format!(
                "caused by a fault in one of the {count} launches since the last synchronisation, most recently {}",
                names.join(", ")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(kernels: &[&'static str]) -> Queued {
        Queued::Graph(Arc::new(Graph {
            number: 2,
            kernels: kernels.to_vec(),
        }))
    }

    fn kernel(name: &'static str) -> Queued {
        Queued::Kernel {
            name,
            grid: [1, 2, 3],
        }
    }

    #[test]
    fn suspects_are_the_launches_since_the_last_confirmation() {
        let faults = Faults::default();
        assert!(faults.history().suspects().contains("nothing was queued"));
        for name in ["a", "b", "c", "d", "e"] {
            faults.history().push(kernel(name));
        }
        let text = faults.history().suspects();
        assert!(text.contains("one of the 5 launches"), "{text}");
        assert!(
            text.contains("b on grid [1, 2, 3], c on") && !text.contains("a on grid"),
            "{text}"
        );
        faults.confirmed();
        faults.history().push(graph(&["x", "y", "z"]));
        let text = faults.history().suspects();
        assert!(
            text.ends_with("CUDA graph 2, nodes 0 to 2 (x to z)"),
            "{text}"
        );
    }
}
