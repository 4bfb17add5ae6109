//! The table of tuned configurations.

use std::collections::HashMap;

use super::problem::Problem;
use crate::tile::Choice;

/// Measured configurations by problem.
#[derive(Clone, Debug, Default)]
pub struct Choices(HashMap<Problem, Choice>);

impl Choices {
    /// Sets the configuration of a problem, replacing an earlier one.
    ///
    /// # Errors
    /// If the problem's kernels cannot be launched with this configuration; states the reason.
    pub fn insert(&mut self, problem: Problem, choice: Choice) -> Result<(), String> {
        problem.check(&choice)?;
        self.0.insert(problem, choice);
        Ok(())
    }

    /// Returns the configuration of a problem, or its default.
    pub fn of(&self, problem: &Problem) -> Choice {
        let found = self.0.get(problem).copied();
        found.unwrap_or_else(|| problem.default_choice())
    }

    /// Number of problems with a measured configuration.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether every problem has its default.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
