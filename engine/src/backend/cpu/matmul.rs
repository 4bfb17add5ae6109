//! GEMM. Only this file calls the `gemm-f32` crate.
#![allow(unsafe_code)]

use gemm_common::Parallelism;

/// A matrix in a slice: element (i, j) is at i·row_stride + j·column_stride.
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

    /// Whether a `rows`×`columns` matrix with these strides lies inside the slice.
    fn holds(&self, rows: usize, columns: usize) -> bool {
        (rows - 1) * self.row_stride + (columns - 1) * self.column_stride < self.values.len()
    }
}

/// c ← a·b, or c ← c + a·b with `accumulate`, for a m×k, b k×n and row-major c m×n.
///
/// Runs on the calling thread; the order of summation depends only on the extents.
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
        "a GEMM of {m}×{k} by {k}×{n} exceeds its operands"
    );
    // The microkernels write columns: a result with rows of several elements is computed as cᵀ = bᵀ·aᵀ.
    let (rows, columns, left, right, column_stride, row_stride) = if n > 1 {
        (n, m, b.transposed(), a.transposed(), n as isize, 1)
    } else {
        (m, n, a, b, 1, n as isize)
    };
    // SAFETY: the assertion above bounds every element that is read of `a` and `b` and written of `c`, whose strides
    // are n and 1. The shared borrows of `a` and `b` and the exclusive one of `c` last for the whole call.
    unsafe {
        gemm_f32::gemm::f32::get_gemm_fn()(
            rows,
            columns,
            k,
            c.as_mut_ptr(),
            column_stride,
            row_stride,
            accumulate,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// c ← a·b for row-major a m×k, b k×n and c m×n. Runs on the calling thread.
pub(crate) fn multiply_rows([m, n, k]: [usize; 3], a: &[f32], b: &[f32], c: &mut [f32]) {
    let (a, b) = (Matrix::row_major(a, k), Matrix::row_major(b, n));
    multiply([m, n, k], a, b, c, false);
}
