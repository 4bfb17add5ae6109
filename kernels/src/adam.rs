//! Launches of `adam.cu`: one optimiser step over many tensors.

use crate::kernel::{Launch, Work, f32_bytes, kernel};

/// Elements that one block updates.
pub const CHUNK: usize = 1024;
/// Most tensors in one launch: the table is a kernel argument, and arguments have at most 4 KiB.
pub const MOST_TENSORS: usize = 64;

kernel!(
    /// One step over all tensors of its table.
    ADAM,
    "adam.cu",
    Plain,
    "adam",
    "one step of Adam over all parameters",
    "one launch for all tensors, by a table in the arguments, instead of 30 launches of a few blocks each"
);

/// Number of blocks for a tensor of `length` elements.
pub fn blocks(length: usize) -> usize {
    length.div_ceil(CHUNK)
}

/// One step over tensors of these lengths.
pub fn step(lengths: impl Iterator<Item = usize> + Clone) -> Launch {
    let elements: usize = lengths.clone().sum();
    Launch::new(
        &ADAM,
        [lengths.map(blocks).sum(), 1, 1],
        [256, 1, 1],
        Work {
            operations: (12 * elements) as f64,
            bytes: f32_bytes(7 * elements),
        },
    )
}
