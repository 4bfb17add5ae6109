//! What a product costs by arithmetic alone: the least that blocks, caches and memory take, for choosing where nobody has
//! measured.
//!
//! Tiles are dealt to multiprocessors in their order, each to the one that is free first. A slab takes what the slowest of
//! four takes: multiply-adds, reads from shared memory, copies from L2, or the latency of a copy, of which as many are under
//! way as there are stages but one. A tile takes its slabs, and storing its sums. The whole takes that, or what memory
//! takes, where the order of tiles says how often an operand that L2 does not hold is read again.
//!
//! Clock rates, widths and sizes are the vendor's for an A100 (40 GB, SXM) and an H100 (SXM); latencies and what L2 gives
//! are what is commonly reported of them. None of it was measured here.

use super::{Choice, Problem, Product};
use crate::implicit_gemm_hopper::pixel_tile;
use crate::kernel::Tier;
use crate::pack::Operand;

/// What the model knows of a GPU.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    /// What it stands for.
    pub name: &'static str,
    /// 90 for compute capability 9.0.
    pub architecture: i32,
    multiprocessors: usize,
    /// Cycles in a second.
    clock: f64,
    /// Multiply-adds of a multiprocessor in a cycle: of f32, and of bf16 by `mma.sync` and by `wgmma`; tf32 has half of these.
    f32_rate: f64,
    mma_rate: f64,
    wgmma_rate: f64,
    /// Bytes of shared memory of a multiprocessor, for blocks and what the system takes of each.
    shared_bytes: usize,
    /// Bytes of L2, and what it gives in a cycle.
    cache_bytes: f64,
    cache_rate: f64,
    /// Bytes of memory in a second.
    memory_rate: f64,
}

/// The GPUs for which tables are shipped.
pub const DEVICES: [Device; 2] = [
    Device {
        name: "A100",
        architecture: 80,
        multiprocessors: 108,
        clock: 1.41e9,
        f32_rate: 64.0,
        mma_rate: 1024.0,
        wgmma_rate: 0.0,
        shared_bytes: 164 << 10,
        cache_bytes: 40e6,
        cache_rate: 5120.0,
        memory_rate: 1.55e12,
    },
    Device {
        name: "H100",
        architecture: 90,
        multiprocessors: 132,
        clock: 1.7e9,
        f32_rate: 128.0,
        // Two thirds of what wgmma does.
        mma_rate: 1365.0,
        wgmma_rate: 2048.0,
        shared_bytes: 228 << 10,
        cache_bytes: 50e6,
        cache_rate: 5000.0,
        memory_rate: 3.35e12,
    },
];

/// Cycles until a copy from L2 has come.
const LATENCY: f64 = 700.0;
/// Bytes that shared memory gives a multiprocessor in a cycle.
const SHARED_RATE: f64 = 128.0;
/// Bytes of shared memory that the system takes of each block.
const RESERVED: usize = 1024;
/// A default is left only for what is faster by this share: the model is not that good.
const MARGIN: f64 = 0.05;

/// Tiles of one kind, in the order in which they are dealt.
struct Kind {
    tiles: usize,
    slabs: f64,
    /// Of a slab, on average: multiply-adds, and bytes that are copied.
    products: f64,
    copied: f64,
}

/// The fastest choice by the model among those that change no bit, or the default, if it is hardly slower.
pub fn choose(problem: &Problem, device: &Device) -> Choice {
    let default = problem.default_choice();
    let mut best = (seconds(problem, &default, device) * (1.0 - MARGIN), default);
    for tile in problem.tiles() {
        for band in problem.bands() {
            let choice = Choice {
                tile,
                band,
                ..default
            };
            let seconds = seconds(problem, &choice, device);
            if seconds < best.0 {
                best = (seconds, choice);
            }
        }
    }
    best.1
}

