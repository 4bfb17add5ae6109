//! Where maps came from: the manifest beside the files of a data set, and what of it goes along with all that is made
//! from them: checkpoints, weights, reports.

mod manifest;
mod origin;

pub use manifest::{BoxRecord, DatasetManifest, MANIFEST, SetRecord};
pub use origin::{BoxOrigin, Cut, Provenance, Simulation};
