//! The 36 GEMMs, one per point, over those phases that have the point.
//!
//! They multiply transformed images by transformed taps, or transformed fine images by coarse ones.

use std::ops::Range;

use super::grid::Points;
use super::weights::Panels;
use crate::simd::memory::Shared;
use crate::simd::product::{Ahead, RowKernel, accumulate, accumulate_transposed, tile_rows, zero};
use crate::simd::{Kernel, Simd};

/// Rows per task: they stay in the second-level cache while panels pass.
pub(super) const ROWS: usize = 56;

/// Prefetch distance in terms of a sum over tiles.
const TERMS_AHEAD: usize = 16;

/// Rows `first` to `first + rows` of one point's matrix times that point's panels.
pub(super) struct ByTaps<'a> {
    pub(super) from: &'a [f32],
    pub(super) from_points: Points,
    pub(super) taps: &'a [f32],
    pub(super) panels: Panels,
    pub(super) to: Shared<'a>,
    pub(super) to_points: Points,
    pub(super) point: usize,
    pub(super) first: usize,
    pub(super) rows: usize,
    /// Range of the summation index.
    pub(super) depth: Range<usize>,
    /// Columns of the result.
    pub(super) columns: Range<usize>,
}

impl Kernel for ByTaps<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.panels.width;
        // Columns of the first and the last panel outside this range are computed, but never read.
        for panel in self.columns.start / width..self.columns.end.div_ceil(width) {
            let start = (self.point * self.panels.count() + panel) * self.panels.panel();
            let [first, last] = [self.depth.start, self.depth.end].map(|row| start + row * width);
            let mut rows = TapRows {
                kernel: &self,
                taps: &self.taps[first..last],
                column: panel * width,
            };
            tile_rows(simd, self.rows, &mut rows);
        }
    }
}

struct TapRows<'a> {
    kernel: &'a ByTaps<'a>,
    taps: &'a [f32],
    column: usize,
}

impl<S: Simd> RowKernel<S> for TapRows<'_> {
    #[inline(always)]
    fn run<const ROWS: usize>(&mut self, simd: S, first: usize) {
        let kernel = self.kernel;
        let stride = kernel.from_points.stride();
        let first = kernel.first + first;
        let from = kernel.point * kernel.from_points.matrix() + first * stride;
        let rows = &kernel.from[from + kernel.depth.start..from + ROWS * stride];
        let mut sums = zero::<S, ROWS>(simd);
        let ahead = Ahead::behind(self.taps, first - kernel.first, ROWS, kernel.rows, S::LANES);
        accumulate(simd, rows, stride, self.taps, ahead, &mut sums);
        let stride = kernel.to_points.stride();
        let to = kernel.point * kernel.to_points.matrix() + first * stride + self.column;
        for (row, sums) in sums.into_iter().enumerate() {
            for (half, sum) in sums.into_iter().enumerate() {
                // Rows have room after their last column for the padding of a panel.
                let at = to + row * stride + half * S::LANES;
                // SAFETY: no other task writes these rows of this point.
                unsafe { simd.store(kernel.to.range(at..at + S::LANES).as_mut_ptr(), sum) };
            }
        }
    }
}

/// Some rows of one point's gradient with respect to the taps.
///
/// They are fine columns from `first` on times all coarse columns, summed over tiles.
pub(super) struct BetweenImages<'a> {
    pub(super) fine: &'a [f32],
    pub(super) fine_points: Points,
    pub(super) coarse: &'a [f32],
    pub(super) coarse_points: Points,
    /// For each point `[fine columns, coarse columns]`; rows are `stride` apart.
    pub(super) gradients: Shared<'a>,
    pub(super) stride: usize,
    /// Whether to add to the existing sums.
    pub(super) adds: bool,
    pub(super) point: usize,
    pub(super) first: usize,
    pub(super) rows: usize,
}

impl Kernel for BetweenImages<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for column in (0..self.coarse_points.columns).step_by(2 * S::LANES) {
            let mut rows = ImageRows {
                kernel: &self,
                column,
            };
            tile_rows(simd, self.rows, &mut rows);
        }
    }
}

struct ImageRows<'a> {
    kernel: &'a BetweenImages<'a>,
    column: usize,
}

impl<S: Simd> RowKernel<S> for ImageRows<'_> {
    #[inline(always)]
    fn run<const ROWS: usize>(&mut self, simd: S, first: usize) {
        let kernel = self.kernel;
        let (fine, coarse) = (kernel.fine_points, kernel.coarse_points);
        let tiles = fine.tiles;
        let part = first / ROWS % 2;
        let first = kernel.first + first;
        let rows = &kernel.fine[kernel.point * fine.matrix()..(kernel.point + 1) * fine.matrix()];
        let panel =
            &kernel.coarse[kernel.point * coarse.matrix()..(kernel.point + 1) * coarse.matrix()];
        assert!(first + ROWS <= fine.stride() && self.column + 2 * S::LANES <= coarse.stride());
        let to = (kernel.point * fine.columns + first) * kernel.stride + self.column;
        // SAFETY: no other task writes these rows of this point.
        let to = unsafe {
            kernel
                .gradients
                .range(to..to + ROWS * kernel.stride - self.column)
        };
        let mut sums = zero::<S, ROWS>(simd);
        if kernel.adds {
            for (row, sums) in sums.iter_mut().enumerate() {
                let from = to[row * kernel.stride..][..2 * S::LANES].as_ptr();
                // SAFETY: the slice holds two vectors.
                unsafe { *sums = [simd.load(from), simd.load(from.add(S::LANES))] };
            }
        }
        // Prefetches the rows of this tile a few terms ahead and, alternating with the next tile, both halves of the
        // next columns.
        let ahead = [
            Ahead::every(
                rows.as_ptr()
                    .wrapping_add(first + TERMS_AHEAD * fine.stride()),
                fine.stride(),
            ),
            Ahead::every(
                panel
                    .as_ptr()
                    .wrapping_add(self.column + (2 + part) * S::LANES),
                coarse.stride(),
            ),
        ];
        let operands = [&rows[first..], &panel[self.column..]];
        let strides = [fine.stride(), coarse.stride()];
        accumulate_transposed(simd, operands, strides, tiles, ahead, &mut sums);
        for (row, sums) in sums.into_iter().enumerate() {
            let to = to[row * kernel.stride..][..2 * S::LANES].as_mut_ptr();
            // SAFETY: the slice holds two vectors.
            unsafe {
                simd.store(to, sums[0]);
                simd.store(to.add(S::LANES), sums[1]);
            }
        }
    }
}
