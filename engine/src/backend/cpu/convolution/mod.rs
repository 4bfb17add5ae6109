//! The three products of a convolution: by minimal filtering where that is faster, else as blocks of matrix products.

mod dgrad;
mod fprop;
mod minimal;
mod patches;
mod wgrad;

use std::cell::RefCell;

use super::expect_length;
use crate::error::Result;
use crate::geometry::{ConvGeometry, ConvMethod};

use self::minimal::{Minimal, Workspaces};
use crate::simd::InstructionSet;

/// All convolutions of a backend, and the memory they work in.
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

/// How the products of a geometry are computed.
pub(super) fn method(geometry: &ConvGeometry) -> ConvMethod {
    if minimal::applies(geometry) {
        ConvMethod::Minimal
    } else {
        ConvMethod::Direct
    }
}

impl Convolutions {
    /// With these instructions, where the processor has them.
    pub(super) fn new(set: InstructionSet) -> Self {
        Self {
            set,
            workspaces: Workspaces::default(),
        }
    }

    /// See [`crate::backend::Backend::conv_fprop`].
    pub(super) fn fprop(
        &self,
        geometry: &ConvGeometry,
        x: &[f32],
        weight: &[f32],
        bias: Option<&[f32]>,
        y: &mut [f32],
    ) -> Result<()> {
        expect_operands(geometry, x.len(), weight.len(), y.len())?;
        match self.minimal(geometry) {
            Some(minimal) => minimal.fprop(x, weight, bias, y),
            None => fprop::fprop(geometry, x, weight, bias, y),
        }
        Ok(())
    }

    /// See [`crate::backend::Backend::conv_dgrad`].
    pub(super) fn dgrad(
        &self,
        geometry: &ConvGeometry,
        y: &[f32],
        weight: &[f32],
        bias: Option<&[f32]>,
        x: &mut [f32],
    ) -> Result<()> {
        expect_operands(geometry, x.len(), weight.len(), y.len())?;
        match self.minimal(geometry) {
            Some(minimal) => minimal.dgrad(y, weight, bias, x),
            None => dgrad::dgrad(geometry, y, weight, bias, x),
        }
        Ok(())
    }

    /// See [`crate::backend::Backend::conv_wgrad`].
    pub(super) fn wgrad(
        &self,
        geometry: &ConvGeometry,
        x: &[f32],
        y: &[f32],
        weight: &mut [f32],
    ) -> Result<()> {
        expect_operands(geometry, x.len(), weight.len(), y.len())?;
        match self.minimal(geometry) {
            Some(minimal) => minimal.wgrad(x, y, weight),
            None => wgrad::wgrad(geometry, x, y, weight),
        }
        Ok(())
    }

    fn minimal(&self, geometry: &ConvGeometry) -> Option<Minimal<'_>> {
        match method(geometry) {
            ConvMethod::Direct => None,
            ConvMethod::Minimal => Some(Minimal::new(geometry, self.set, &self.workspaces)),
        }
    }
}

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
