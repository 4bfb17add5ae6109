//! Register tile of a GEMM, the only inner loop of all layers.
#![allow(unsafe_code)]

use super::Simd;

/// Accumulators: two vectors per row.
pub(crate) type Accumulators<S, const ROWS: usize> = [[<S as Simd>::Vector; 2]; ROWS];

/// Accumulators of zero.
#[inline(always)]
pub(crate) fn zero<S: Simd, const ROWS: usize>(simd: S) -> Accumulators<S, ROWS> {
    [[simd.splat(0.0); 2]; ROWS]
}

/// Prefetches to the second-level cache while a GEMM runs: one address per step of its depth.
///
/// GEMMs read memory faster than the hardware prefetcher provides it, and the next reads are known.
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    start: *const f32,
    step: usize,
}

impl Ahead {
    /// The panel after `panel`, divided among the tiles that use `panel`.
    ///
    /// This tile has `rows` of `all` rows, from row `first` on.
    pub(crate) fn behind(
        panel: &[f32],
        first: usize,
        rows: usize,
        all: usize,
        lanes: usize,
    ) -> Self {
        Self {
            start: panel
                .as_ptr()
                .wrapping_add(panel.len() + panel.len() * first / all),
            step: 2 * lanes * rows / all,
        }
    }

    /// Addresses from `start` on, `step` values apart.
    pub(crate) fn every(start: *const f32, step: usize) -> Self {
        Self { start, step }
    }

    #[inline(always)]
    fn fetch<S: Simd>(self, simd: S, step: usize) {
        simd.fetch(self.start.wrapping_add(step * self.step));
    }
}

/// sums ← sums + a·b, where `a` has `ROWS` rows, `stride` apart, and the panel `b` has two vectors per value of such a
/// row.
///
/// Terms are added in the order of the rows of `b`.
///
/// # Panics
/// If `a` is too short.
#[inline(always)]
pub(crate) fn accumulate<S: Simd, const ROWS: usize>(
    simd: S,
    a: &[f32],
    stride: usize,
    b: &[f32],
    ahead: Ahead,
    sums: &mut Accumulators<S, ROWS>,
) {
    let depth = b.len() / (2 * S::LANES);
    assert!(a.len() >= (ROWS - 1) * stride + depth);
    let strides = Strides {
        row: stride,
        depth: 1,
        panel: 2 * S::LANES,
    };
    // SAFETY: by the assertion and the definition of `depth`.
    unsafe { accumulate_strided(simd, a.as_ptr(), b.as_ptr(), strides, depth, [ahead], sums) }
}

/// sums ← sums + aᵀ·b, where `a` has a row of at least `ROWS` values and `b` one of at least two vectors for each of
/// `depth` terms.
///
/// # Panics
/// If `a` or `b` is too short.
#[cfg(feature = "training")]
#[inline(always)]
pub(crate) fn accumulate_transposed<S: Simd, const ROWS: usize>(
    simd: S,
    [a, b]: [&[f32]; 2],
    [a_stride, b_stride]: [usize; 2],
    depth: usize,
    ahead: [Ahead; 2],
    sums: &mut Accumulators<S, ROWS>,
) {
    let last = depth.saturating_sub(1);
    assert!(a.len() >= last * a_stride + ROWS && b.len() >= last * b_stride + 2 * S::LANES);
    let strides = Strides {
        row: 1,
        depth: a_stride,
        panel: b_stride,
    };
    // SAFETY: by the assertion.
    unsafe { accumulate_strided(simd, a.as_ptr(), b.as_ptr(), strides, depth, ahead, sums) }
}

/// Distances between the elements of a GEMM's operands, in values.
#[derive(Clone, Copy)]
struct Strides {
    /// Between rows of `a`.
    row: usize,
    /// Between elements of a row of `a`.
    depth: usize,
    /// Between rows of `b`.
    panel: usize,
}

/// # Safety
/// `a` and `b` must be readable over these extents.
#[inline(always)]
unsafe fn accumulate_strided<S: Simd, const ROWS: usize, const PLACES: usize>(
    simd: S,
    a: *const f32,
    b: *const f32,
    strides: Strides,
    depth: usize,
    ahead: [Ahead; PLACES],
    sums: &mut Accumulators<S, ROWS>,
) {
    for k in 0..depth {
        for place in ahead {
            place.fetch(simd, k);
        }
        // SAFETY: k < depth and row < ROWS, inside the ranges that the caller guarantees.
        unsafe {
            let row = b.add(k * strides.panel);
            let columns = [simd.load(row), simd.load(row.add(S::LANES))];
            let factors = a.add(k * strides.depth);
            for (row, sums) in sums.iter_mut().enumerate() {
                let factor = simd.splat(*factors.add(row * strides.row));
                sums[0] = simd.multiply_add(factor, columns[0], sums[0]);
                sums[1] = simd.multiply_add(factor, columns[1], sums[1]);
            }
        }
    }
}

/// Code for a number of rows that is known at compile time.
pub(crate) trait RowKernel<S: Simd> {
    /// Processes `ROWS` rows from row `first` on.
    fn run<const ROWS: usize>(&mut self, simd: S, first: usize);
}

/// Divides `rows` rows into as few tiles as registers allow, whose heights differ by at most one.
#[inline(always)]
pub(crate) fn tile_rows<S: Simd>(simd: S, rows: usize, kernel: &mut impl RowKernel<S>) {
    let mut tiles = rows.div_ceil(S::ROWS);
    let mut first = 0;
    while first < rows {
        let height = (rows - first).div_ceil(tiles);
        match height.min(S::ROWS) {
            1 => kernel.run::<1>(simd, first),
            2 => kernel.run::<2>(simd, first),
            3 => kernel.run::<3>(simd, first),
            4 => kernel.run::<4>(simd, first),
            5 => kernel.run::<5>(simd, first),
            6 => kernel.run::<6>(simd, first),
            7 => kernel.run::<7>(simd, first),
            8 => kernel.run::<8>(simd, first),
            9 => kernel.run::<9>(simd, first),
            10 => kernel.run::<10>(simd, first),
            11 => kernel.run::<11>(simd, first),
            12 => kernel.run::<12>(simd, first),
            13 => kernel.run::<13>(simd, first),
            _ => kernel.run::<14>(simd, first),
        }
        first += height;
        tiles -= 1;
    }
}
