//! Launches of `data.cu`: crops of training maps that reside on the device.

use crate::kernel::{Launch, Work, f32_bytes, kernel};

kernel!(
    /// Crops of maps in f32.
    GATHER,
    "data.cu",
    Plain,
    "gather_crops",
    "crops of maps, optionally mirrored, by a table",
    "plain: one thread per pixel; only 16 bytes per crop cross the bus"
);

kernel!(
    /// Crops of maps in half precision.
    GATHER_HALF,
    "data.cu",
    Plain,
    "gather_crops_half",
    "crops of maps in half precision",
    "plain: maps take half the memory; the conversion is exact"
);

/// Gathers `crops` crops of `elements` values each from maps in f32 or, with `half`, in half precision.
pub fn gather(crops: usize, elements: usize, half: bool) -> Launch {
    let length = crops * elements;
    let read = if half { length.div_ceil(2) } else { length };
    Launch::new(
        if half { &GATHER_HALF } else { &GATHER },
        [length.div_ceil(256), 1, 1],
        [256, 1, 1],
        Work {
            operations: 0.0,
            bytes: f32_bytes(read + length + 4 * crops),
        },
    )
}
