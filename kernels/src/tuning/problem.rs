//! What is computed, and every way to cut it.

use super::choice::{Choice, Tile};
use crate::convolution::ConvShape;
use crate::implicit_gemm_hopper::{self, together};
use crate::kernel::{Module, Tier};
use crate::pack::Operand;
use crate::{implicit_gemm, implicit_gemm_hopper_wgrad};

/// One of the three products of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Product {
    /// y from x and w.
    Fprop,
    /// x from y and w.
    Dgrad,
    /// w from x and y.
    Wgrad,
}

impl Product {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Fprop, Self::Dgrad, Self::Wgrad];

    /// Its name in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fprop => "fprop",
            Self::Dgrad => "dgrad",
            Self::Wgrad => "wgrad",
        }
    }
}

/// A product at a shape, on the kernels of one tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// What is computed.
    pub product: Product,
    /// What is multiplied.
    pub operand: Operand,
    /// On which kernels: [`Tier::Tiled`] or [`Tier::Hopper`].
    pub tier: Tier,
    /// At which shape.
    pub shape: ConvShape,
}

/// Tiles of tiled kernels on tensor cores. The last one takes a multiprocessor's registers alone.
const TILED: [Tile; 7] = [
    Tile::new(128, 128, 3),
    Tile::new(128, 128, 4),
    Tile::new(128, 64, 3),
    Tile::new(128, 64, 4),
    Tile::new(64, 128, 4),
    Tile::new(64, 64, 4),
    Tile::new(256, 128, 3),
];
/// The same by multiply-adds of f32: others would spill registers.
const TILED_F32: [Tile; 5] = [
    Tile::new(128, 128, 3),
    Tile::new(128, 64, 3),
    Tile::new(128, 64, 4),
    Tile::new(64, 128, 4),
    Tile::new(64, 64, 3),
];
/// Tiles of Hopper kernels: as many stages as fit, and fewer. Those of 128 rows are for weight gradients alone.
const HOPPER: [Tile; 8] = [
    Tile::new(256, 128, 4),
    Tile::new(256, 128, 3),
    Tile::new(128, 128, 6),
    Tile::new(128, 128, 4),
    Tile::new(128, 256, 4),
    Tile::new(128, 256, 3),
    Tile::new(256, 64, 5),
    Tile::new(128, 64, 8),
];
/// Partial sums of a weight gradient at most: more would take more memory than they save time.
const MOST_SLICES: usize = 1024;

impl Problem {
    /// The problem on the kernels that take it; Hopper kernels take a part of the shapes, where there are any.
    pub fn new(product: Product, operand: Operand, shape: &ConvShape, has_hopper: bool) -> Self {
        let on = |tier| Self {
            product,
            operand,
            tier,
            shape: *shape,
        };
        let hopper = on(Tier::Hopper);
        let choice = hopper.default_choice();
        let taken = match product {
            Product::Fprop => implicit_gemm_hopper::fprop(operand, shape, &choice, 1).is_some(),
            Product::Dgrad => implicit_gemm_hopper::dgrad(operand, shape, &choice, 1).is_some(),
            Product::Wgrad => {
                implicit_gemm_hopper_wgrad::wgrad(operand, shape, &choice, 1).is_some()
            }
        };
        if has_hopper && taken {
            hopper
        } else {
            on(Tier::Tiled)
        }
    }

    /// Channels of the result.
    fn columns(&self) -> usize {
        match self.product {
            Product::Fprop | Product::Wgrad => self.shape.outputs,
            Product::Dgrad => self.shape.channels,
        }
    }

    /// Phases that one tile computes.
    pub(super) fn together(&self) -> usize {
        match (self.tier, self.product) {
            (Tier::Hopper, Product::Dgrad) => together(&self.shape),
            _ => 1,
        }
    }

    /// What is chosen where nothing else is known.
    pub fn default_choice(&self) -> Choice {
        let wide = self.columns() > 64 || self.product == Product::Wgrad || self.together() > 1;
        let tile = match (self.tier, wide) {
            (Tier::Hopper, true) => Tile::new(256, 128, 4),
            (Tier::Hopper, false) => Tile::new(256, 64, 5),
            (_, true) => Tile::new(128, 128, 3),
            (_, false) => Tile::new(128, 64, 3),
        };
        let slices = match (self.product, self.tier) {
            (Product::Wgrad, Tier::Hopper) => {
                implicit_gemm_hopper_wgrad::default_slices(&self.shape)
            }
            (Product::Wgrad, _) => implicit_gemm::default_slices(self.operand, &self.shape),
            _ => 1,
        };
        Choice {
            tile,
            band: usize::from(self.tier == Tier::Hopper && self.product != Product::Wgrad),
            slices,
        }
    }

