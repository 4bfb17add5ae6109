// Convolution (fprop) and transposed convolution (dgrad) as implicit GEMMs:
//
//   out[pixel, column] = sum over taps, channels of source[pixel moved by the tap, channel] * w[tap, column, channel]
//
// bf16 and tf32 run on tensor cores, f32 by multiply-adds, with the same tiling, copies and accumulator layout.
//
// Tiling: a block of 256 threads computes TILE_M pixels by TILE_N columns. STAGES - 1 slabs of both operands, 64 bytes
// of channels deep, are in flight through cp.async while one is multiplied; no im2col matrix is materialised. Pixels
// outside the source are copied as zeros. A transposed convolution of stride s splits into s*s GEMMs, one per
// sub-pixel phase, so that nothing is multiplied by an inserted zero; the phases share a launch.
//
// Launch: blockIdx.x and the band are the pixel tile, blockIdx.y is the column tile. Blocks start in the order of
// blockIdx, x first: a band of gridDim.x pixel tiles under all columns and phases, then the next band, so that shared
// operands stay in the cache. A window that is not a compile-time constant has one band, because there are no
// registers for more. Tile, stages and band are chosen by tuning (src/tuning) and do not change any sum.
//
// Memory: source and weights are packed operands with channels contiguous (activations NHWC). Statistics of the
// result, if requested, cover 32 consecutive pixels of a phase at a time, independent of the tile. epilogue.cuh does
// the rest of the epilogue and the stores.
#include "epilogue.cuh"
#include "index.cuh"
#include "mma.cuh"
#include "moments.cuh"
#include "product.cuh"

#ifndef TILE_M
#define TILE_M 128
#define TILE_N 128
#define STAGES 3
#endif

constexpr int SLAB_CHUNKS = 4;
constexpr int THREADS = 256;
constexpr int STAGE_CHUNKS = (TILE_M + TILE_N) * SLAB_CHUNKS;
constexpr int SHARED_BYTES = STAGES * STAGE_CHUNKS * (int)sizeof(uint4);
DYNAMIC_SHARED(stage_memory, SHARED_BYTES)

constexpr int WARP_N = 32;
constexpr int WARPS_N = TILE_N / WARP_N;
constexpr int WARP_M = TILE_M * WARPS_N / (THREADS / 32);
constexpr int PRODUCTS_M = WARP_M / 16;
constexpr int PRODUCTS_N = WARP_N / 8;
// The f32 kernels take no statistics: their multiply-adds leave no registers for it, and some would spill. A separate
// pass costs least there.
constexpr bool STATISTICS = OPERAND_BITS != 32;
static_assert(!STATISTICS || WARP_M % SLICE_PIXELS == 0, "a warp takes statistics of whole slices");

// Statistics must not cost the widest default tile its second block per multiprocessor. Other tiles have no such
// bound: some would spill if limited to as many registers. Tuning measures them.
#if TILE_M == 128 && TILE_N == 128 && STAGES == 3 && OPERAND_BITS != 32
#define LAUNCH_BOUNDS __launch_bounds__(THREADS, 2)
#else
#define LAUNCH_BOUNDS __launch_bounds__(THREADS)
#endif

// Position of a chunk in a slab: two rows share 128 bytes, and the exclusive or spreads the chunks that one ldmatrix
// reads over all banks.
__device__ inline int chunk_at(int row, int chunk) {
    return row / 2 * 8 + row % 2 * 4 + (chunk ^ (row / 2 % 4));
}

// Multiplies a slab of the source by one of the weights and adds to the sums of a warp: sum[i][j][2h + e] belongs to
// row 16i + 8h + lane / 4 and column 8j + lane % 4 * 2 + e of the warp's part of the tile.
#if OPERAND_BITS == 32
__device__ inline void multiply_slab(float (&sum)[PRODUCTS_M][PRODUCTS_N][4], const uint4* a, const uint4* b,
                                     int warp_row, int warp_column, int lane) {
    const float4* const left_slab = (const float4*)a;
    const float4* const right_slab = (const float4*)b;
    // If this loop were unrolled, the loads of all chunks would be hoisted, and their registers would halve the
    // occupancy.
#pragma unroll 1
    for (int chunk = 0; chunk < SLAB_CHUNKS; ++chunk) {
        float4 left[2 * PRODUCTS_M];
#pragma unroll
        for (int i = 0; i < 2 * PRODUCTS_M; ++i) left[i] = left_slab[chunk_at(warp_row + 8 * i + lane / 4, chunk)];
#pragma unroll
        for (int j = 0; j < 2 * PRODUCTS_N; ++j) {
            const int column = warp_column + j / 2 * 8 + lane % 4 * 2 + j % 2;
            const float4 right = right_slab[chunk_at(column, chunk)];
#pragma unroll
            for (int i = 0; i < 2 * PRODUCTS_M; ++i) {
                float& to = sum[i / 2][j / 2][i % 2 * 2 + j % 2];
                to += left[i].x * right.x;
                to += left[i].y * right.y;
                to += left[i].z * right.z;
                to += left[i].w * right.w;
            }
        }
    }
}
#else
__device__ inline void multiply_slab(float (&sum)[PRODUCTS_M][PRODUCTS_N][4], const uint4* a, const uint4* b,
                                     int warp_row, int warp_column, int lane) {
#pragma unroll
    for (int step = 0; step < SLAB_CHUNKS / 2; ++step) {
        unsigned right[PRODUCTS_N / 2][4];
#pragma unroll
        for (int j = 0; j < PRODUCTS_N / 2; ++j) {
            const int row = warp_column + 16 * j + lane / 16 * 8 + lane % 8;
            load_matrices(right[j], b + chunk_at(row, 2 * step + lane / 8 % 2));
        }
#pragma unroll
        for (int i = 0; i < PRODUCTS_M; ++i) {
            unsigned left[4];
            load_matrices(left, a + chunk_at(warp_row + 16 * i + lane % 16, 2 * step + lane / 16));
#pragma unroll
            for (int j = 0; j < PRODUCTS_N; ++j) {
                multiply_add(sum[i][j], left, right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]);
            }
        }
    }
}
#endif

