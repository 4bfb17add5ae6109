//! Launches of `batch_norm.cu`: statistics, normalisation and gradients over the rows of `[rows, channels]`.

use crate::kernel::{Kernel, Launch, Work, f32_bytes, kernel};

/// Rows that one block of a reduction's first step handles.
pub const SLICE: usize = 512;
const LANES: [u32; 3] = [32, 8, 1];
const STATISTICS_LANES: [u32; 3] = [32, 32, 1];

kernel!(
    /// First step of the statistics.
    SLICES,
    "batch_norm.cu",
    Plain,
    "batch_norm_slices",
    "mean and sum of squared deviations of 512 rows each, per channel",
    "plain: two passes over a slice that the cache holds, so that nothing cancels"
);
kernel!(
    /// Second step of the statistics.
    STATISTICS,
    "batch_norm.cu",
    Plain,
    "batch_norm_statistics",
    "mean and biased variance per channel, from those of the slices",
    "plain: combines in double precision"
);
kernel!(
    /// y from x.
    NORMALISE,
    "batch_norm.cu",
    Plain,
    "batch_norm_normalise",
    "y = rectified (x − mean)·scale/√(variance + ε) + shift",
    "normalises and rectifies in one pass: one read and one write of the image, and not two; a thread stays with its channel"
);
kernel!(
    /// First step of the gradients.
    GRADIENT_SLICES,
    "batch_norm.cu",
    Plain,
    "batch_norm_gradient_slices",
    "Σ g and Σ g·x̂ of 512 rows each, per channel, g being the gradient behind the rectifier",
    "both sums in one pass, and neither y nor an image of g in memory"
);
kernel!(
    /// dx from both sums.
    GRADIENT,
    "batch_norm.cu",
    Plain,
    "batch_norm_gradient",
    "dx = scale/√(variance + ε)·(g − Σg/M − x̂·Σg·x̂/M)",
    "a thread stays with its channel: factors are prepared once, and no element costs a division"
);

/// Slices of a reduction over `rows` rows.
pub fn slices(rows: usize) -> usize {
    rows.div_ceil(SLICE)
}

/// Means and squared deviations of x's slices: two matrices `[slices(rows), channels]`.
pub fn statistics_slices(rows: usize, channels: usize) -> Launch {
    let elements = (rows + 2 * slices(rows)) * channels;
    over_slices(&SLICES, rows, channels, elements, 4)
}

/// Mean and variance `[channels]` from those of the slices.
pub fn statistics(rows: usize, channels: usize) -> Launch {
    Launch::new(
        &STATISTICS,
        [channels.div_ceil(32), 1, 1],
        STATISTICS_LANES,
        Work {
            operations: (7 * slices(rows) * channels) as f64,
            bytes: f32_bytes((2 * slices(rows) + 2) * channels),
        },
    )
}

/// y from x and the statistics.
pub fn normalise(rows: usize, channels: usize) -> Launch {
    over_slices(&NORMALISE, rows, channels, (2 * rows + 4) * channels, 5)
}

/// Both sums of the gradients over x's slices: two matrices `[slices(rows), channels]`.
pub fn gradient_slices(rows: usize, channels: usize) -> Launch {
    let elements = (2 * rows + 2 * slices(rows) + 4) * channels;
    over_slices(&GRADIENT_SLICES, rows, channels, elements, 9)
}

/// dx from both sums.
pub fn gradient(rows: usize, channels: usize) -> Launch {
    over_slices(&GRADIENT, rows, channels, (3 * rows + 6) * channels, 10)
}

/// A launch whose blocks are slices of the rows by 32 channels, and which moves `elements` values.
fn over_slices(
    kernel: &'static Kernel,
    rows: usize,
    channels: usize,
    elements: usize,
    operations: usize,
) -> Launch {
    Launch::new(
        kernel,
        [slices(rows), channels.div_ceil(32), 1],
        LANES,
        Work {
            operations: (operations * rows * channels) as f64,
            bytes: f32_bytes(elements),
        },
    )
}
