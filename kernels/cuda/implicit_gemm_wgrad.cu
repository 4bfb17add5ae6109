// Weight gradient (wgrad) as an implicit GEMM, on tensor cores for bf16 and tf32, by multiply-adds for f32:
//
//   w[(tap, c), k] = sum over pixels of x[pixel moved by the tap, c] * y[pixel, k]
//
// Tiling: a block of 256 threads computes TILE_M rows (tap, c) by TILE_N columns k. The inner dimension, pixels, is
// not the contiguous one in memory, so fragments are transposed when they are loaded from shared memory. STAGES slabs
// of 64 bytes per row are in flight through cp.async.
//
// Launch: blockIdx.x is the row tile, blockIdx.y the column tile, blockIdx.z the split-K slice of the pixels;
// column_totals adds the slices in a fixed order. Tile and stages are chosen by tuning (src/tuning) and do not change
// any sum; the number of slices does.
//
// Memory: x and y are packed operands with channels contiguous (NHWC); the partial sums are f32.
#include "index.cuh"
#include "mma.cuh"

#ifndef TILE_M
#define TILE_M 128
#define TILE_N 128
#define STAGES 3
#endif

constexpr int THREADS = 256;
constexpr int SLAB_PIXELS = 64 / sizeof(Operand);
// Chunks per pixel in a slab of the left operand, and of the right one.
constexpr int CHUNKS_M = TILE_M / CHUNK_VALUES;
constexpr int CHUNKS_N = TILE_N / CHUNK_VALUES;
constexpr int STAGE_CHUNKS = SLAB_PIXELS * (CHUNKS_M + CHUNKS_N);
constexpr int SHARED_BYTES = STAGES * STAGE_CHUNKS * (int)sizeof(uint4);
DYNAMIC_SHARED(stage_memory, SHARED_BYTES)

constexpr int WARP_N = 32;
constexpr int WARPS_N = TILE_N / WARP_N;
constexpr int WARP_M = TILE_M * WARPS_N / (THREADS / 32);
constexpr int PRODUCTS_M = WARP_M / 16;
constexpr int PRODUCTS_N = WARP_N / 8;

// Position of a chunk of a pixel. The exclusive or spreads the chunks that one warp reads at once over all banks: 8
// pixels of one chunk by ldmatrix for bf16, 4 pixels of two chunks by plain loads for tf32, which ldmatrix cannot
// transpose. In f32 a warp reads one pixel at a time, and its values are stored in order.
template <int CHUNKS>
__device__ inline int chunk_at(int pixel, int chunk) {
    return pixel * CHUNKS + (chunk ^ (OPERAND_BITS == 16 ? pixel % 8 : OPERAND_BITS == 19 ? pixel % 4 * 2 : 0));
}

#if OPERAND_BITS == 16
// Loads 16 rows of the left operand, from `row` on, for the inner values from `pixel` on.
__device__ inline void load_left(unsigned (&fragment)[4], const uint4* slab, int pixel, int row, int lane) {
    const int matrix = lane / 8;
    load_matrices_transposed(fragment,
                             slab + chunk_at<CHUNKS_M>(pixel + matrix / 2 * 8 + lane % 8,
                                                       row / CHUNK_VALUES + matrix % 2));
}

// Loads 16 columns of the right operand, enough for two mma.
__device__ inline void load_right(unsigned (&fragment)[4], const uint4* slab, int pixel, int column, int lane) {
    const int matrix = lane / 8;
    load_matrices_transposed(fragment,
                             slab + chunk_at<CHUNKS_N>(pixel + matrix % 2 * 8 + lane % 8,
                                                       column / CHUNK_VALUES + matrix / 2));
}
#elif OPERAND_BITS == 19
template <int CHUNKS>
__device__ inline unsigned value_at(const uint4* slab, int pixel, int row) {
    const float* const chunk = (const float*)(slab + chunk_at<CHUNKS>(pixel, row / CHUNK_VALUES));
    return __float_as_uint(chunk[row % CHUNK_VALUES]);
}

