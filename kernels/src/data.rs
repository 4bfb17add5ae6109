//! Launches of `data.cu`: batches cut out of training data on the device.

use crate::kernel::{Launch, Work, f32_bytes, kernel};

kernel!(
    /// Crops of maps, by a table.
    GATHER,
    "data.cu",
    Plain,
    "gather_crops",
    "crops of maps, mirrored or not, by a table",
    "plain: one thread per pixel; a batch crosses the bus as 16 bytes per map"
);

/// Gathers `crops` crops of `elements` values each.
pub fn gather(crops: usize, elements: usize) -> Launch {
    let length = crops * elements;
    Launch::new(
        &GATHER,
        [length.div_ceil(256), 1, 1],
        [256, 1, 1],
        Work {
            operations: 0.0,
            bytes: f32_bytes(2 * length + 4 * crops),
        },
    )
}
