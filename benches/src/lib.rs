//! What the benches share: prepared operators at the paper's shapes.

pub mod memory;
pub mod memory_bound;
pub mod operator;
pub mod step;
