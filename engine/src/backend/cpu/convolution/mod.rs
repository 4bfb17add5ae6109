//! The three products of a convolution, as blocks of matrix products.

mod dgrad;
mod fprop;
mod patches;
mod wgrad;

use std::cell::RefCell;

use super::expect_length;
use crate::error::Result;
use crate::geometry::ConvGeometry;

pub(super) use dgrad::dgrad;
pub(super) use fprop::fprop;
pub(super) use wgrad::wgrad;

/// Elements of the scratch matrix of one task, roughly: 1 MiB, which a core's L2 cache holds.
const SCRATCH: usize = 1 << 18;

/// Rows of y per task, so that their patches fit the scratch matrix.
fn rows_per_task(geometry: &ConvGeometry) -> usize {
    let patch = geometry.kernel[0] * geometry.kernel[1] * geometry.input_channels;
    (SCRATCH / (patch * geometry.output[1])).clamp(1, geometry.output[0])
}

/// Gives `work` a scratch matrix of `length` elements that the thread keeps for its next task. Its contents are
/// whatever the last task left.
fn with_scratch<T>(length: usize, work: impl FnOnce(&mut [f32]) -> T) -> T {
    thread_local! {
        static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < length {
            scratch.resize(length, 0.0);
        }
        work(&mut scratch[..length])
    })
}

fn expect_operands(geometry: &ConvGeometry, x: usize, weight: usize, y: usize) -> Result<()> {
    let product = |dims: [usize; 4]| dims.iter().product();
    expect_length("convolution", x, product(geometry.input_dims()))?;
    expect_length("convolution", weight, product(geometry.weight_dims()))?;
    expect_length("convolution", y, product(geometry.output_dims()))
}