__device__ inline void load_left(unsigned (&fragment)[4], const uint4* slab, int pixel, int row, int lane) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        fragment[i] = value_at<CHUNKS_M>(slab, pixel + i / 2 * 4 + lane % 4, row + i % 2 * 8 + lane / 4);
    }
}

__device__ inline void load_right(unsigned (&fragment)[4], const uint4* slab, int pixel, int column, int lane) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        fragment[i] = value_at<CHUNKS_N>(slab, pixel + i % 2 * 4 + lane % 4, column + i / 2 * 8 + lane / 4);
    }
}
#endif

// Multiplies a slab of x by one of y and adds to the sums of a warp: sum[i][j][2h + e] belongs to row 16i + 8h + lane
// / 4 and column 8j + lane % 4 * 2 + e of the warp's part of the tile.
#if OPERAND_BITS == 32
__device__ inline void multiply_slab(float (&sum)[PRODUCTS_M][PRODUCTS_N][4], const uint4* a, const uint4* b,
                                     int warp_row, int warp_column, int lane) {
    const float* const left_slab = (const float*)a;
    const float* const right_slab = (const float*)b;
#pragma unroll 2
    for (int pixel = 0; pixel < SLAB_PIXELS; ++pixel) {
        float left[2 * PRODUCTS_M];
#pragma unroll
        for (int i = 0; i < 2 * PRODUCTS_M; ++i) left[i] = left_slab[pixel * TILE_M + warp_row + 8 * i + lane / 4];
#pragma unroll
        for (int j = 0; j < 2 * PRODUCTS_N; ++j) {
            const float right = right_slab[pixel * TILE_N + warp_column + j / 2 * 8 + lane % 4 * 2 + j % 2];
#pragma unroll
            for (int i = 0; i < 2 * PRODUCTS_M; ++i) sum[i / 2][j / 2][i % 2 * 2 + j % 2] += left[i] * right;
        }
    }
}
#else
__device__ inline void multiply_slab(float (&sum)[PRODUCTS_M][PRODUCTS_N][4], const uint4* a, const uint4* b,
                                     int warp_row, int warp_column, int lane) {
#pragma unroll
    for (int pixel = 0; pixel < SLAB_PIXELS; pixel += PRODUCT_VALUES) {
        unsigned right[PRODUCTS_N / 2][4];
#pragma unroll
        for (int j = 0; j < PRODUCTS_N / 2; ++j) load_right(right[j], b, pixel, warp_column + 16 * j, lane);
#pragma unroll
        for (int i = 0; i < PRODUCTS_M; ++i) {
            unsigned left[4];
            load_left(left, a, pixel, warp_row + 16 * i, lane);
#pragma unroll
            for (int j = 0; j < PRODUCTS_N; ++j) {
                multiply_add(sum[i][j], left, right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]);
            }
        }
    }
}
#endif

