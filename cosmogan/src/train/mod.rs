//! Training: the simultaneous step, the run around it, and the files of a run.

pub mod average;
pub mod batches;
pub mod checkpoint;
mod data_precision;
pub mod folder;
pub mod log;
mod losses;
mod map_scale;
mod other_run;
mod resident;
pub mod run;
pub mod segment;
pub mod selection;
pub mod step;

pub use average::Average;
pub use data_precision::DataPrecision;
pub use run::{Length, RunOptions};
pub use segment::{Changes, Segment};
pub use selection::{Selected, Selection, SelectionOptions};
pub use step::{RealMaps, StepInputs, Trainer};
