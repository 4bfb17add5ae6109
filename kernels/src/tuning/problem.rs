//! GEMMs to compute, and the configurations that each of them supports.

use crate::convolution::{ConvProduct, ConvShape};
use crate::implicit_gemm_hopper::{self, together};
use crate::kernel::Module;
use crate::precision::Precision;
use crate::tier::Tier;
use crate::tile::{Tile, TileConfig};
use crate::{implicit_gemm, implicit_gemm_hopper_wgrad};

/// A GEMM of a given shape, on the kernels of one tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// GEMM.
    pub product: ConvProduct,
    /// Precision format.
    pub operand: Precision,
    /// Tier of the kernels: [`Tier::Tiled`] or [`Tier::Hopper`].
    pub tier: Tier,
    /// Shape.
    pub shape: ConvShape,
}

/// Tiles of the tiled kernels on tensor cores.
///
/// A block with the last one takes all registers of a multiprocessor.
const TILED: [Tile; 7] = [
    Tile::new(128, 128, 3),
    Tile::new(128, 128, 4),
    Tile::new(128, 64, 3),
    Tile::new(128, 64, 4),
    Tile::new(64, 128, 4),
    Tile::new(64, 64, 4),
    Tile::new(256, 128, 3),
];
/// Tiles of the tiled kernels in f32; others would spill registers.
const TILED_F32: [Tile; 5] = [
    Tile::new(128, 128, 3),
    Tile::new(128, 64, 3),
    Tile::new(128, 64, 4),
    Tile::new(64, 128, 4),
    Tile::new(64, 64, 3),
];
/// Tiles of the Hopper kernels, with as many stages as fit, and fewer.
///
/// Those of 128 rows are only for weight gradients.
const HOPPER: [Tile; 7] = [
    Tile::new(256, 128, 4),
    Tile::new(256, 128, 3),
    Tile::new(128, 128, 6),
    Tile::new(128, 128, 4),
    Tile::new(128, 256, 4),
    Tile::new(128, 256, 3),
    Tile::new(256, 64, 5),
];
/// Most split-K slices of a weight gradient: more would need more memory traffic than they save time.
const MOST_SLICES: usize = 1024;

