//! The three convolution GEMMs, by Winograd filtering or as GEMMs of patches.

mod dgrad;
mod fprop;
mod patches;
mod wgrad;
mod winograd;

use std::cell::RefCell;

use super::expect_length;
use crate::error::Result;
use crate::geometry::{ConvGeometry, ConvMethod};

use self::winograd::{Winograd, Workspaces};
use crate::simd::InstructionSet;

/// Convolutions of a backend, with their scratch memory.
#[derive(Debug)]
pub(super) struct Convolutions {
    set: InstructionSet,
    workspaces: Workspaces,
}

impl Default for Convolutions {
    fn default() -> Self {
        Self::new(InstructionSet::best())
    }
}

/// Algorithm for a geometry.
pub(super) fn method(geometry: &ConvGeometry) -> ConvMethod {
    if winograd::applies(geometry) {
        ConvMethod::Winograd
    } else {
        ConvMethod::Direct
    }
}

impl Convolutions {
    /// Creates the convolutions for an instruction set.
    pub(super) fn new(set: InstructionSet) -> Self {
        Self {
            set,
            workspaces: Workspaces::default(),
        }
    }

    /// See [`crate::backend::Op::ConvFprop`].
    pub(super) fn fprop(
        &self,
        geometry: &ConvGeometry,
        x: &[f32],
        weight: &[f32],
        bias: Option<&[f32]>,
        y: &mut [f32],
    ) -> Result<()> {
        expect_operands(geometry, x.len(), weight.len(), y.len())?;
        match self.winograd(geometry) {
            Some(winograd) => winograd.fprop(x, weight, bias, y),
            None => fprop::fprop(geometry, x, weight, bias, y),
        }
        Ok(())
    }

    /// See [`crate::backend::Op::ConvDgrad`].
    pub(super) fn dgrad(
        &self,
        geometry: &ConvGeometry,
        y: &[f32],
        weight: &[f32],
        bias: Option<&[f32]>,
        x: &mut [f32],
    ) -> Result<()> {
        expect_operands(geometry, x.len(), weight.len(), y.len())?;
        match self.winograd(geometry) {
            Some(winograd) => winograd.dgrad(y, weight, bias, x),
            None => dgrad::dgrad(geometry, y, weight, bias, x),
        }
        Ok(())
    }

    /// See [`crate::backend::Op::ConvWgrad`].
    pub(super) fn wgrad(
        &self,
        geometry: &ConvGeometry,
        x: &[f32],
        y: &[f32],
        weight: &mut [f32],
    ) -> Result<()> {
        expect_operands(geometry, x.len(), weight.len(), y.len())?;
        match self.winograd(geometry) {
            Some(winograd) => winograd.wgrad(x, y, weight),
            None => wgrad::wgrad(geometry, x, y, weight),
        }
        Ok(())
    }

    fn winograd(&self, geometry: &ConvGeometry) -> Option<Winograd<'_>> {
        match method(geometry) {
            ConvMethod::Direct => None,
            ConvMethod::Winograd => Some(Winograd::new(geometry, self.set, &self.workspaces)),
        }
    }
}

/// Approximate number of elements in the scratch matrix of one task.
///
/// They take 1 MiB, which fits a core's L2 cache.
const SCRATCH: usize = 1 << 18;

/// Rows of y per task, such that their patches fit the scratch matrix.
fn rows_per_task(geometry: &ConvGeometry) -> usize {
    let patch = geometry.kernel[0] * geometry.kernel[1] * geometry.input_channels;
    (SCRATCH / (patch * geometry.output[1])).clamp(1, geometry.output[0])
}

/// Calls `work` with a scratch matrix of `length` elements that the thread keeps for its next task.
///
/// Its contents are unspecified.
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
