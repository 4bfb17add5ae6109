// Convolution and transposed convolution as implicit matrix products (product.cuh) for compute capability 9.0, in bf16 or
// tf32.
//
// A block computes 256 pixels by TILE_N columns at a time, 128 pixels in each of two warpgroups. A tile's pixels are a
// rectangle of one image or of several, so that for one tap and 128 bytes of channels its operand is one box of the source:
// TMA brings it with a single instruction, zeros for what lies outside the image included. One thread does nothing but ask
// for boxes. The grid is as large as the device; blocks take tiles in turn, those of the phase with the most taps first.
#include "index.cuh"
#include "pipeline.cuh"
#include "product.cuh"

#ifndef TILE_N
#define TILE_N 128
#endif

constexpr int TILE_M = 256;
constexpr int STAGES = TILE_N == 128 ? 4 : 5;
constexpr int SOURCE_BYTES = TILE_M * SLAB_BYTES;
constexpr int STAGE_BYTES = SOURCE_BYTES + TILE_N * SLAB_BYTES;
constexpr int PRODUCTS_M = TILE_M / CONSUMERS / 64;

typedef Pipeline<STAGES, STAGE_BYTES> Stages;
DYNAMIC_SHARED(stage_memory, Stages::SHARED_BYTES)

// A tile is `columns` by `rows` pixels of `images` images, TILE_M in all; a phase has across * down * deep of them.
struct PixelTiles {
    int columns, rows, images;
    int across, down, deep;
};

// Where a tile lies: its first pixel, within its phase, and its first column.
struct Tile {
    int phase, column, row, image, output;
};

__device__ inline Tile tile_at(int index, const PixelTiles& t, int output_tiles) {
    Tile tile;
    tile.output = index % output_tiles * TILE_N;
    index /= output_tiles;
    tile.column = index % t.across * t.columns;
    index /= t.across;
    tile.row = index % t.down * t.rows;
    index /= t.down;
    tile.image = index % t.deep * t.images;
    tile.phase = index / t.deep;
    return tile;
}

