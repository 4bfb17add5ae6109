//! The table of tuned configurations.

use std::collections::HashMap;

use super::problem::Problem;
use crate::tile::TileConfig;

/// Measured configurations by problem.
#[derive(Clone, Debug, Default)]
pub struct TileConfigs(HashMap<Problem, TileConfig>);

impl TileConfigs {
    /// Sets the configuration of a problem, replacing an earlier one.
    ///
    /// # Errors
    /// If the problem's kernels cannot be launched with this configuration; states the reason.
    pub fn insert(&mut self, problem: Problem, tile_config: TileConfig) -> Result<(), String> {
        problem.check(&tile_config)?;
        self.0.insert(problem, tile_config);
        Ok(())
    }

    /// Returns the configuration of a problem, or its default.
    pub fn of(&self, problem: &Problem) -> TileConfig {
        let found = self.0.get(problem).copied();
        found.unwrap_or_else(|| problem.default_config())
    }

    /// Number of problems with a measured configuration.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Number that differs between tables of other content: FNV-1a over the sorted entries.
    pub fn fingerprint(&self) -> u64 {
        let entries = self.0.iter().map(|entry| format!("{entry:?}\n"));
        let mut entries: Vec<String> = entries.collect();
        entries.sort_unstable();
        let bytes = entries.iter().flat_map(|entry| entry.bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    /// Whether every problem has its default.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
