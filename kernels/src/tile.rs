//! Configurations of tiled GEMMs.

use std::fmt;

use crate::tier::Tier;

/// Tile of a block, fixed when its kernel is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    /// Pixels for fprop and dgrad; taps times channels for wgrad.
    pub rows: usize,
    /// Channels of the result.
    pub columns: usize,
    /// Slabs of both operands in shared memory.
    pub stages: usize,
}

impl Tile {
    /// Creates a tile of these extents.
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

    /// Bytes of shared memory per block; Hopper kernels have two mbarriers per stage.
    pub fn shared_bytes(self, tier: Tier) -> usize {
        let barriers = if tier == Tier::Hopper { 16 } else { 0 };
        self.stages * (self.stage_bytes(tier) + barriers)
    }

    /// Compile-time constants.
    pub(crate) fn constants(self) -> [(&'static str, u32); 3] {
        // Tiles come from the lists in `tuning/problem.rs`, so the casts cannot truncate.
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

/// Configuration of a tiled GEMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileConfig {
    /// Tile of a block.
    pub tile: Tile,
    /// Pixel tiles per band, which is computed under all columns before the next one.
    ///
    /// 0 is a single band. wgrad ignores it.
    pub band: usize,
    /// Split-K slices of wgrad; 1 for fprop and dgrad.
    pub slices: usize,
}

impl fmt::Display for TileConfig {
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
