//! Training: one simultaneous step, the run around it, and what a run leaves on disk.

pub mod batches;
pub mod checkpoint;
pub mod log;
pub mod run;
pub mod step;

pub use run::{Length, RunOptions};
pub use step::{RealMaps, StepInputs, Trainer};