/// Seconds of a product by the model.
pub fn seconds(problem: &Problem, choice: &Choice, device: &Device) -> f64 {
    let tile = choice.tile;
    let is_hopper = problem.tier == Tier::Hopper;
    let resident = blocks(problem, choice, device);
    let share_of_cache = device.cache_rate / device.multiprocessors as f64;
    let under_way = (resident * (tile.stages - 1)) as f64;
    let stored = (4 * tile.rows * tile.columns) as f64 / share_of_cache;
    // What one block waits for, another one hides; the copying thread of Hopper kernels is ahead into the next tile.
    let start = if is_hopper { 0.0 } else { LATENCY };
    let around = (start + stored) / resident as f64;

    let kinds = kinds(problem, choice);
    let mut free = vec![0.0_f64; device.multiprocessors];
    for kind in &kinds {
        let slab = (kind.products / rate(problem, device))
            .max(shared_reads(problem, choice) / SHARED_RATE)
            .max(kind.copied / share_of_cache)
            .max(LATENCY / under_way);
        let cycles = kind.slabs * slab + around;
        // Whole waves, then tile by tile.
        let waves = kind.tiles / device.multiprocessors;
        free.iter_mut()
            .for_each(|free| *free += waves as f64 * cycles);
        for _ in 0..kind.tiles % device.multiprocessors {
            if let Some(first) = free.iter_mut().min_by(|a, b| a.total_cmp(b)) {
                *first += cycles;
            }
        }
    }
    let busy = free.into_iter().fold(0.0, f64::max) / device.clock;
    busy.max(memory_bytes(problem, choice, device) / device.memory_rate)
}

/// Blocks of a multiprocessor: registers allow two of 64 sums a thread, and one of more.
fn blocks(problem: &Problem, choice: &Choice, device: &Device) -> usize {
    let tile = choice.tile;
    let by_registers = if problem.tier == Tier::Hopper || tile.rows * tile.columns > 128 * 128 {
        1
    } else {
        2
    };
    let shared = tile.shared_bytes(problem.tier) + RESERVED;
    by_registers.min(device.shared_bytes / shared).max(1)
}

fn rate(problem: &Problem, device: &Device) -> f64 {
    let products = if problem.tier == Tier::Hopper {
        device.wgmma_rate
    } else {
        device.mma_rate
    };
    match problem.operand {
        Operand::F32 => device.f32_rate,
        Operand::Tf32 => products / 2.0,
        Operand::Bf16 => products,
    }
}

/// Bytes that products read from shared memory for one slab.
fn shared_reads(problem: &Problem, choice: &Choice) -> f64 {
    let tile = choice.tile;
    if problem.tier == Tier::Hopper {
        // A product has 64 rows and up to 128 columns, and reads both.
        let columns = tile.columns.min(128);
        let products = tile.rows / 64 * (tile.columns / columns);
        return (products * (64 + columns) * 128) as f64;
    }
    // Eight warps, each with 32 columns.
    let rows = tile.rows * tile.columns / 32 / 8;
    (8 * (rows + 32) * 64) as f64
}

fn kinds(problem: &Problem, choice: &Choice) -> Vec<Kind> {
    let (s, tile) = (&problem.shape, choice.tile);
    let is_hopper = problem.tier == Tier::Hopper;
    let slab_values =
        tile.stage_bytes(problem.tier) / (tile.rows + tile.columns) / problem.operand.bytes();
    let whole = (tile.rows * tile.columns * slab_values) as f64;
    let copied = tile.stage_bytes(problem.tier) as f64;
    let pixel_tiles = |[rows, columns]: [usize; 2]| {
        if !is_hopper {
            return (s.batch * rows * columns).div_ceil(tile.rows);
        }
        let pixels = [columns, rows, s.batch];
        let extents = pixel_tile(pixels, tile.rows);
        let axes = pixels.iter().zip(extents);
        axes.map(|(pixels, extent)| pixels.div_ceil(extent))
            .product()
    };
    match problem.product {
        Product::Fprop => vec![Kind {
            tiles: pixel_tiles(s.output) * s.outputs.div_ceil(tile.columns),
            slabs: (s.taps() * s.channels.div_ceil(slab_values)) as f64,
            products: whole,
            copied,
        }],
        Product::Dgrad => {
            let depth = s.outputs.div_ceil(slab_values);
            let pixels = [0, 1].map(|axis| s.input[axis].div_ceil(s.stride[axis]));
            let together = problem.together();
            let tiles = pixel_tiles(pixels) * (s.channels * together).div_ceil(tile.columns);
            let taps = |axis: usize| {
                let stride = s.stride[axis];
                let mut taps: Vec<usize> = (0..stride)
                    .map(|first| s.kernel[axis].saturating_sub(first).div_ceil(stride))
                    .collect();
                taps.sort_unstable_by(|a, b| b.cmp(a));
                taps
            };
            let mut kinds = Vec::new();
            for rows in taps(0) {
                for columns in taps(1).chunks(together) {
                    // Phases together read one source under as many shifts as the longest has taps.
                    let shifts = columns[0];
                    let part = columns.iter().sum::<usize>() as f64 / (together * shifts) as f64;
                    let source = (tile.rows * slab_values * problem.operand.bytes()) as f64;
                    kinds.push(Kind {
                        tiles,
                        slabs: (rows * shifts * depth) as f64,
                        products: part * whole,
                        copied: source + part * (copied - source),
                    });
                }
            }
            kinds
        }
        Product::Wgrad => {
            let rows = if is_hopper {
                s.taps() * s.channels.next_multiple_of(64)
            } else {
                s.taps() * problem.operand.padded(s.channels)
            };
            let pixels = s.batch * s.output[0] * s.output[1];
            let tiles = rows.div_ceil(tile.rows) * s.outputs.div_ceil(tile.columns);
            // A slab holds as many pixels as it holds channels elsewhere.
            vec![Kind {
                tiles: tiles * choice.slices,
                slabs: pixels.div_ceil(choice.slices).div_ceil(slab_values) as f64,
                products: whole,
                copied,
            }]
        }
    }
}