// x: [batch, height, width, depth_x], y: [batch, rows, columns, depth_y], both packed. Slice blockIdx.z sums over
// `share` pixels, a multiple of SLAB_PIXELS.
extern "C" __global__ void __launch_bounds__(THREADS)
    conv_wgrad_tiled(const ConvShape s, int depth_x, int depth_y, int share, const Operand* x, const Operand* y,
                      float* partials) {
    uint4* const storage = (uint4*)stage_memory();
    const int pixels = s.batch * s.rows * s.columns;
    const int first = blockIdx.z * share, last = min(pixels, first + share);
    const int first_row = blockIdx.x * TILE_M, first_column = blockIdx.y * TILE_N;

    // This thread copies one chunk of every STEP_M-th (STEP_N-th) pixel of each operand; the chunk stays the same.
    constexpr int STEP_M = THREADS / CHUNKS_M, STEP_N = THREADS / CHUNKS_N;
    const int chunk_m = threadIdx.x % CHUNKS_M, pixel_m = threadIdx.x / CHUNKS_M;
    const int chunk_n = threadIdx.x % CHUNKS_N, pixel_n = threadIdx.x / CHUNKS_N;
    const int row = first_row + chunk_m * CHUNK_VALUES, column = first_column + chunk_n * CHUNK_VALUES;
    const int tap = row / depth_x, channel = row % depth_x;
    const int tap_row = tap / s.window_columns() - s.begin_row, tap_column = tap % s.window_columns() - s.begin_column;
    // The pixels of x to copy next. Slabs are copied in order, so that no further division is needed.
    constexpr int COPIES_M = SLAB_PIXELS / STEP_M, COPIES_N = SLAB_PIXELS / STEP_N;
    int n[COPIES_M], p[COPIES_M], q[COPIES_M];
#pragma unroll
    for (int i = 0; i < COPIES_M; ++i) {
        const int pixel = first + pixel_m + i * STEP_M;
        q[i] = pixel % s.columns, p[i] = pixel / s.columns % s.rows, n[i] = pixel / s.columns / s.rows;
    }
    auto copy_slab = [&](int slab) {
        uint4* const a = storage + slab % STAGES * STAGE_CHUNKS;
        uint4* const b = a + SLAB_PIXELS * CHUNKS_M;
        // Alternating between the operands takes fewer registers than copying one after the other.
#pragma unroll
        for (int i = 0; i < COPIES_M || i < COPIES_N; ++i) {
            if (i < COPIES_M) {
                const int within = pixel_m + i * STEP_M;
                const int h = p[i] * s.stride_rows() + tap_row, v = q[i] * s.stride_columns() + tap_column;
                const bool valid = first + slab * SLAB_PIXELS + within < last && tap < s.taps() && h >= 0 &&
                                   h < s.height && v >= 0 && v < s.width;
                const long long at = ((long long)(n[i] * s.height + h) * s.width + v) * depth_x + channel;
                copy_async(a + chunk_at<CHUNKS_M>(within, chunk_m), x + (valid ? at : 0), valid);
            }
            if (i < COPIES_N) {
                const int within = pixel_n + i * STEP_N, pixel = first + slab * SLAB_PIXELS + within;
                const bool valid = pixel < last && column < depth_y;
                const long long at = (long long)pixel * depth_y + column;
                copy_async(b + chunk_at<CHUNKS_N>(within, chunk_n), y + (valid ? at : 0), valid);
            }
            if (i < COPIES_M) {
                q[i] += SLAB_PIXELS;
                while (q[i] >= s.columns) {
                    q[i] -= s.columns;
                    if (++p[i] == s.rows) {
                        p[i] = 0;
                        ++n[i];
                    }
                }
            }
        }
    };

    const int slabs = ceil_div(last - first, SLAB_PIXELS);
#pragma unroll
    for (int slab = 0; slab < STAGES - 1; ++slab) {
        if (slab < slabs) copy_slab(slab);
        copy_commit();
    }

    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int warp_row = warp / WARPS_N * WARP_M, warp_column = warp % WARPS_N * WARP_N;
    float sum[PRODUCTS_M][PRODUCTS_N][4] = {};
    for (int slab = 0; slab < slabs; ++slab) {
        copy_wait<STAGES - 2>();
        __syncthreads();
        if (slab + STAGES - 1 < slabs) copy_slab(slab + STAGES - 1);
        copy_commit();

        const uint4* const a = storage + slab % STAGES * STAGE_CHUNKS;
        multiply_slab(sum, a, a + SLAB_PIXELS * CHUNKS_M, warp_row, warp_column, lane);
    }

    float* const to = partials + (long long)blockIdx.z * s.taps() * s.channels * s.outputs;
#pragma unroll
    for (int i = 0; i < PRODUCTS_M * 2; ++i) {
        const int row = first_row + warp_row + 8 * i + lane / 4;
        const int tap = row / depth_x, c = row % depth_x;
        if (tap >= s.taps() || c >= s.channels) continue;
#pragma unroll
        for (int j = 0; j < PRODUCTS_N; ++j) {
            const int k = first_column + warp_column + 8 * j + lane % 4 * 2;
            float* const at = to + ((long long)tap * s.channels + c) * s.outputs;
            store_pair(at, k, s.outputs, sum[i / 2][j][i % 2 * 2], sum[i / 2][j][i % 2 * 2 + 1]);
        }
    }
}