impl Problem {
    /// Creates the problem for the best tier that supports the shape.
    ///
    /// Hopper kernels support only some shapes.
    pub fn new(
        product: ConvProduct,
        operand: Precision,
        shape: &ConvShape,
        has_hopper: bool,
    ) -> Self {
        let on = |tier| Self {
            product,
            operand,
            tier,
            shape: *shape,
        };
        let hopper = on(Tier::Hopper);
        let tile_config = hopper.default_config();
        let taken = match product {
            ConvProduct::Fprop => {
                implicit_gemm_hopper::fprop(operand, shape, &tile_config, 1).is_some()
            }
            ConvProduct::Dgrad => {
                implicit_gemm_hopper::dgrad(operand, shape, &tile_config, 1).is_some()
            }
            ConvProduct::Wgrad => {
                implicit_gemm_hopper_wgrad::wgrad(operand, shape, &tile_config, 1).is_some()
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
            ConvProduct::Fprop | ConvProduct::Wgrad => self.shape.outputs,
            ConvProduct::Dgrad => self.shape.channels,
        }
    }

    /// Phases that one tile computes.
    pub(super) fn together(&self) -> usize {
        match (self.tier, self.product) {
            (Tier::Hopper, ConvProduct::Dgrad) => together(&self.shape),
            _ => 1,
        }
    }

    /// Returns the configuration that is used without a table.
    pub fn default_config(&self) -> TileConfig {
        let wide = self.columns() > 64 || self.product == ConvProduct::Wgrad || self.together() > 1;
        let tile = match (self.tier, wide) {
            (Tier::Hopper, true) => Tile::new(256, 128, 4),
            (Tier::Hopper, false) => Tile::new(256, 64, 5),
            (_, true) => Tile::new(128, 128, 3),
            (_, false) => Tile::new(128, 64, 3),
        };
        let slices = match (self.product, self.tier) {
            (ConvProduct::Wgrad, Tier::Hopper) => {
                implicit_gemm_hopper_wgrad::default_slices(&self.shape)
            }
            (ConvProduct::Wgrad, _) => implicit_gemm::default_slices(self.operand, &self.shape),
            _ => 1,
        };
        TileConfig {
            tile,
            band: usize::from(self.tier == Tier::Hopper && self.product != ConvProduct::Wgrad),
            slices,
        }
    }

    /// Returns every tile that would not stay half empty, the default first.
    pub fn tiles(&self) -> Vec<Tile> {
        let default = self.default_config().tile;
        let list = match (self.tier, self.operand) {
            (Tier::Hopper, _) => &HOPPER[..],
            (_, Precision::F32) => &TILED_F32,
            (_, Precision::Tf32 | Precision::Bf16) => &TILED,
        };
        let fits = |tile: &Tile| {
            let needs_two_halves = self.together() > 1 || self.has_wide_columns();
            let columns = if needs_two_halves {
                tile.columns == 128 || (tile.columns == 256 && self.columns() > 128)
            } else {
                tile.columns == 64 || self.columns() > tile.columns / 2
            };
            // tf32 fragments of wgrad take more registers than bf16 ones, which ldmatrix transposes.
            let many = (self.product, self.operand) == (ConvProduct::Wgrad, Precision::Tf32);
            columns && self.has_whole_slices(tile) && !(many && tile.rows > 128) && *tile != default
        };
        let others = list.iter().copied().filter(fits);
        std::iter::once(default).chain(others).collect()
    }

    /// Whether each warp has the 32 rows over which an epilogue takes statistics, if it takes any.
    fn has_whole_slices(&self, tile: &Tile) -> bool {
        const ROWS: usize = 32;
        const WARPS: usize = 8;
        let warps_of_columns = if self.tier == Tier::Hopper {
            1
        } else {
            tile.columns / 32
        };
        let takes_none = self.product == ConvProduct::Wgrad || self.operand == Precision::F32;
        takes_none || tile.rows * warps_of_columns / WARPS >= ROWS
    }

    /// Whether the kernel has no tiles of 64 columns.
    fn has_wide_columns(&self) -> bool {
        self.tier == Tier::Hopper && self.product == ConvProduct::Wgrad
    }

    /// Whether the band is configurable.
    ///
    /// Tiled kernels support bands only for windows that are compile-time constants.
    fn has_bands(&self) -> bool {
        let is_constant = !self.shape.window_constants().is_empty();
        self.product != ConvProduct::Wgrad && (self.tier == Tier::Hopper || is_constant)
    }

    /// Returns the bands worth trying, the default first.
    pub fn bands(&self) -> Vec<usize> {
        let default = self.default_config().band;
        if !self.has_bands() {
            return vec![default];
        }
        let others = [0, 1, 16].into_iter().filter(|band| *band != default);
        std::iter::once(default).chain(others).collect()
    }

    /// Returns the numbers of slices worth trying, the default first.
    pub fn splits(&self) -> Vec<usize> {
        let default = self.default_config().slices;
        if self.product != ConvProduct::Wgrad {
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

    /// Largest number of slices: one slab per slice, for tiled kernels eight.
    fn most_slices(&self) -> usize {
        let pixels = self.shape.batch * self.shape.output[0] * self.shape.output[1];
        let least = if self.tier == Tier::Hopper {
            implicit_gemm_hopper_wgrad::SLAB
        } else {
            implicit_gemm::least_share(self.operand)
        };
        MOST_SLICES.min(pixels.div_ceil(least)).max(1)
    }

    /// Checks that the kernels can be launched with a configuration, for example one read from a file.
    ///
    /// # Errors
    /// The reason why they cannot.
    pub fn check(&self, tile_config: &TileConfig) -> Result<(), String> {
        if !self.tiles().contains(&tile_config.tile) {
            return Err(format!("no kernel has tiles of {}", tile_config.tile));
        }
        let default = self.default_config();
        if tile_config.band > 1 << 20 || tile_config.band != default.band && !self.has_bands() {
            return Err(format!(
                "bands of {} tiles are not supported for this shape",
                tile_config.band
            ));
        }
        let slices = if self.product == ConvProduct::Wgrad {
            1..=self.most_slices().max(default.slices)
        } else {
            1..=1
        };
        if !slices.contains(&tile_config.slices) {
            return Err(format!(
                "{} slices are not supported for this shape",
                tile_config.slices
            ));
        }
        Ok(())
    }

    /// Whether two configurations give the same bits.
    pub fn has_same_bits(&self, a: &TileConfig, b: &TileConfig) -> bool {
        a.slices == b.slices
    }

    /// Returns the module to compile for a configuration.
    pub fn module(&self, tile_config: &TileConfig) -> Option<Module> {
        let (operand, s) = (self.operand, &self.shape);
        Some(match (self.tier, self.product) {
            (Tier::Hopper, ConvProduct::Fprop) => {
                implicit_gemm_hopper::fprop(operand, s, tile_config, 1)?
                    .launch
                    .module
            }
            (Tier::Hopper, ConvProduct::Dgrad) => {
                implicit_gemm_hopper::dgrad(operand, s, tile_config, 1)?
                    .launch
                    .module
            }
            (Tier::Hopper, ConvProduct::Wgrad) => {
                implicit_gemm_hopper_wgrad::wgrad(operand, s, tile_config, 1)?
                    .launch
                    .module
            }
            (_, ConvProduct::Fprop) => implicit_gemm::fprop(operand, s, tile_config).module,
            (_, ConvProduct::Dgrad) => implicit_gemm::dgrad(operand, s, tile_config).module,
            (_, ConvProduct::Wgrad) => implicit_gemm::wgrad(operand, s, tile_config).0.module,
        })
    }
}