/// Bytes that memory gives and takes. What is more than half of L2 is read again whenever the order comes back to it.
fn memory_bytes(problem: &Problem, choice: &Choice, device: &Device) -> f64 {
    let s = &problem.shape;
    let bytes = problem.operand.bytes() as f64;
    let (x, y) = (s.input_len() as f64, s.output_len() as f64);
    let w = s.weight_len() as f64;
    let again = |bytes: f64, times: usize| {
        if bytes > device.cache_bytes / 2.0 {
            bytes * times as f64
        } else {
            bytes
        }
    };
    let (source, result, columns) = match problem.product {
        Product::Fprop => (x * bytes, 4.0 * y, s.outputs),
        Product::Dgrad => (y * bytes, 4.0 * x, s.channels),
        Product::Wgrad => {
            let partials = if choice.slices > 1 {
                2 * choice.slices
            } else {
                1
            };
            return bytes * (x + y) + 4.0 * w * partials as f64;
        }
    };
    let phases = match problem.product {
        Product::Dgrad => s.stride[0] * s.stride[1] / problem.together(),
        _ => 1,
    };
    let column_tiles = (columns * problem.together()).div_ceil(choice.tile.columns);
    let pixels = result / 4.0 / columns as f64 / (phases * problem.together()) as f64;
    let (sweeps, bands) = if choice.band == 0 {
        (column_tiles, 1)
    } else {
        let tiles = (pixels as usize).div_ceil(choice.tile.rows);
        (1, tiles.div_ceil(choice.band))
    };
    again(source, phases * sweeps) + again(w * bytes, phases * bands) + result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convolution::ConvShape;
    use crate::tuning::tests::SHAPE;

    /// 54 billion multiply-adds, however they are cut, and no choice beats the arithmetic.
    #[test]
    fn nothing_is_faster_than_its_multiply_adds() {
        for device in &DEVICES {
            for operand in [Operand::F32, Operand::Tf32, Operand::Bf16] {
                for product in Product::ALL {
                    let hopper = device.architecture == 90;
                    let problem = Problem::new(product, operand, &SHAPE, hopper);
                    let rate = rate(&problem, device) * device.multiprocessors as f64;
                    let least = SHAPE.work().operations / 2.0 / rate / device.clock;
                    for tile in problem.tiles() {
                        for band in problem.bands() {
                            let choice = Choice {
                                tile,
                                band,
                                ..problem.default_choice()
                            };
                            let seconds = seconds(&problem, &choice, device);
                            // fprop of the border multiplies zeros that dgrad has not.
                            assert!(
                                seconds > 0.95 * least && seconds < 20.0 * least,
                                "{problem:?} {choice}: {seconds:e} of {least:e}"
                            );
                        }
                    }
                    let chosen = choose(&problem, device);
                    problem.check(&chosen).unwrap();
                    assert!(problem.has_same_bits(&chosen, &problem.default_choice()));
                }
            }
        }
    }

    #[test]
    fn a_few_tiles_are_cut_smaller() {
        // One wave of 128×128 leaves most of the device idle.
        let small = ConvShape {
            batch: 8,
            input: [16, 16],
            output: [8, 8],
            ..SHAPE
        };
        let problem = Problem::new(Product::Fprop, Operand::Bf16, &small, false);
        let chosen = choose(&problem, &DEVICES[0]).tile;
        assert!(chosen.rows * chosen.columns < 128 * 128, "{chosen}");
    }
}
