//! A tile of a matrix product in registers: the one inner loop of every layer.
#![allow(unsafe_code)]

use super::Simd;

/// Rows and the two vectors of each.
pub(crate) type Accumulators<S, const ROWS: usize> = [[<S as Simd>::Vector; 2]; ROWS];

/// Zeros.
#[inline(always)]
pub(crate) fn zero<S: Simd, const ROWS: usize>(simd: S) -> Accumulators<S, ROWS> {
    [[simd.splat(0.0); 2]; ROWS]
}

/// Where the elements of a product's operands lie, in values.
#[derive(Clone, Copy)]
pub(crate) struct Strides {
    /// From a row of `a` to the next.
    pub(crate) row: usize,
    /// From an element of a row of `a` to the next.
    pub(crate) depth: usize,
    /// From a row of `b` to the next.
    pub(crate) panel: usize,
}

/// sums ← sums + a·b, where `a` has `ROWS` rows of `depth` values, `stride` apart, and `b` is a panel of `depth` rows
/// of two vectors, one behind the other. Terms are added in the order of the rows of `b`.
///
/// # Safety
/// `a` and `b` must be readable over these extents.
#[inline(always)]
pub(crate) unsafe fn accumulate<S: Simd, const ROWS: usize>(
    simd: S,
    a: *const f32,
    stride: usize,
    b: *const f32,
    depth: usize,
    sums: &mut Accumulators<S, ROWS>,
) {
    let strides = Strides {
        row: stride,
        depth: 1,
        panel: 2 * S::LANES,
    };
    // SAFETY: as the caller vouches.
    unsafe { accumulate_strided(simd, a, b, strides, depth, sums) }
}

/// As [`accumulate`], for operands that lie anyhow.
///
/// # Safety
/// `a` and `b` must be readable over these extents.
#[inline(always)]
pub(crate) unsafe fn accumulate_strided<S: Simd, const ROWS: usize>(
    simd: S,
    a: *const f32,
    b: *const f32,
    strides: Strides,
    depth: usize,
    sums: &mut Accumulators<S, ROWS>,
) {
    for k in 0..depth {
        // SAFETY: k < depth, row < ROWS: inside what the caller vouches for.
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

/// Code that works on a number of rows known when it is compiled.
pub(crate) trait RowKernel<S: Simd> {
    /// Works on `ROWS` rows from row `first` on.
    fn run<const ROWS: usize>(&mut self, simd: S, first: usize);
}

/// Cuts `rows` rows into as few tiles as registers allow, of equal height but for one row.
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
