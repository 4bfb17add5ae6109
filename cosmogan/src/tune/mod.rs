//! Tile configurations of GEMMs on this GPU: found by `cosmogan tune`, stored in a file, looked up by all other
//! commands.
//!
//! A [`Subject`] is a GEMM with its operands and the oracle's expected result. [`search()`] times the candidates that
//! compute it correctly. A [`Table`] stores the results on disk; [`lookup`] reads it into the
//! [`TileConfigs`](cosmogan_kernels::tuning::TileConfigs) of a device.

pub mod lookup;
mod problems;
mod search;
mod subject;
mod table;

pub use problems::problems_of;
pub use search::{Found, Settings, search};
pub use subject::Subject;
pub use table::{Entry, Table, Time};
