// The three convolution GEMMs where x has one channel, at the ends of both networks: 1 -> K and K -> 1
// (formula in index.cuh).
//
// There is too little arithmetic for tensor cores; the goal is that the K-channel side, y, passes through memory once.
// The kernels therefore apply the activation themselves, and y may be packed: rounded, in rows of `padded` operands.
// Activations are NHWC. Each kernel states its tiling below.
#include "activation.cuh"
#include "index.cuh"
#include "operand.cuh"

constexpr int LANES = 32;
constexpr int WARPS = 8;

// y[pixel, k] = activated(window of x * w[:, k] + bias[k]). A block of 32 x 8 threads computes 64 columns of one row
// in 32 channels. The patch of x is in shared memory; a thread holds 8 columns of its channel in registers, so that
// one weight serves 8.
constexpr int PATCH = 2048;
constexpr int PER_THREAD = 8;

extern "C" __global__ void single_channel_fprop(const ConvShape s, const float* x, const float* w, const float* bias,
                                                const Activation activation, int padded, Operand* y) {
    __shared__ float patch[PATCH];
    const int tile = WARPS * PER_THREAD;
    const int p = blockIdx.x % s.rows, n = blockIdx.x / s.rows, first = blockIdx.y * tile;
    const int k = blockIdx.z * LANES + threadIdx.x;

    const int patch_columns = (tile - 1) * s.stride_columns() + s.window_columns();
    for (int i = threadIdx.y * LANES + threadIdx.x; i < s.window_rows() * patch_columns; i += LANES * WARPS) {
        const int h = p * s.stride_rows() - s.begin_row + i / patch_columns;
        const int v = first * s.stride_columns() - s.begin_column + i % patch_columns;
        const bool inside = h >= 0 && h < s.height && v >= 0 && v < s.width;
        patch[i] = inside ? x[(long long)(n * s.height + h) * s.width + v] : 0.0f;
    }
    __syncthreads();
    if (k >= padded) return;

    const bool inside = k < s.outputs;
    float sum[PER_THREAD] = {};
    for (int r = 0; r < s.window_rows(); ++r) {
        for (int t = 0; t < s.window_columns(); ++t) {
            const float weight = inside ? w[(r * s.window_columns() + t) * s.outputs + k] : 0.0f;
#pragma unroll
            for (int j = 0; j < PER_THREAD; ++j) {
                const int column = (threadIdx.y + j * WARPS) * s.stride_columns() + t;
                sum[j] += patch[r * patch_columns + column] * weight;
            }
        }
    }
    const float offset = bias && inside ? bias[k] : 0.0f;
#pragma unroll
    for (int j = 0; j < PER_THREAD; ++j) {
        const int q = first + threadIdx.y + j * WARPS;
        if (q >= s.columns) continue;
        const float value = inside ? activated(activation, sum[j] + offset) : 0.0f;
        y[((long long)blockIdx.x * s.columns + q) * padded + k] = round_operand(value);
    }
}

// x[pixel] = activated(sum over taps and k of y * w + bias). A block of 256 threads computes 16x16 pixels of x and
// stages the pixels of y that reach them in shared memory, 16 channels at a time, padded to 17 so that neighbouring
// pixels lie in different banks.
constexpr int TILE = 16;
constexpr int CHANNELS = 16;
constexpr int STAGED = 9600;

