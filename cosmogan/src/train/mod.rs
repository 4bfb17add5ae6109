//! Training: one simultaneous step, the run around it, and what a run leaves on disk.

pub mod batches;
pub mod checkpoint;
pub mod log;
mod resident;
pub mod run;
pub mod selection;
pub mod step;

pub use run::{Length, RunOptions};
pub use selection::{Selected, Selection, SelectionOptions};
pub use step::{RealMaps, StepInputs, Trainer};
