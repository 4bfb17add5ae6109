//! What the benches share: prepared operators at the paper's shapes, and the ceilings they are compared with.

pub mod ceiling;
pub mod memory;
pub mod memory_bound;
pub mod operator;
pub mod step;
