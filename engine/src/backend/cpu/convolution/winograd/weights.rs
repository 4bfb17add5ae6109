//! Transform of weights to taps, G g Gᵀ, and its adjoint for the gradient.

use crate::simd::memory::Shared;
use crate::simd::phases::{KERNEL, PHASES, taps};
use crate::simd::winograd::{POINTS, PRODUCTS, TAPS, points};
use crate::simd::{Kernel, Simd};

/// Extents of a kernel `[5, 5, fine channels, coarse channels]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extents {
    pub(super) fine: usize,
    pub(super) coarse: usize,
}

impl Extents {
    /// Index of a weight.
    fn weight(&self, [row, column]: [usize; 2], fine: usize, coarse: usize) -> usize {
        ((row * KERNEL + column) * self.fine + fine) * self.coarse + coarse
    }
}

/// Channels along the rows of the panels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Rows are (phase, fine channel), columns coarse channels.
    Fine,
    /// Rows are coarse channels, columns (phase, fine channel).
    Coarse,
}

/// Transformed taps as right-hand sides of the 36 GEMMs.
///
/// Each point has panels of two vectors of columns, each with all rows. Entries of phases that do not have a point
/// exist, but are neither written nor read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panels {
    pub(super) depth: usize,
    pub(super) columns: usize,
    pub(super) width: usize,
}

impl Panels {
    pub(super) fn new(extents: Extents, depth: Depth, lanes: usize) -> Self {
        let (depth, columns) = match depth {
            Depth::Fine => (4 * extents.fine, extents.coarse),
            Depth::Coarse => (extents.coarse, 4 * extents.fine),
        };
        Self {
            depth,
            columns,
            width: 2 * lanes,
        }
    }

    /// Number of panels per point.
    pub(super) fn count(&self) -> usize {
        self.columns.div_ceil(self.width)
    }

    /// Values per panel.
    pub(super) fn panel(&self) -> usize {
        self.depth * self.width
    }

    /// Number of values in all.
    pub(super) fn len(&self) -> usize {
        PRODUCTS * self.count() * self.panel()
    }

    fn at(&self, point: usize, row: usize, column: usize) -> usize {
        (point * self.count() + column / self.width) * self.panel()
            + row * self.width
            + column % self.width
    }
}

/// Channels that are transformed together; every vector width divides it.
pub(super) const BLOCK: usize = 16;

/// Transforms the weights of one channel along the depth, for all channels of the other side, a vector at a time.
pub(super) struct Transform<'a> {
    pub(super) extents: Extents,
    pub(super) weights: &'a [f32],
    pub(super) depth: Depth,
    pub(super) panels: Panels,
    /// Channel along the depth.
    pub(super) channel: usize,
    pub(super) to: Shared<'a>,
}

impl Kernel for Transform<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let vectors = match self.depth {
            Depth::Fine => self.extents.coarse,
            Depth::Coarse => self.extents.fine,
        };
        for first in (0..vectors).step_by(S::LANES) {
            let mut kernel = [[simd.splat(0.0); KERNEL]; KERNEL];
            for (row, values) in kernel.iter_mut().enumerate() {
                for (column, value) in values.iter_mut().enumerate() {
                    *value = self.load(simd, [row, column], first);
                }
            }
            for (phase, [down, across]) in PHASES.into_iter().enumerate() {
                let (row, column) = match self.depth {
                    Depth::Fine => (phase * self.extents.fine + self.channel, first),
                    Depth::Coarse => (self.channel, phase * self.extents.fine + first),
                };
                for (y, of_row) in TAPS[..points(down)].iter().enumerate() {
                    let mut along = [simd.splat(0.0); KERNEL];
                    for &(offset, tap) in taps(down) {
                        let factor = simd.splat(of_row[(offset + 1) as usize] as f32);
                        for (sum, value) in along.iter_mut().zip(&kernel[tap]) {
                            *sum = simd.multiply_add(factor, *value, *sum);
                        }
                    }
                    for (x, of_column) in TAPS[..points(across)].iter().enumerate() {
                        let mut sum = simd.splat(0.0);
                        for &(offset, tap) in taps(across) {
                            let factor = simd.splat(of_column[(offset + 1) as usize] as f32);
                            sum = simd.multiply_add(factor, along[tap], sum);
                        }
                        let at = self.panels.at(y * POINTS + x, row, column);
                        // SAFETY: no other task writes this row, or these columns.
                        unsafe { simd.store(self.to.range(at..at + S::LANES).as_mut_ptr(), sum) };
                    }
                }
            }
        }
    }
}

impl Transform<'_> {
    #[inline(always)]
    fn load<S: Simd>(&self, simd: S, tap: [usize; 2], first: usize) -> S::Vector {
        match self.depth {
            Depth::Fine => {
                let at = self.extents.weight(tap, self.channel, first);
                // SAFETY: the slice holds a vector.
                unsafe { simd.load(self.weights[at..at + S::LANES].as_ptr()) }
            }
            Depth::Coarse => {
                let mut lanes = [0.0; BLOCK];
                for (lane, value) in lanes.iter_mut().enumerate().take(S::LANES) {
                    *value = self.weights[self.extents.weight(tap, first + lane, self.channel)];
                }
                // SAFETY: a vector has at most `BLOCK` lanes.
                unsafe { simd.load(lanes.as_ptr()) }
            }
        }
    }
}

/// Gᵀ u G: from the gradients of the transformed taps to those of the weights, for one fine channel.
pub(super) struct Gather<'a> {
    pub(super) extents: Extents,
    /// For each point `[4 · fine channels, coarse channels]`.
    ///
    /// Rows of phases that do not have a point are not read.
    pub(super) gradients: &'a [f32],
    /// Values between rows of `gradients`.
    pub(super) stride: usize,
    pub(super) channel: usize,
    pub(super) weights: Shared<'a>,
}

impl Kernel for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Extents { fine, coarse } = self.extents;
        let matrix = 4 * fine * self.stride;
        for first in (0..coarse).step_by(S::LANES) {
            let mut kernel = [[simd.splat(0.0); KERNEL]; KERNEL];
            for (phase, [down, across]) in PHASES.into_iter().enumerate() {
                let from = (phase * fine + self.channel) * self.stride + first;
                let gradients = &self.gradients[from..from + (PRODUCTS - 1) * matrix + S::LANES];
                for (y, of_row) in TAPS[..points(down)].iter().enumerate() {
                    let mut along = [simd.splat(0.0); KERNEL];
                    for (x, of_column) in TAPS[..points(across)].iter().enumerate() {
                        let at = (y * POINTS + x) * matrix;
                        // SAFETY: the slice ends one vector after the start of the last point.
                        let value = unsafe { simd.load(gradients.as_ptr().add(at)) };
                        for &(offset, tap) in taps(across) {
                            let factor = simd.splat(of_column[(offset + 1) as usize] as f32);
                            along[tap] = simd.multiply_add(factor, value, along[tap]);
                        }
                    }
                    for &(offset, row) in taps(down) {
                        let factor = simd.splat(of_row[(offset + 1) as usize] as f32);
                        for &(_, column) in taps(across) {
                            kernel[row][column] =
                                simd.multiply_add(factor, along[column], kernel[row][column]);
                        }
                    }
                }
            }
            for (row, values) in kernel.into_iter().enumerate() {
                for (column, value) in values.into_iter().enumerate() {
                    let at = self.extents.weight([row, column], self.channel, first);
                    // SAFETY: no other task writes the weights of this channel.
                    unsafe {
                        simd.store(self.weights.range(at..at + S::LANES).as_mut_ptr(), value);
                    }
                }
            }
        }
    }
}
