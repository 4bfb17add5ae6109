//! How a product is cut, and what was chosen for which.

use std::collections::HashMap;
use std::fmt;

use super::problem::Problem;
use crate::kernel::Tier;

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
        // Tiles come from the lists of `problem.rs`.
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
