// Column sums of a row-major matrix [rows, columns], and sums of squares, each in two launches with a fixed order.
//
// Launch: column_partials has blocks of 32 columns x 8 lanes and writes one partial row per SLICE rows, so that at
// most SLICE / 8 additions follow one another. column_totals has blocks of 32 columns x up to 32 lanes and adds the
// partial rows in double precision: there are few of them. square_partials has 256 threads per block.
#include "index.cuh"
#include "operand.cuh"
#include "reduce.cuh"

// Storage format of column_partials' matrix: f32, or packed operands in rows of `padded`.
#ifndef X_BITS
#define X_BITS 32
#endif
typedef ImageOf<X_BITS>::Value X;

constexpr int SLICE = 512;
constexpr int SQUARES = 4096;

extern "C" __global__ void column_partials(int rows, int columns, int padded, const X* x, float* partials) {
    __shared__ float sums[8][32];
    const int column = blockIdx.y * 32 + threadIdx.x;
    const int first = blockIdx.x * SLICE, last = min(rows, first + SLICE);
    float sum = 0.0f;
    if (column < columns) {
        for (int row = first + threadIdx.y; row < last; row += 8) {
            sum += image_value(x[(long long)row * padded + column]);
        }
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        float total = 0.0f;
        for (int lane = 0; lane < 8; ++lane) total += sums[lane][threadIdx.x];
        partials[(long long)blockIdx.x * columns + column] = total;
    }
}

extern "C" __global__ void column_totals(int rows, int columns, const float* partials, float* totals) {
    __shared__ double sums[32][32];
    const int column = blockIdx.x * 32 + threadIdx.x;
    double sum = 0.0;
    if (column < columns) {
        for (int row = threadIdx.y; row < rows; row += (int)blockDim.y) sum += partials[(long long)row * columns + column];
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        double total = 0.0;
        for (int lane = 0; lane < (int)blockDim.y; ++lane) total += sums[lane][threadIdx.x];
        totals[column] = (float)total;
    }
}

// Writes the sum of squares of SQUARES consecutive values per block.
extern "C" __global__ void square_partials(int length, const float* x, float* partials) {
    __shared__ float scratch[32];
    const int first = blockIdx.x * SQUARES, last = min(length, first + SQUARES);
    float sum = 0.0f;
    for (int i = first + threadIdx.x; i < last; i += blockDim.x) sum += x[i] * x[i];
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}