// `product_of` gives the product of a phase.
template <class ProductOf>
__device__ inline void persistent_product(const ProductOf& product_of, int phases, const PixelTiles& t, int columns,
                                          const TensorMap& source, const TensorMap& w, const float* bias, float* out) {
    Stages stages(stage_memory());
    const int output_tiles = ceil_div(columns, TILE_N);
    const int tiles = phases * t.across * t.down * t.deep * output_tiles;
    const int warpgroup = threadIdx.x / WARPGROUP;

    if (warpgroup == CONSUMERS) {
        registers_give_back<PRODUCER_REGISTERS>();
        if (threadIdx.x != CONSUMERS * WARPGROUP) return;
        tma_prefetch(source);
        tma_prefetch(w);
        for (int index = blockIdx.x; index < tiles; index += gridDim.x) {
            const Tile tile = tile_at(index, t, output_tiles);
            const Product g = product_of(tile.phase);
            const int top = g.row.origin + tile.row * g.row.advance;
            const int left = g.column.origin + tile.column * g.column.advance;
            for (int tap_row = 0; tap_row < g.row.taps; ++tap_row) {
                for (int tap_column = 0; tap_column < g.column.taps; ++tap_column) {
                    const int tap = (g.row.tap_first + tap_row * g.row.tap_step) * g.window_columns +
                                    g.column.tap_first + tap_column * g.column.tap_step;
                    for (int channel = 0; channel < g.depth; channel += SLAB_VALUES) {
                        Mbarrier* const full = stages.acquire();
                        tma_load(stages.memory(), source, full, channel, left + tap_column * g.column.direction,
                                 top + tap_row * g.row.direction, tile.image);
                        tma_load(stages.memory() + SOURCE_BYTES, w, full, channel, tile.output, tap);
                        stages.advance();
                    }
                }
            }
        }
        return;
    }

    registers_take<CONSUMER_REGISTERS>();
    const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
    for (int index = blockIdx.x; index < tiles; index += gridDim.x) {
        const Tile tile = tile_at(index, t, output_tiles);
        const Product g = product_of(tile.phase);
        const int slabs = g.row.taps * g.column.taps * ceil_div(g.depth, SLAB_VALUES);
        float sum[PRODUCTS_M][TILE_N / 2] = {};
        for (int slab = 0; slab < slabs; ++slab) {
            stages.wait();
            const unsigned char* const a = stages.memory() + warpgroup * (PRODUCTS_M * 64 * SLAB_BYTES);
            const unsigned char* const b = stages.memory() + SOURCE_BYTES;
            wgmma_fence();
#pragma unroll
            for (int step = 0; step < SLAB_BYTES; step += 32) {
                const unsigned long long right = wgmma_operand(b + step, 0, 8 * SLAB_BYTES);
#pragma unroll
                for (int i = 0; i < PRODUCTS_M; ++i) {
                    wgmma<K_MAJOR>(sum[i], wgmma_operand(a + i * 64 * SLAB_BYTES + step, 0, 8 * SLAB_BYTES), right);
                }
            }
            wgmma_commit();
            // One group stays under way, so that the next follows it without a gap.
            if (slab > 0) {
                wgmma_wait<1>();
                stages.release(1);
            }
            stages.advance();
        }
        wgmma_wait<0>();
        if (slabs > 0) stages.release(1);

#pragma unroll
        for (int i = 0; i < 2 * PRODUCTS_M; ++i) {
            const int pixel = (warpgroup * PRODUCTS_M + i / 2) * 64 + warp * 16 + i % 2 * 8 + lane / 4;
            const int column = tile.column + pixel % t.columns, row = tile.row + pixel / t.columns % t.rows;
            const int image = tile.image + pixel / t.columns / t.rows;
            if (column >= g.column.pixels || row >= g.row.pixels || image >= g.batch) continue;
            const long long at = ((long long)image * g.row.output_extent + g.row.first + row * g.row.step) *
                                     g.column.output_extent +
                                 g.column.first + column * g.column.step;
#pragma unroll
            for (int j = 0; j < TILE_N / 8; ++j) {
                const int k = tile.output + 8 * j + lane % 4 * 2;
                const float first = sum[i / 2][4 * j + i % 2 * 2] + (bias && k < columns ? bias[k] : 0.0f);
                const float second =
                    sum[i / 2][4 * j + i % 2 * 2 + 1] + (bias && k + 1 < columns ? bias[k + 1] : 0.0f);
                store_pair(out + at * columns, k, columns, first, second);
            }
        }
    }
}

// x: [batch, height, width, depth] in boxes that step over pixels by the stride, w: [taps, outputs, depth]; y in f32.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    conv_fprop_hopper(const ConvShape s, const PixelTiles t, int depth, const __grid_constant__ TensorMap x,
                      const __grid_constant__ TensorMap w, const float* bias, float* y) {
    persistent_product([&](int) { return fprop_product(s, depth); }, 1, t, s.outputs, x, w, bias, y);
}

// y: [batch, rows, columns, depth], w: [taps, channels, depth]; x in f32.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    conv_dgrad_hopper(const ConvShape s, const PixelTiles t, int depth, const __grid_constant__ TensorMap y,
                      const __grid_constant__ TensorMap w, const float* bias, float* x) {
    // Phases by their first tap: the earlier it is, the more follow.
    auto phase = [](int first_tap, int begin, int stride) { return (first_tap + stride - begin % stride) % stride; };
    auto product_of = [&](int index) {
        return dgrad_product(s, depth, phase(index / s.stride_columns(), s.begin_row, s.stride_rows()),
                             phase(index % s.stride_columns(), s.begin_column, s.stride_columns()));
    };
    persistent_product(product_of, s.stride_rows() * s.stride_columns(), t, s.channels, y, w, bias, x);
}
