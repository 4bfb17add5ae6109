//! How matrix products are cut into blocks: what there is to choose, per product, shape, operands and tier.
//!
//! [`Tile`] and band of a [`Choice`] change no bit of a result: a block adds the terms of an element in one order, whatever
//! its tile. The slices of a weight gradient do: each sums a share of the pixels, and the shares are added at the end.
//! Without a [`Choices`] table every product runs on its default, which depends on its shape alone.

mod choice;
pub mod model;
mod problem;

use crate::convolution::ConvShape;
use crate::kernel::Module;
use crate::pack::Operand;

pub use choice::{Choice, Choices, Origin, Tile};
pub use problem::{Problem, Product};

/// Tables that come with the program, by architecture: the products of the paper's training step at batch 64, chosen by
/// [`model`] and not measured. `cosmogan tune --model ARCHITECTURE` writes them.
pub const SHIPPED: [(i32, &str); 2] = [
    (80, include_str!("../../tuning/sm_80.json")),
    (90, include_str!("../../tuning/sm_90.json")),
];

/// Every module of every candidate for the paper's windows and for linear layers, besides the defaults.
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
    // Two phases in a tile.
    let narrow = ConvShape {
        channels: 64,
        ..convolution
    };
    let mut modules = Vec::new();
    for operand in [Operand::F32, Operand::Tf32, Operand::Bf16] {
        for product in Product::ALL {
            for (shape, has_hopper) in [
                (convolution, false),
                (linear, false),
                (convolution, true),
                (narrow, true),
            ] {
                let problem = Problem::new(product, operand, &shape, has_hopper);
                let default = problem.default_choice();
                for tile in problem.tiles() {
                    modules.extend(problem.module(&Choice { tile, ..default }));
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
    use crate::kernel::Tier;
    use crate::manifest::modules;

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
        for operand in [Operand::F32, Operand::Tf32, Operand::Bf16] {
            for product in Product::ALL {
                for channels in [16, 64, 128] {
                    for has_hopper in [false, true] {
                        let shape = ConvShape { channels, ..SHAPE };
                        let problem = Problem::new(product, operand, &shape, has_hopper);
                        let default = problem.default_choice();
                        assert_eq!(problem.tiles()[0], default.tile);
                        assert_eq!(problem.bands()[0], default.band);
                        assert_eq!(problem.splits()[0], default.slices);
                        assert!(problem.tiles().len() >= 2, "{problem:?}");
                        for tile in problem.tiles() {
                            for band in problem.bands() {
                                for slices in problem.splits() {
                                    let choice = Choice { tile, band, slices };
                                    problem.check(&choice).unwrap();
                                    assert!(problem.module(&choice).is_some());
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
            // Per block: 99 KiB on compute capability 8.6, 8.9 and 12.0, 227 on 9.0.
            let most = match module.tier() {
                Tier::Hopper => 227 << 10,
                _ => 99 << 10,
            };
            assert!(module.dynamic_shared_bytes() <= most, "{module:?}");
        }
    }

    #[test]
    fn what_no_kernel_is_made_for_is_refused() {
        let problem = Problem::new(Product::Wgrad, Operand::F32, &SHAPE, true);
        let default = problem.default_choice();
        let mut choices = Choices::default();
        let mut refused = |choice| choices.insert(problem, choice, Origin::Measured).is_err();
        // In f32 it would spill.
        let tile = Tile::new(256, 128, 3);
        assert!(refused(Choice { tile, ..default }));
        assert!(refused(Choice { band: 4, ..default }));
        let tile = Tile::new(96, 128, 3);
        assert!(refused(Choice { tile, ..default }));
        assert!(refused(Choice {
            slices: 0,
            ..default
        }));
        assert!(refused(Choice {
            slices: 1 << 40,
            ..default
        }));
        assert!(!refused(Choice {
            slices: 1,
            ..default
        }));
        assert_eq!(choices.count(Origin::Measured), 1);
        assert_eq!(choices.of(&problem).0.slices, 1);
        let other = Problem {
            product: Product::Fprop,
            ..problem
        };
        assert_eq!(
            choices.of(&other),
            (other.default_choice(), Origin::Default)
        );
    }
}
