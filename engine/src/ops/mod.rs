//! One file per operator: shape checks, forward and backward pass.
//!
//! All are methods of [`crate::Tape`]. Each checks its shapes before it accesses memory, and its errors name both
//! sides of a mismatch.

mod activation;
mod adam;
mod add;
mod batch_norm;
mod bce;
mod conv2d;
mod conv_transpose2d;
mod convolution;
mod linear;
mod parts;
mod reshape;

pub use adam::adam;
pub use batch_norm::{BatchNormSettings, BatchStatistics, update_running_statistics};

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::lazy::fresh;
use crate::shape::Shape;
use crate::tape::{Variable, Wanted};
use crate::tensor::Tensor;

/// Rejects `left` unless its extents are `expected`, which follow from the operand `right`.
fn expect_shape(
    operator: &'static str,
    left: (&'static str, &Variable),
    expected: &[usize],
    right: (&'static str, &Variable),
) -> Result<()> {
    if left.1.shape().dims() == expected {
        return Ok(());
    }
    Err(mismatch(operator, left, right))
}

/// Error for two operands that do not fit.
fn mismatch(
    operator: &'static str,
    left: (&'static str, &Variable),
    right: (&'static str, &Variable),
) -> Error {
    Error::ShapeMismatch {
        operator,
        left_name: left.0,
        left: left.1.shape().clone(),
        right_name: right.0,
        right: right.1.shape().clone(),
    }
}

/// Runs `compute` with fresh memory of `shape` as f32 values, if `wanted`.
fn when(
    wanted: Wanted,
    backend: &dyn Backend,
    shape: &Shape,
    compute: impl FnOnce(&mut Tensor) -> Result<()>,
) -> Result<Option<Tensor>> {
    when_packed(wanted.packed_if(false), backend, shape, compute)
}

/// Runs `compute` with fresh memory of `shape`, packed if `wanted` allows it.
fn when_packed(
    wanted: Wanted,
    backend: &dyn Backend,
    shape: &Shape,
    compute: impl FnOnce(&mut Tensor) -> Result<()>,
) -> Result<Option<Tensor>> {
    if !wanted.is_wanted() {
        return Ok(None);
    }
    let mut output = fresh(backend, shape, wanted == Wanted::Packed)?;
    compute(&mut output)?;
    Ok(Some(output))
}
