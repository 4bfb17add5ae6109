//! Provenance of maps.
//!
//! A data set has a manifest; checkpoints, weights and reports carry a record of it.

mod manifest;
mod origin;
mod record;

pub use manifest::{BoxRecord, DatasetManifest, MANIFEST, SetRecord};
pub use origin::{BoxOrigin, Cut, Provenance, Simulation};
pub use record::{MapRecord, Method};
