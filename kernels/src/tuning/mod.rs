//! How matrix products are cut into blocks: what there is to choose, per product, shape, operands and tier.
//!
//! [`Tile`] and band of a [`Choice`] change no bit of a result: a block adds the terms of an element in one order, whatever
//! its tile. The slices of a weight gradient do: each sums a share of the pixels, and the shares are added at the end.
//! Without a [`Choices`] table every product runs on its default, which depends on its shape alone.

pub mod model;

use std::collections::HashMap;
use std::fmt;

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

/// What a block computes, fixed when its kernel is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    /// Pixels of fprop and dgrad; taps times channels of wgrad.
    pub rows: usize,
    /// Channels of the result.
    pub columns: usize,
    /// Slabs of both operands that shared memory holds.
    pub stages: usize,
}

impl Tile {
    /// Of these extents.
    pub const fn new(rows: usize, columns: usize, stages: usize) -> Self {
        Self {
            rows,
            columns,
            stages,
        }
    }

    /// Bytes of one stage.
    pub fn stage_bytes(self, tier: Tier) -> usize {
        let row = if tier == Tier::Hopper { 128 } else { 64 };
        (self.rows + self.columns) * row
    }

    /// Bytes of shared memory of a block; Hopper kernels have two mbarriers for each stage.
    pub fn shared_bytes(self, tier: Tier) -> usize {
        let barriers = if tier == Tier::Hopper { 16 } else { 0 };
        self.stages * (self.stage_bytes(tier) + barriers)
    }

    /// As a compilation takes it.
    pub(crate) fn constants(self) -> [(&'static str, u32); 3] {
        // Tiles come from the lists below.
        [
            ("TILE_M", self.rows as u32),
            ("TILE_N", self.columns as u32),
            ("STAGES", self.stages as u32),
        ]
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}×{} {} stages",
            self.rows, self.columns, self.stages
        )
    }
}

/// How a product is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Choice {
    /// What a block computes.
    pub tile: Tile,
    /// Tiles of pixels that are computed under all columns before the next ones; 0 for all of them. Of no meaning to wgrad.
    pub band: usize,
    /// Shares of the pixels that wgrad sums apart; 1 for the other products.
    pub slices: usize,
}

impl fmt::Display for Choice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.tile)?;
        match self.band {
            0 => {}
            band => write!(formatter, ", bands of {band}")?,
        }
        match self.slices {
            1 => Ok(()),
            slices => write!(formatter, ", {slices} slices"),
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
const TILED: [Tile; 8] = [
    Tile::new(128, 128, 3),
    Tile::new(128, 128, 4),
    Tile::new(128, 64, 3),
    Tile::new(128, 64, 4),
    Tile::new(64, 128, 4),
    Tile::new(64, 64, 4),
    Tile::new(256, 64, 3),
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
/// Tiles of Hopper kernels: as many stages as fit, and fewer.
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
    fn together(&self) -> usize {
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
            columns && !(many && tile.rows > 128) && *tile != default
        };
        let others = list.iter().copied().filter(fits);
        std::iter::once(default).chain(others).collect()
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

/// Tables that come with the program, by architecture: the products of the paper's training step at batch 64, chosen by
/// [`model`] and not measured. `cosmogan tune --model ARCHITECTURE` writes them.
pub const SHIPPED: [(i32, &str); 2] = [
    (80, include_str!("../../tuning/sm_80.json")),
    (90, include_str!("../../tuning/sm_90.json")),
];

/// Where a choice comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// From the shape alone.
    Default,
    /// From a table that a model of the device's cost made; unmeasured.
    Model,
    /// From a search on the device.
    Measured,
}

/// What was chosen for each problem.
#[derive(Clone, Debug, Default)]
pub struct Choices(HashMap<Problem, (Choice, Origin)>);

impl Choices {
    /// Adds what was chosen for a problem, in the place of what was chosen before.
    ///
    /// # Errors
    /// Where the problem's kernels cannot be launched so: what is wrong.
    pub fn insert(
        &mut self,
        problem: Problem,
        choice: Choice,
        origin: Origin,
    ) -> Result<(), String> {
        problem.check(&choice)?;
        self.0.insert(problem, (choice, origin));
        Ok(())
    }

    /// What was chosen for a problem, or its default.
    pub fn of(&self, problem: &Problem) -> (Choice, Origin) {
        let found = self.0.get(problem).copied();
        found.unwrap_or_else(|| (problem.default_choice(), Origin::Default))
    }

    /// How many problems there are from `origin`.
    pub fn count(&self, origin: Origin) -> usize {
        let all = self.0.values();
        all.filter(|(_, found)| *found == origin).count()
    }
}

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
    use crate::manifest::modules;

    const SHAPE: ConvShape = ConvShape {
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
                        assert!(problem.tiles().len() > 2, "{problem:?}");
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
