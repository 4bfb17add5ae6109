//! Between the weights of a kernel and its transformed taps: G g Gᵀ, and its adjoint for the gradient.

use crate::simd::filtering::{POINTS, PRODUCTS, TAPS, points};
use crate::simd::memory::Shared;
use crate::simd::phases::{KERNEL, PHASES, taps};
use crate::simd::{Kernel, Simd};

/// Extents of a kernel [5, 5, fine channels, coarse channels].
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

/// Which channels run along the rows of the panels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Rows are (phase, fine channel), columns coarse channels.
    Fine,
    /// Rows are coarse channels, columns (phase, fine channel).
    Coarse,
}

/// Transformed taps as the right-hand sides of 36 products: for each point, for each panel of two vectors of columns, its
/// rows. Those of phases that do not have a point are there, too, but nobody writes or reads them.
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

    /// Panels of one point.
    pub(super) fn count(&self) -> usize {
        self.columns.div_ceil(self.width)
    }

    /// Values of a panel.
    pub(super) fn panel(&self) -> usize {
        self.depth * self.width
    }

    /// Values altogether.
    pub(super) fn len(&self) -> usize {
        PRODUCTS * self.count() * self.panel()
    }

    fn at(&self, point: usize, row: usize, column: usize) -> usize {
        (point * self.count() + column / self.width) * self.panel()
            + row * self.width
            + column % self.width
    }
}

/// Channels that are transformed together: every number of lanes divides it.
pub(super) const BLOCK: usize = 16;

/// Transforms the weights of a block of channels of the side that runs along vectors with one channel of the other.
pub(super) struct Transform<'a> {
    pub(super) extents: Extents,
    pub(super) weights: &'a [f32],
    pub(super) depth: Depth,
    pub(super) panels: Panels,
    /// The channel along the depth.
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
                        // SAFETY: this row, or these columns, are this piece's alone.
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
                // SAFETY: the slice has a vector.
                unsafe { simd.load(self.weights[at..at + S::LANES].as_ptr()) }
            }
            Depth::Coarse => {
                let mut lanes = [0.0; BLOCK];
                for (lane, value) in lanes.iter_mut().enumerate().take(S::LANES) {
                    *value = self.weights[self.extents.weight(tap, first + lane, self.channel)];
                }
                // SAFETY: a vector has no more than `BLOCK` lanes.
                unsafe { simd.load(lanes.as_ptr()) }
            }
        }
    }
}

/// Gᵀ u G: the gradients of the transformed taps of one fine channel to those of its weights.
pub(super) struct Gather<'a> {
    pub(super) extents: Extents,
    /// For each point [4 · fine channels, coarse channels]; rows of phases that do not have a point are not read.
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
                        // SAFETY: the slice ends a vector behind the start of the last point.
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
                    // SAFETY: the weights of this channel are this piece's alone.
                    unsafe {
                        simd.store(self.weights.range(at..at + S::LANES).as_mut_ptr(), value);
                    }
                }
            }
        }
    }
}
