// Geometry of a convolution, or of one sub-pixel phase of a transposed convolution, as an implicit GEMM:
//
//   out[pixel, column] = sum over taps, channels of source[pixel moved by the tap, channel] * w[tap, column, channel]
#pragma once
#include "index.cuh"

// Mapping from output pixels to source pixels along one axis: output pixel i lies at first + i * step, and its tap j
// reads source pixel origin + i * advance + j * direction with tap tap_first + j * tap_step of the window.
struct Axis {
    int pixels, first, step;
    int origin, advance, direction;
    int taps, tap_first, tap_step;
    int source_extent, output_extent;
};

struct Product {
    Axis row, column;
    int batch, window_columns;
    int depth;    // channels of the source, padded to whole chunks
    int columns;  // channels of the output
};

// Pixel tile and column tile of a tile index. The index runs through `band` pixel tiles under the first columns, then
// under the next ones, up to the last, before it continues with the next band, so that the operands of a band stay in
// the cache.
struct TilePlace {
    int pixels, columns;
};

__device__ inline TilePlace tile_place(int index, int pixel_tiles, int column_tiles, int band) {
    const int first = index / (band * column_tiles) * band, width = min(band, pixel_tiles - first);
    const int within = index - first * column_tiles;
    return {first + within % width, within / width};
}

// Geometry of fprop: y from x.
__device__ inline Product fprop_product(const ConvShape& s, int depth) {
    auto axis = [](int pixels, int begin, int stride, int taps, int extent) {
        return Axis{pixels, 0, 1, -begin, stride, 1, taps, 0, 1, extent, pixels};
    };
    return {axis(s.rows, s.begin_row, s.stride_rows(), s.window_rows(), s.height),
            axis(s.columns, s.begin_column, s.stride_columns(), s.window_columns(), s.width), s.batch,
            s.window_columns(), depth, s.outputs};
}

// Geometry of dgrad: the pixels of x at (phase_row, phase_column) modulo the stride, from y.
__device__ inline Product dgrad_product(const ConvShape& s, int depth, int phase_row, int phase_column) {
    auto axis = [](int phase, int stride, int begin, int window, int extent, int source_extent) {
        const int tap = (phase + begin) % stride;
        const int taps = tap < window ? ceil_div(window - tap, stride) : 0;
        const int pixels = phase < extent ? ceil_div(extent - phase, stride) : 0;
        return Axis{pixels,      phase, stride, (phase + begin - tap) / stride, 1, -1, taps, tap, stride,
                    source_extent, extent};
    };
    return {axis(phase_row, s.stride_rows(), s.begin_row, s.window_rows(), s.height, s.rows),
            axis(phase_column, s.stride_columns(), s.begin_column, s.window_columns(), s.width, s.columns), s.batch,
            s.window_columns(), depth, s.channels};
}
