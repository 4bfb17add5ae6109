//! Launches of `linear.cu`: a linear layer with one output.
//!
//! Other linear layers are convolutions of 1×1 images.

use crate::kernel::{Launch, Work, f32_bytes, kernel};

kernel!(
    /// One dot product per row.
    DOT,
    "linear.cu",
    Plain,
    "linear_dot",
    "y[row] = x[row, :]·weight + bias",
    "plain: a block per row, because one thread per output would leave the device idle"
);

/// `rows` dot products of `inputs` terms.
pub fn dot(rows: usize, inputs: usize) -> Launch {
    Launch::new(
        &DOT,
        [rows, 1, 1],
        [256, 1, 1],
        Work {
            operations: (2 * rows * inputs) as f64,
            bytes: f32_bytes((rows + 1) * inputs + rows),
        },
    )
}
