//! Launches of `reduce.cu`: column sums of a matrix and sums of squares, in two steps.

use crate::kernel::{Kernel, Launch, Tier, Work, f32_bytes};

/// Rows that one block of the first step adds.
pub const SLICE: usize = 512;
/// Values whose squares one block adds.
pub const SQUARES: usize = 4096;
const BLOCK: [u32; 3] = [32, 8, 1];
const TOTALS_BLOCK: [u32; 3] = [32, 32, 1];

/// First step: partial sums of [`SLICE`] rows each.
pub static PARTIALS: Kernel = Kernel {
    name: "column_partials",
    source: "reduce.cu",
    tier: Tier::Plain,
    summary: "sums of 512 rows each of a matrix, per column",
    ladder: "plain: a block reads 32 columns at a time, so that rows coalesce; chains of 64 additions, then 8",
};

/// Second step: the sum of the partial sums.
pub static TOTALS: Kernel = Kernel {
    name: "column_totals",
    source: "reduce.cu",
    tier: Tier::Plain,
    summary: "sums of all rows of a matrix of partial sums, per column",
    ladder: "plain: adds in double precision, because there is little to add",
};

/// First step of a sum of squares.
pub static SQUARE_PARTIALS: Kernel = Kernel {
    name: "square_partials",
    source: "reduce.cu",
    tier: Tier::Plain,
    summary: "sums of squares of 4,096 values each",
    ladder: "plain: a warp adds by shuffles, so that a block needs one barrier",
};

/// Partial rows of a matrix of `rows` rows.
pub fn slices(rows: usize) -> usize {
    rows.div_ceil(SLICE)
}

/// Partial sums of x `[rows, columns]`: `[slices(rows), columns]`.
pub fn partials(rows: usize, columns: usize) -> Launch {
    Launch::new(
        &PARTIALS,
        [slices(rows), columns.div_ceil(32), 1],
        BLOCK,
        Work {
            operations: (rows * columns) as f64,
            bytes: f32_bytes((rows + slices(rows)) * columns),
        },
    )
}

/// Sums of `[rows, columns]` over the rows: `[columns]`.
pub fn totals(rows: usize, columns: usize) -> Launch {
    Launch::new(
        &TOTALS,
        [columns.div_ceil(32), 1, 1],
        TOTALS_BLOCK,
        Work {
            operations: (rows * columns) as f64,
            bytes: f32_bytes((rows + 1) * columns),
        },
    )
}

/// Partial sums of squares of `length` values: [`square_slices`] of them.
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

/// Partial sums of squares of `length` values.
pub fn square_slices(length: usize) -> usize {
    length.div_ceil(SQUARES)
}