    /// Every tile that computes it without leaving half of itself empty, the default first.
    pub fn tiles(&self) -> Vec<Tile> {
        let default = self.default_choice().tile;
        let list = match (self.tier, self.operand) {
            (Tier::Hopper, _) => &HOPPER[..],
            (_, Operand::F32) => &TILED_F32,
            (_, Operand::Tf32 | Operand::Bf16) => &TILED,
        };
        let fits = |tile: &Tile| {
            let needs_two_halves = self.together() > 1 || self.has_wide_columns();
            let columns = if needs_two_halves {
                tile.columns == 128 || (tile.columns == 256 && self.columns() > 128)
            } else {
                tile.columns == 64 || self.columns() > tile.columns / 2
            };
            // Its fragments of tf32 take more registers than those of bf16, which come transposed.
            let many = (self.product, self.operand) == (Product::Wgrad, Operand::Tf32);
            columns && self.has_whole_slices(tile) && !(many && tile.rows > 128) && *tile != default
        };
        let others = list.iter().copied().filter(fits);
        std::iter::once(default).chain(others).collect()
    }

    /// Whether each warp has the 32 rows of which an epilogue takes statistics together, where it takes any.
    fn has_whole_slices(&self, tile: &Tile) -> bool {
        const ROWS: usize = 32;
        const WARPS: usize = 8;
        let warps_of_columns = if self.tier == Tier::Hopper {
            1
        } else {
            tile.columns / 32
        };
        let takes_none = self.product == Product::Wgrad || self.operand == Operand::F32;
        takes_none || tile.rows * warps_of_columns / WARPS >= ROWS
    }

    /// Whether its kernel has no tiles of 64 columns.
    fn has_wide_columns(&self) -> bool {
        self.tier == Tier::Hopper && self.product == Product::Wgrad
    }

    /// Whether there is an order to choose. Tiled kernels have bands for the windows that are constants of theirs.
    fn has_bands(&self) -> bool {
        let is_constant = !self.shape.window_constants().is_empty();
        self.product != Product::Wgrad && (self.tier == Tier::Hopper || is_constant)
    }

    /// The orders in which tiles are worth computing, the default first.
    pub fn bands(&self) -> Vec<usize> {
        let default = self.default_choice().band;
        if !self.has_bands() {
            return vec![default];
        }
        let others = [0, 1, 16].into_iter().filter(|band| *band != default);
        std::iter::once(default).chain(others).collect()
    }

    /// The numbers of slices that are worth a try, the default first.
    pub fn splits(&self) -> Vec<usize> {
        let default = self.default_choice().slices;
        if self.product != Product::Wgrad {
            return vec![default];
        }
        let mut others = [
            1,
            default / 2,
            3 * default / 4,
            3 * default / 2,
            2 * default,
        ];
        others.sort_unstable();
        let mut splits = vec![default];
        for slices in others {
            if (1..=self.most_slices()).contains(&slices) && !splits.contains(&slices) {
                splits.push(slices);
            }
        }
        splits
    }

    /// As many as have a slab each, and on tiled kernels eight.
    fn most_slices(&self) -> usize {
        let pixels = self.shape.batch * self.shape.output[0] * self.shape.output[1];
        let least = if self.tier == Tier::Hopper {
            implicit_gemm_hopper_wgrad::SLAB
        } else {
            implicit_gemm::least_share(self.operand)
        };
        MOST_SLICES.min(pixels.div_ceil(least)).max(1)
    }

    /// Whether a choice, from a file say, is one that the kernels can be launched with.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, choice: &Choice) -> Result<(), String> {
        if !self.tiles().contains(&choice.tile) {
            return Err(format!("no kernel has tiles of {}", choice.tile));
        }
        let default = self.default_choice();
        if choice.band > 1 << 20 || choice.band != default.band && !self.has_bands() {
            return Err(format!(
                "no kernel has bands of {} tiles there",
                choice.band
            ));
        }
        let slices = if self.product == Product::Wgrad {
            1..=self.most_slices().max(default.slices)
        } else {
            1..=1
        };
        if !slices.contains(&choice.slices) {
            return Err(format!("{} slices", choice.slices));
        }
        Ok(())
    }

    /// Whether two choices give the same bits.
    pub fn has_same_bits(&self, a: &Choice, b: &Choice) -> bool {
        a.slices == b.slices
    }

    /// What is compiled for a choice.
    pub fn module(&self, choice: &Choice) -> Option<Module> {
        let (operand, s) = (self.operand, &self.shape);
        Some(match (self.tier, self.product) {
            (Tier::Hopper, Product::Fprop) => {
                implicit_gemm_hopper::fprop(operand, s, choice, 1)?
                    .launch
                    .module
            }
            (Tier::Hopper, Product::Dgrad) => {
                implicit_gemm_hopper::dgrad(operand, s, choice, 1)?
                    .launch
                    .module
            }
            (Tier::Hopper, Product::Wgrad) => {
                implicit_gemm_hopper_wgrad::wgrad(operand, s, choice, 1)?
                    .launch
                    .module
            }
            (_, Product::Fprop) => implicit_gemm::fprop(operand, s, choice).module,
            (_, Product::Dgrad) => implicit_gemm::dgrad(operand, s, choice).module,
            (_, Product::Wgrad) => implicit_gemm::wgrad(operand, s, choice).0.module,
        })
    }
}
