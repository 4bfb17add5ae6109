//! Shared code of the benchmarks: prepared operators at the paper's shapes.

pub mod memory;
pub mod memory_bound;
pub mod operator;
pub mod step;
