//! Weak-lensing convergence maps: files, simulation, statistics and reports, without a neural network.
//!
//! * [`data`] reads and writes maps (NPY, FITS).
//! * [`simulate`] makes them: lognormal fields, and N-body boxes with Born ray tracing.
//! * [`stats`] measures and compares them, by the definitions of LensTools.
//! * [`report`] draws and writes a comparison of two sets of maps.
//! * [`provenance`] records where maps come from.
//! * [`files`] writes files so that a kill leaves the old one or the new one.
#![forbid(unsafe_code)]

pub mod data;
pub mod files;
pub mod provenance;
pub mod report;
pub mod simulate;
pub mod stats;

pub use cosmogan_base::{Error, Result, rng};
