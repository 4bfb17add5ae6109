//! Launches of `data.cu`: batches cut out of training data on the device.

use crate::kernel::{Kernel, Launch, Tier, Work, f32_bytes};

/// Crops of maps, by a table.
pub static GATHER: Kernel = Kernel {
    name: "gather_crops",
    source: "data.cu",
    tier: Tier::Plain,
    summary: "crops of maps, mirrored or not, by a table",
    ladder: "plain: one thread per pixel; a batch crosses the bus as 16 bytes per map",
};

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
