//! Matrix products: the one place that calls the `gemm` crate.
#![allow(unsafe_code)]

use gemm::Parallelism;

/// A matrix in a slice: element (i, j) stands at i·row_stride + j·column_stride.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) values: &'a [f32],
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix with rows of `columns` elements.
    pub(super) fn row_major(values: &'a [f32], columns: usize) -> Self {
        Self {
            values,
            row_stride: columns,
            column_stride: 1,
        }
    }

    /// The transpose.
    pub(super) fn transposed(self) -> Self {
        Self {
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Whether an `rows`×`columns` matrix with these strides stays inside the slice.
    fn holds(&self, rows: usize, columns: usize) -> bool {
        (rows - 1) * self.row_stride + (columns - 1) * self.column_stride < self.values.len()
    }
}

/// c ← a·b, or c ← c + a·b where `accumulate`, with a m×k, b k×n and c m×n in row-major order. Runs on the calling
/// thread; the order of summation depends on the extents alone.
pub(super) fn multiply(
    [m, n, k]: [usize; 3],
    a: Matrix<'_>,
    b: Matrix<'_>,
    c: &mut [f32],
    accumulate: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !accumulate {
            c[..m * n].fill(0.0);
        }
        return;
    }
    assert!(
        a.holds(m, k) && b.holds(k, n) && m * n <= c.len(),
        "a product of {m}×{k} by {k}×{n} must lie inside its operands"
    );
    // SAFETY: the assertion above bounds every element that gemm reads of `a` and `b` and writes of `c`, whose
    // strides are n and 1; the shared borrows of `a` and `b` and the exclusive one of `c` last for the whole call.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// c ← a·b, all row-major: a m×k, b k×n and c m×n. Runs on the calling thread.
pub(crate) fn multiply_rows([m, n, k]: [usize; 3], a: &[f32], b: &[f32], c: &mut [f32]) {
    let (a, b) = (Matrix::row_major(a, k), Matrix::row_major(b, n));
    multiply([m, n, k], a, b, c, false);
}
