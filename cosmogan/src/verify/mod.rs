//! Every operator against the oracle, every model against a reference.

pub mod conformance;
pub mod reference;
mod table;

pub use table::{Check, print_table};
