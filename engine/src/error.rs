//! What the engine can refuse, in one line each.

use crate::shape::Shape;

/// The result of every fallible call in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Two operands that do not fit together.
    #[error(
        "{operator}: {left_name} has shape {left}, which does not fit {right_name} of shape {right}"
    )]
    ShapeMismatch {
        /// The operator that refused.
        operator: &'static str,
        /// What the first operand is called in the operator's documentation.
        left_name: &'static str,
        /// Its shape.
        left: Shape,
        /// What the second operand is called.
        right_name: &'static str,
        /// Its shape.
        right: Shape,
    },
    /// One operand or setting that makes no sense by itself.
    #[error("{operator}: {problem}")]
    InvalidOperand {
        /// The operator that refused.
        operator: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A tensor that is to be overwritten while something else still reads it.
    #[error("{operator}: a tensor of shape {shape} is to be overwritten but is still in use")]
    StillShared {
        /// The operator that wanted to write.
        operator: &'static str,
        /// The tensor's shape.
        shape: Shape,
    },
    /// A gradient asked of a variable that the result does not depend on or that no tape follows.
    #[error("gradient: {0}")]
    NoGradient(String),
    /// A device that is not there, or that failed.
    #[error("{0}")]
    Device(String),
}
