//! One file per operator: its shapes, its forward, its backward.
//!
//! All are methods of [`crate::Tape`]. Each checks its shapes before any memory is touched and names both sides of
//! a mismatch.

mod activation;
mod add;
mod batch_norm;
mod bce;
mod conv2d;
mod conv_transpose2d;
mod convolution;
mod linear;
mod parts;
mod reshape;

pub use batch_norm::{BatchNormSettings, BatchStatistics, update_running_statistics};

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::lazy::fresh;
use crate::shape::Shape;
use crate::tape::{Variable, Wanted};
use crate::tensor::Tensor;

/// Refuses `left` unless its extents are `expected`, in terms of the operand `right` that decides them.
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

/// The complaint that two operands do not fit.
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

/// Runs `compute` into fresh memory of `shape` if `wanted`, as values.
fn when(
    wanted: Wanted,
    backend: &dyn Backend,
    shape: &Shape,
    compute: impl FnOnce(&mut Tensor) -> Result<()>,
) -> Result<Option<Tensor>> {
    when_packed(wanted.packed_if(false), backend, shape, compute)
}

/// The same of what may be packed if its reader allows it.
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
