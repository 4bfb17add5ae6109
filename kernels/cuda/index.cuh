// Thread index, paired stores, and the shape of a convolution.
#pragma once

// Index of this thread in a one-dimensional launch. Tensors have fewer than 2^31 elements, so that indices are divided
// in 32 bits: a 64-bit division costs as much as reading the element.
__device__ inline unsigned global_thread() { return blockIdx.x * blockDim.x + threadIdx.x; }

__device__ inline int ceil_div(int a, int b) { return (a + b - 1) / b; }

// Stores the values of columns k and k + 1 of a row, for even k, as far as these columns exist. Aligned rows take both
// values in one store; two stores would each fill half of a memory transaction.
__device__ inline void store_pair(float* row, int k, int columns, float first, float second) {
    if (columns % 2 == 0) {
        if (k < columns) *(float2*)(row + k) = make_float2(first, second);
        return;
    }
    if (k < columns) row[k] = first;
    if (k + 1 < columns) row[k + 1] = second;
}

// The window may be a compile-time constant: loops over it are unrolled, and divisions by the stride become shifts.
#ifndef WINDOW_ROWS
#define WINDOW_ROWS 0
#define WINDOW_COLUMNS 0
#define STRIDE_ROWS 0
#define STRIDE_COLUMNS 0
#endif

// y[n, p, q, k] = sum of x[n, p*stride - begin + r, q*stride - begin + s, c] * w[r, s, c, k], all row-major. fprop
// computes y, dgrad computes x (the adjoint), wgrad computes w.
struct ConvShape {
    int batch;
    int height, width, channels;  // x: [batch, height, width, channels]
    int rows, columns, outputs;   // y: [batch, rows, columns, outputs]
    int kernel_rows, kernel_columns;
    int stride_rows_, stride_columns_;
    int begin_row, begin_column;

    __device__ int window_rows() const { return WINDOW_ROWS ? WINDOW_ROWS : kernel_rows; }
    __device__ int window_columns() const { return WINDOW_COLUMNS ? WINDOW_COLUMNS : kernel_columns; }
    __device__ int stride_rows() const { return STRIDE_ROWS ? STRIDE_ROWS : stride_rows_; }
    __device__ int stride_columns() const { return STRIDE_COLUMNS ? STRIDE_COLUMNS : stride_columns_; }
    __device__ int taps() const { return window_rows() * window_columns(); }
};
