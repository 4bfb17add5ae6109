// The three convolution GEMMs (fprop, dgrad, wgrad; formula in index.cuh) in f32: the plain reference kernels.
//
// Launch: 256 threads per block, one thread per output element; nothing is staged in shared memory.
//
// Memory: activations are NHWC. Consecutive threads compute consecutive channels of the last axis, so that reads of
// weights and writes of outputs coalesce and the other operand is the same for a whole warp. fprop reads w as
// [taps, channels, outputs], dgrad reads it transposed and padded as [taps, outputs, padded]. Linear layers are
// convolutions of 1x1 images with a 1x1 window.
#include "index.cuh"

extern "C" __global__ void conv_fprop(const ConvShape s, const float* x, const float* w, const float* bias, float* y) {
    const unsigned i = global_thread();
    if (i >= (unsigned)(s.batch * s.rows * s.columns * s.outputs)) return;
    const int k = i % s.outputs, pixel = i / s.outputs;
    const int q = pixel % s.columns, p = pixel / s.columns % s.rows, n = pixel / s.columns / s.rows;

    float sum = 0.0f;
    for (int r = 0; r < s.window_rows(); ++r) {
        const int h = p * s.stride_rows() - s.begin_row + r;
        if (h < 0 || h >= s.height) continue;
        for (int t = 0; t < s.window_columns(); ++t) {
            const int v = q * s.stride_columns() - s.begin_column + t;
            if (v < 0 || v >= s.width) continue;
            const float* from = x + ((long long)(n * s.height + h) * s.width + v) * s.channels;
            const float* weight = w + (long long)(r * s.window_columns() + t) * s.channels * s.outputs + k;
            for (int c = 0; c < s.channels; ++c) sum += from[c] * weight[(long long)c * s.outputs];
        }
    }
    y[i] = bias ? sum + bias[k] : sum;
}

// Every stride-th tap reaches a row of x, starting from the first one that does.
extern "C" __global__ void conv_dgrad(const ConvShape s, int padded, const float* y, const float* w, const float* bias, float* x) {
    const unsigned i = global_thread();
    if (i >= (unsigned)(s.batch * s.height * s.width * s.channels)) return;
    const int c = i % s.channels, pixel = i / s.channels;
    const int v = pixel % s.width, h = pixel / s.width % s.height, n = pixel / s.width / s.height;

    float sum = 0.0f;
    for (int r = (h + s.begin_row) % s.stride_rows(); r < s.window_rows(); r += s.stride_rows()) {
        const int p = (h + s.begin_row - r) / s.stride_rows();
        if (h + s.begin_row < r || p >= s.rows) continue;
        for (int t = (v + s.begin_column) % s.stride_columns(); t < s.window_columns(); t += s.stride_columns()) {
            const int q = (v + s.begin_column - t) / s.stride_columns();
            if (v + s.begin_column < t || q >= s.columns) continue;
            const float* from = y + ((long long)(n * s.rows + p) * s.columns + q) * s.outputs;
            const float* weight = w + (long long)(r * s.window_columns() + t) * s.outputs * padded + c;
            for (int k = 0; k < s.outputs; ++k) sum += from[k] * weight[(long long)k * padded];
        }
    }
    x[i] = bias ? sum + bias[c] : sum;
}

// Split-K: blockIdx.y selects a slice of the image rows of the batch; column_totals adds the partial sums.
extern "C" __global__ void conv_wgrad(const ConvShape s, int rows_per_slice, const float* x, const float* y,
                                      float* partials) {
    const unsigned i = global_thread(), weights = s.taps() * s.channels * s.outputs;
    if (i >= weights) return;
    const int k = i % s.outputs, c = i / s.outputs % s.channels, tap = i / s.outputs / s.channels;
    const int r = tap / s.window_columns(), t = tap % s.window_columns();

    float sum = 0.0f;
    const int first = blockIdx.y * rows_per_slice, last = min(s.batch * s.rows, first + rows_per_slice);
    for (int row = first; row < last; ++row) {
        const int n = row / s.rows, h = row % s.rows * s.stride_rows() - s.begin_row + r;
        if (h < 0 || h >= s.height) continue;
        for (int q = 0; q < s.columns; ++q) {
            const int v = q * s.stride_columns() - s.begin_column + t;
            if (v < 0 || v >= s.width) continue;
            sum += x[((long long)(n * s.height + h) * s.width + v) * s.channels + c] *
                   y[((long long)row * s.columns + q) * s.outputs + k];
        }
    }
    partials[(long long)blockIdx.y * weights + i] = sum;
}