extern "C" __global__ void single_channel_dgrad(const ConvShape s, int padded, const Operand* y, const float* w,
                                                const float* bias, const Activation activation, float* x) {
    __shared__ float staged[STAGED];
    const int tiles_across = ceil_div(s.width, TILE), tiles_down = ceil_div(s.height, TILE);
    const int top = blockIdx.x / tiles_across % tiles_down * TILE, left = blockIdx.x % tiles_across * TILE;
    const int n = blockIdx.x / tiles_across / tiles_down;
    const int h = top + threadIdx.x / TILE, v = left + threadIdx.x % TILE;

    // First row of y that reaches the tile, and the number of rows that do; the division rounds towards minus
    // infinity.
    const int p0 = (top + s.begin_row - s.window_rows() + s.stride_rows() * s.window_rows()) / s.stride_rows() -
                   s.window_rows() + 1;
    const int q0 = (left + s.begin_column - s.window_columns() + s.stride_columns() * s.window_columns()) /
                       s.stride_columns() -
                   s.window_columns() + 1;
    const int staged_rows = (top + TILE - 1 + s.begin_row) / s.stride_rows() - p0 + 1;
    const int staged_columns = (left + TILE - 1 + s.begin_column) / s.stride_columns() - q0 + 1;

    float sum = 0.0f;
    for (int k0 = 0; k0 < s.outputs; k0 += CHANNELS) {
        const int depth = min(CHANNELS, s.outputs - k0);
        for (int i = threadIdx.x; i < staged_rows * staged_columns * CHANNELS; i += TILE * TILE) {
            const int k = i % CHANNELS, q = q0 + i / CHANNELS % staged_columns, p = p0 + i / CHANNELS / staged_columns;
            const bool inside = k < depth && p >= 0 && p < s.rows && q >= 0 && q < s.columns;
            staged[i / CHANNELS * (CHANNELS + 1) + k] =
                inside ? image_value(y[((long long)(n * s.rows + p) * s.columns + q) * padded + k0 + k]) : 0.0f;
        }
        __syncthreads();
        for (int r = (h + s.begin_row) % s.stride_rows(); r < s.window_rows(); r += s.stride_rows()) {
            for (int t = (v + s.begin_column) % s.stride_columns(); t < s.window_columns(); t += s.stride_columns()) {
                // h + begin - r is a multiple of the stride, possibly negative, so the division is exact.
                const int p = (h + s.begin_row - r) / s.stride_rows() - p0;
                const int q = (v + s.begin_column - t) / s.stride_columns() - q0;
                const float* from = staged + (p * staged_columns + q) * (CHANNELS + 1);
                const float* weight = w + (long long)(r * s.window_columns() + t) * s.outputs + k0;
                for (int k = 0; k < depth; ++k) sum += from[k] * weight[k];
            }
        }
        __syncthreads();
    }
    if (h < s.height && v < s.width) {
        x[(long long)(n * s.height + h) * s.width + v] = activated(activation, sum + (bias ? bias[0] : 0.0f));
    }
}

// w[tap, k] = sum over pixels of x * y. A block of 32 x 8 threads sums one split-K slice of the batch's rows;
// column_totals adds the slices. A thread holds all taps of its channel in registers, so that y is read once.
constexpr int MOST_TAPS = 25;

extern "C" __global__ void single_channel_wgrad(const ConvShape s, int rows_per_slice, int padded, const float* x,
                                                const Operand* y, float* partials) {
    __shared__ float sums[WARPS][LANES];
    const int k = blockIdx.y * LANES + threadIdx.x;
    const int first = blockIdx.x * rows_per_slice, last = min(s.batch * s.rows, first + rows_per_slice);

    float sum[MOST_TAPS] = {};
    for (int row = first; row < last; ++row) {
        const int n = row / s.rows, top = row % s.rows * s.stride_rows() - s.begin_row;
        for (int q = threadIdx.y; q < s.columns; q += WARPS) {
            const int left = q * s.stride_columns() - s.begin_column;
            const float value =
                k < s.outputs ? image_value(y[((long long)row * s.columns + q) * padded + k]) : 0.0f;
#pragma unroll
            for (int tap = 0; tap < MOST_TAPS; ++tap) {
                const int h = top + tap / s.window_columns(), v = left + tap % s.window_columns();
                const bool inside = tap < s.taps() && h >= 0 && h < s.height && v >= 0 && v < s.width;
                if (inside) sum[tap] += x[(long long)(n * s.height + h) * s.width + v] * value;
            }
        }
    }
#pragma unroll
    for (int tap = 0; tap < MOST_TAPS; ++tap) {
        if (tap >= s.taps()) break;
        sums[threadIdx.y][threadIdx.x] = sum[tap];
        __syncthreads();
        if (threadIdx.y == 0 && k < s.outputs) {
            float total = 0.0f;
            for (int warp = 0; warp < WARPS; ++warp) total += sums[warp][threadIdx.x];
            partials[((long long)blockIdx.x * s.taps() + tap) * s.outputs + k] = total;
        }
        __syncthreads();
    }
}
