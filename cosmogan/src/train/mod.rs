//! Training: one simultaneous step, the run around it, and what a run leaves on disk.

pub mod average;
pub mod batches;
pub mod checkpoint;
pub mod log;
mod losses;
mod map_scale;
mod resident;
pub mod run;
pub mod selection;
pub mod step;

pub use average::Average;
pub use run::{Length, RunOptions};
pub use selection::{Selected, Selection, SelectionOptions};
pub use step::{RealMaps, StepInputs, Trainer};