// Stores the moments of the tile's columns. A phase has `phase_slices` slices, including those beyond its pixels.
__device__ inline void store_slices(const Slices& slices, int phase, int phase_slices,
                                    const float (&sum)[PRODUCTS_M][PRODUCTS_N][4], int first_pixel, int pixels,
                                    int first_column, int columns, bool counts) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int group = 0; group < WARP_M / SLICE_PIXELS; ++group) {
        const int first = first_pixel + group * SLICE_PIXELS, slice = phase * phase_slices + first / SLICE_PIXELS;
        const int count = max(0, min(SLICE_PIXELS, pixels - first));
        if (first / SLICE_PIXELS >= phase_slices) return;
        if (counts && lane == 0) slices.counts[slice] = (float)count;
        if (count == 0) continue;
        bool valid[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) valid[i] = 8 * i + lane / 4 < count;
#pragma unroll
        for (int j = 0; j < PRODUCTS_N; ++j) {
            const int k = first_column + 8 * j + lane % 4 * 2;
            Moments pair[2];
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                float value[4];
#pragma unroll
                for (int i = 0; i < 4; ++i) value[i] = sum[2 * group + i / 2][j][i % 2 * 2 + e];
                pair[e] = moments(value, valid, (float)count);
            }
            store_moments(slices, slice, columns, k, pair[0], pair[1]);
        }
    }
}

