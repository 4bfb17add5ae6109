//! Errors of the engine; each message is one line.

use crate::shape::Shape;

/// The result type of all fallible functions in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// The reason why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The shapes of two operands do not match.
    #[error(
        "{operator}: {left_name} has shape {left}, which does not fit {right_name} of shape {right}"
    )]
    ShapeMismatch {
        /// The operator that returned the error.
        operator: &'static str,
        /// Name of the first operand in the operator's documentation.
        left_name: &'static str,
        /// Shape of the first operand.
        left: Shape,
        /// Name of the second operand.
        right_name: &'static str,
        /// Shape of the second operand.
        right: Shape,
    },
    /// One operand or setting is invalid.
    #[error("{operator}: {problem}")]
    InvalidOperand {
        /// The operator that returned the error.
        operator: &'static str,
        /// The problem.
        problem: String,
    },
    /// A tensor cannot be overwritten because it is still shared.
    #[error("{operator}: cannot overwrite a tensor of shape {shape} that is still in use")]
    StillShared {
        /// The operator that writes to the tensor.
        operator: &'static str,
        /// Shape of the tensor.
        shape: Shape,
    },
    /// A gradient was requested of a variable that is not tracked or that the result does not depend on.
    #[error("gradient: {0}")]
    NoGradient(String),
    /// A device is missing or failed.
    #[error("{0}")]
    Device(String),
    /// A fault destroyed the context of a device: nothing else can run on it in this process.
    #[error("{0}")]
    DeviceLost(String),
}

impl Error {
    /// An operand on another device.
    pub(crate) fn foreign(operator: &'static str) -> Self {
        Self::InvalidOperand {
            operator,
            problem: "an operand is on another device".to_owned(),
        }
    }
}
