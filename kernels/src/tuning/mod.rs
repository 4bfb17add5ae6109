//! Tiling of the convolution GEMMs: the configurations available per GEMM, shape, operand format and tier.
//!
//! [`Tile`] and band of a [`TileConfig`] do not change any bit of a result, because a block adds the terms of an element
//! in one order for every tile. The number of split-K slices of a weight gradient does change it. Without a
//! [`TileConfigs`] table every GEMM runs with its default, which depends only on its shape.

mod problem;
mod tile_configs;

use crate::convolution::{ConvProduct, ConvShape};
use crate::kernel::Module;
use crate::precision::Precision;

pub use crate::tile::{Tile, TileConfig};
pub use problem::Problem;
pub use tile_configs::TileConfigs;

/// Modules of all candidate configurations, in addition to the defaults.
///
/// The candidates are those for the paper's windows and for linear layers.
pub fn candidate_modules() -> Vec<Module> {
    let convolution = ConvShape {
        batch: 64,
        input: [64, 64],
        channels: 256,
        output: [32, 32],
        outputs: 256,
        kernel: [5, 5],
        stride: [2, 2],
        begin: [1, 1],
    };
    let linear = ConvShape {
        input: [1, 1],
        output: [1, 1],
        kernel: [1, 1],
        stride: [1, 1],
        begin: [0, 0],
        ..convolution
    };
    // Narrow enough for two phases per tile.
    let narrow = ConvShape {
        channels: 64,
        ..convolution
    };
    let mut modules = Vec::new();
    for operand in [Precision::F32, Precision::Tf32, Precision::Bf16] {
        for product in ConvProduct::ALL {
            for (shape, has_hopper) in [
                (convolution, false),
                (linear, false),
                (convolution, true),
                (narrow, true),
            ] {
                let problem = Problem::new(product, operand, &shape, has_hopper);
                let default = problem.default_config();
                for tile in problem.tiles() {
                    modules.extend(problem.module(&TileConfig { tile, ..default }));
                }
            }
        }
    }
    modules.sort();
    modules.dedup();
    modules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::modules;
    use crate::tier::Tier;

    /// The paper's convolution from 128 to 256 channels, at 64 maps.
    pub(super) const SHAPE: ConvShape = ConvShape {
        batch: 64,
        input: [64, 64],
        channels: 128,
        output: [32, 32],
        outputs: 256,
        kernel: [5, 5],
        stride: [2, 2],
        begin: [1, 1],
    };

    #[test]
    fn candidates_begin_with_the_default_and_can_be_launched() {
        for operand in [Precision::F32, Precision::Tf32, Precision::Bf16] {
            for product in ConvProduct::ALL {
                for channels in [16, 64, 128] {
                    for has_hopper in [false, true] {
                        let shape = ConvShape { channels, ..SHAPE };
                        let problem = Problem::new(product, operand, &shape, has_hopper);
                        let default = problem.default_config();
                        assert_eq!(problem.tiles()[0], default.tile);
                        assert_eq!(problem.bands()[0], default.band);
                        assert_eq!(problem.splits()[0], default.slices);
                        assert!(problem.tiles().len() >= 2, "{problem:?}");
                        for tile in problem.tiles() {
                            for band in problem.bands() {
                                for slices in problem.splits() {
                                    let tile_config = TileConfig { tile, band, slices };
                                    problem.check(&tile_config).unwrap();
                                    assert!(problem.module(&tile_config).is_some());
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn shared_memory_is_what_the_gpus_have() {
        for module in candidate_modules().iter().chain(&modules()) {
            // Per block: 99 KiB on compute capability 8.6, 8.9 and 12.0, 227 KiB on 9.0.
            let most = match module.tier {
                Tier::Hopper => 227 << 10,
                _ => 99 << 10,
            };
            assert!(module.dynamic_shared_bytes() <= most, "{module:?}");
        }
    }

    #[test]
    fn what_no_kernel_is_made_for_is_refused() {
        let problem = Problem::new(ConvProduct::Wgrad, Precision::F32, &SHAPE, true);
        let default = problem.default_config();
        let mut tile_configs = TileConfigs::default();
        let mut refused = |tile_config| tile_configs.insert(problem, tile_config).is_err();
        // In f32 this tile would spill registers.
        let tile = Tile::new(256, 128, 3);
        assert!(refused(TileConfig { tile, ..default }));
        assert!(refused(TileConfig { band: 4, ..default }));
        let tile = Tile::new(96, 128, 3);
        assert!(refused(TileConfig { tile, ..default }));
        assert!(refused(TileConfig {
            slices: 0,
            ..default
        }));
        assert!(refused(TileConfig {
            slices: 1 << 40,
            ..default
        }));
        assert!(!refused(TileConfig {
            slices: 1,
            ..default
        }));
        assert_eq!(tile_configs.len(), 1);
        assert_eq!(tile_configs.of(&problem).slices, 1);
        let other = Problem {
            product: ConvProduct::Fprop,
            ..problem
        };
        assert_eq!(tile_configs.of(&other), other.default_config());
    }
}