__device__ inline void implicit_product(const Product& g, int band, int phase, const Operand* source, const Operand* w,
                                        void* out, const Epilogue& epilogue, const Slices& slices, int phase_slices) {
    uint4* const storage = (uint4*)stage_memory();
    const int pixels = g.batch * g.row.pixels * g.column.pixels;
    const int first_pixel = (band * gridDim.x + blockIdx.x) * TILE_M, first_column = blockIdx.y * TILE_N;
    if (first_pixel >= pixels) {
        const int slice = first_pixel / SLICE_PIXELS + threadIdx.x;
        if (STATISTICS && slices.counts && blockIdx.y == 0 && threadIdx.x < TILE_M / SLICE_PIXELS && slice < phase_slices) {
            slices.counts[phase * phase_slices + slice] = 0.0f;
        }
        return;
    }

    // This thread copies one chunk of every 64th row of each slab. Its pixels stay the same for all slabs.
    const int chunk = threadIdx.x % SLAB_CHUNKS, first_row = threadIdx.x / SLAB_CHUNKS;
    int image[TILE_M / 64], top[TILE_M / 64], left[TILE_M / 64];
#pragma unroll
    for (int i = 0; i < TILE_M / 64; ++i) {
        const int pixel = first_pixel + first_row + 64 * i;
        const int column = pixel % g.column.pixels, row = pixel / g.column.pixels % g.row.pixels;
        image[i] = pixel < pixels ? pixel / g.column.pixels / g.row.pixels * g.row.source_extent : -1;
        top[i] = g.row.origin + row * g.row.advance;
        left[i] = g.column.origin + column * g.column.advance;
    }

    // The next slab to copy: tap (tap_row, tap_column), channels from `channel` on.
    int tap_row = 0, tap_column = 0, channel = chunk * CHUNK_VALUES, slab = 0;
    auto copy_slab = [&](int stage) {
        uint4* const a = storage + stage * STAGE_CHUNKS;
        uint4* const b = a + TILE_M * SLAB_CHUNKS;
        const bool inside = channel < g.depth;
#pragma unroll
        for (int i = 0; i < TILE_M / 64; ++i) {
            const int h = top[i] + tap_row * g.row.direction, v = left[i] + tap_column * g.column.direction;
            const bool valid = inside && image[i] >= 0 && h >= 0 && h < g.row.source_extent && v >= 0 &&
                               v < g.column.source_extent;
            const long long at = ((long long)(image[i] + h) * g.column.source_extent + v) * g.depth + channel;
            copy_async(a + chunk_at(first_row + 64 * i, chunk), source + (valid ? at : 0), valid);
        }
        const int tap = (g.row.tap_first + tap_row * g.row.tap_step) * g.window_columns + g.column.tap_first +
                        tap_column * g.column.tap_step;
#pragma unroll
        for (int i = 0; i < TILE_N / 64; ++i) {
            const int column = first_column + first_row + 64 * i;
            const bool valid = inside && column < g.columns;
            const long long at = ((long long)tap * g.columns + column) * g.depth + channel;
            copy_async(b + chunk_at(first_row + 64 * i, chunk), w + (valid ? at : 0), valid);
        }
        channel += SLAB_CHUNKS * CHUNK_VALUES;
        if (channel - chunk * CHUNK_VALUES >= g.depth) {
            channel = chunk * CHUNK_VALUES;
            if (++tap_column == g.column.taps) {
                tap_column = 0;
                ++tap_row;
            }
        }
    };

    const int slabs = g.row.taps * g.column.taps * ceil_div(g.depth, SLAB_CHUNKS * CHUNK_VALUES);
#pragma unroll
    for (int stage = 0; stage < STAGES - 1; ++stage) {
        if (slab < slabs) copy_slab(stage);
        copy_commit();
        ++slab;
    }

    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int warp_row = warp / WARPS_N * WARP_M, warp_column = warp % WARPS_N * WARP_N;
    float sum[PRODUCTS_M][PRODUCTS_N][4] = {};
    for (int done = 0; done < slabs; ++done, ++slab) {
        copy_wait<STAGES - 2>();
        __syncthreads();
        if (slab < slabs) copy_slab(slab % STAGES);
        copy_commit();

        const uint4* const a = storage + done % STAGES * STAGE_CHUNKS;
        multiply_slab(sum, a, a + TILE_M * SLAB_CHUNKS, warp_row, warp_column, lane);
    }

    apply_to_columns(epilogue, first_column + warp_column, g.columns, [&](auto j, auto e, const auto& finished) {
        unrolled<2 * PRODUCTS_M>([&](auto i) {
            float& value = sum[i.value / 2][j.value][i.value % 2 * 2 + e.value];
            value = finished(value);
        });
    });
#pragma unroll
    for (int i = 0; i < PRODUCTS_M * 2; ++i) {
        const int pixel = first_pixel + warp_row + 8 * i + lane / 4;
        const int column = pixel % g.column.pixels, row = pixel / g.column.pixels % g.row.pixels;
        const long long at = ((long long)(pixel / g.column.pixels / g.row.pixels) * g.row.output_extent +
                              g.row.first + row * g.row.step) *
                                 g.column.output_extent +
                             g.column.first + column * g.column.step;
        float value[2 * PRODUCTS_N];
#pragma unroll
        for (int j = 0; j < 2 * PRODUCTS_N; ++j) value[j] = sum[i / 2][j / 2][i % 2 * 2 + j % 2];
        store_columns(epilogue, out, at, first_column + warp_column, g.columns, value, pixel < pixels);
    }
    if (STATISTICS && slices.counts) {
        store_slices(slices, phase, phase_slices, sum, first_pixel + warp_row, pixels, first_column + warp_column,
                     g.columns, blockIdx.y == 0 && warp_column == 0);
    }
}

// x: [batch, height, width, depth], w: [taps, outputs, depth], both packed; y as in `epilogue`. blockIdx.z is the band.
extern "C" __global__ void LAUNCH_BOUNDS
    conv_fprop_tiled(const ConvShape s, int depth, const Operand* x, const Operand* w, void* y, const Epilogue epilogue,
                     const Slices slices, int phase_slices) {
    implicit_product(fprop_product(s, depth), WINDOW_ROWS ? blockIdx.z : 0, 0, x, w, y, epilogue, slices, phase_slices);
}

// y: [batch, rows, columns, depth], w: [taps, channels, depth], both packed; x as in `epilogue`. blockIdx.z is band *
// phases + phase.
extern "C" __global__ void LAUNCH_BOUNDS
    conv_dgrad_tiled(const ConvShape s, int depth, const Operand* y, const Operand* w, void* x, const Epilogue epilogue,
                     const Slices slices, int phase_slices) {
    const int phases = s.stride_rows() * s.stride_columns(), band = WINDOW_ROWS ? blockIdx.z / phases : 0;
    const int phase = blockIdx.z - band * phases;
    const int phase_row = phase / s.stride_columns(), phase_column = phase % s.stride_columns();
    implicit_product(dgrad_product(s, depth, phase_row, phase_column), band, phase, y, w, x, epilogue, slices,
                     phase_slices);
}
