//! Launches of `reduce.cu`: column sums of a matrix and sums of squares, in two steps.

use crate::kernel::{Launch, Work, f32_bytes, kernel};
use crate::precision::Precision;

/// Rows per block in the first step.
pub const SLICE: usize = 512;
/// Values per block in a sum of squares.
pub const SQUARES: usize = 4096;
const BLOCK: [u32; 3] = [32, 8, 1];

kernel!(
    /// First step: partial sums of [`SLICE`] rows each.
    PARTIALS,
    "reduce.cu",
    Plain,
    "column_partials",
    "sums per column of 512 rows of a matrix each",
    "plain: a block reads 32 columns at a time, so that rows coalesce; chains of 64 additions, then 8; x may be packed"
);

kernel!(
    /// Second step: the sum of the partial sums.
    TOTALS,
    "reduce.cu",
    Plain,
    "column_totals",
    "sums per column of all rows of a matrix of partial sums",
    "plain: adds in double precision, because there are few values"
);

kernel!(
    /// First step of a sum of squares.
    SQUARE_PARTIALS,
    "reduce.cu",
    Plain,
    "square_partials",
    "sums of squares of 4,096 values each",
    "plain: a warp adds by shuffles, so that a block needs two barriers"
);

/// Partial sums (rows of the result) for a matrix of `rows` rows.
pub fn slices(rows: usize) -> usize {
    rows.div_ceil(SLICE)
}

/// Partial sums of x `[rows, columns]`, stored in the format `from`: `[slices(rows), columns]`.
pub fn partials(from: Precision, rows: usize, columns: usize) -> Launch {
    let constants = match from {
        Precision::F32 => Vec::new(),
        _ => vec![("X_BITS", from.bits())],
    };
    Launch::specialised(
        &PARTIALS,
        constants,
        [slices(rows), columns.div_ceil(32), 1],
        BLOCK,
        Work {
            operations: (rows * columns) as f64,
            bytes: from.image_bytes(rows, columns) as f64 + f32_bytes(slices(rows) * columns),
        },
    )
}

/// Sums of `[rows, columns]` over the rows: `[columns]`.
pub fn totals(rows: usize, columns: usize) -> Launch {
    Launch::new(
        &TOTALS,
        [columns.div_ceil(32), 1, 1],
        // One thread per row, up to the size of a block: a weight gradient has few rows and very many columns.
        [32, rows.clamp(1, 32) as u32, 1],
        Work {
            operations: (rows * columns) as f64,
            bytes: f32_bytes((rows + 1) * columns),
        },
    )
}

/// Partial sums of squares of `length` values; there are [`square_slices`] of them.
pub fn square_partials(length: usize) -> Launch {
    Launch::new(
        &SQUARE_PARTIALS,
        [square_slices(length), 1, 1],
        [256, 1, 1],
        Work {
            operations: (2 * length) as f64,
            bytes: f32_bytes(length + square_slices(length)),
        },
    )
}

/// Number of partial sums of squares for `length` values.
pub fn square_slices(length: usize) -> usize {
    length.div_ceil(SQUARES)
}
