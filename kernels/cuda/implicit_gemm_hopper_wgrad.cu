// Weight gradient (wgrad) as an implicit GEMM for compute capability 9.0, in bf16:
//
//   w[(tap, c), k] = sum over pixels of x[pixel moved by the tap, c] * y[pixel, k]
//
// Tiling: the rows (tap, c) come in blocks of 64 channels under one tap. Two or four of these blocks make a tile of
// TILE_M rows, half of them in each of two consumer warpgroups, so that 64 channels waste nothing; a tile has TILE_N
// columns. The inner dimension advances by slabs of 64 pixels, a rectangle of one or several images. TMA copies it
// pixel by pixel as it is stored, and wgmma reads it transposed ("MN-major"). Pixels outside x, and those of a
// rectangle outside y, arrive as zeros.
//
// Launch: a persistent grid, at most one block of 384 threads per multiprocessor. Split-K: a tile sums the pixels of
// one slice; column_totals adds the slices in a fixed order.
//
// Memory: x and y are packed operands with channels contiguous (NHWC); the partial sums are f32.
#include "index.cuh"
#include "pipeline.cuh"

#ifndef TILE_M
#define TILE_M 256
#define TILE_N 128
#define STAGES 4
#endif

constexpr int SLAB_PIXELS = 64;
constexpr int BLOCK_BYTES = SLAB_PIXELS * SLAB_BYTES;
constexpr int ROW_BLOCKS = TILE_M / 64;
constexpr int COLUMN_BLOCKS = TILE_N / SLAB_VALUES;
constexpr int STAGE_BYTES = (ROW_BLOCKS + COLUMN_BLOCKS) * BLOCK_BYTES;
constexpr int PRODUCTS_M = ROW_BLOCKS / CONSUMERS;

typedef Pipeline<STAGES, STAGE_BYTES> Stages;
DYNAMIC_SHARED(stage_memory, Stages::SHARED_BYTES)

// A slab is `columns` by `rows` pixels of `images` images, SLAB_PIXELS in all; y has across * down * deep slabs, of
// which every split-K slice sums `share`.
struct PixelSlabs {
    int columns, rows, images;
    int across, down, deep;
    int share, slices;
};

// 64 rows of the result; a block beyond the last one has no channels.
struct RowBlock {
    int tap_row, tap_column, channel;
};

__device__ inline RowBlock row_block(const ConvShape& s, int index) {
    const int blocks = ceil_div(s.channels, SLAB_VALUES), tap = index / blocks;
    return {tap / s.window_columns(), tap % s.window_columns(),
            tap < s.taps() ? index % blocks * SLAB_VALUES : blocks * SLAB_VALUES};
}

// Position of a tile: its first block of rows, its first column, and the slabs that it sums.
struct Tile {
    int block, output, slice, first, last;
};

__device__ inline Tile tile_at(const ConvShape& s, const PixelSlabs& p, int index) {
    const int output_tiles = ceil_div(s.outputs, TILE_N);
    const int block_tiles = ceil_div(s.taps() * ceil_div(s.channels, SLAB_VALUES), ROW_BLOCKS);
    Tile tile;
    tile.output = index % output_tiles * TILE_N;
    tile.block = index / output_tiles % block_tiles * ROW_BLOCKS;
    tile.slice = index / output_tiles / block_tiles;
    tile.first = tile.slice * p.share;
    tile.last = min(tile.first + p.share, p.across * p.down * p.deep);
    return tile;
}

// x: [batch, height, width, channels], read in boxes that step over pixels by the stride; y:
// [batch, rows, columns, outputs]; both packed. partials: [slices, taps, channels, outputs].
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    conv_wgrad_hopper(const ConvShape s, const PixelSlabs p, const __grid_constant__ TensorMap x,
                      const __grid_constant__ TensorMap y, float* partials) {
    Stages stages(stage_memory());
    const int tiles = p.slices * ceil_div(s.outputs, TILE_N) *
                      ceil_div(s.taps() * ceil_div(s.channels, SLAB_VALUES), ROW_BLOCKS);
    const int warpgroup = threadIdx.x / WARPGROUP;

    if (warpgroup == CONSUMERS) {
        registers_give_back<PRODUCER_REGISTERS>();
        if (threadIdx.x != CONSUMERS * WARPGROUP) return;
        tma_prefetch(x);
        tma_prefetch(y);
        for (int index = blockIdx.x; index < tiles; index += gridDim.x) {
            const Tile tile = tile_at(s, p, index);
            for (int slab = tile.first; slab < tile.last; ++slab) {
                const int column = slab % p.across * p.columns, row = slab / p.across % p.down * p.rows;
                const int image = slab / p.across / p.down * p.images;
                Mbarrier* const full = stages.acquire();
                unsigned char* to = stages.memory();
#pragma unroll 1
                for (int i = 0; i < ROW_BLOCKS; ++i, to += BLOCK_BYTES) {
                    const RowBlock block = row_block(s, tile.block + i);
                    tma_load(to, x, full, block.channel,
                             column * s.stride_columns() - s.begin_column + block.tap_column,
                             row * s.stride_rows() - s.begin_row + block.tap_row, image);
                }
#pragma unroll 1
                for (int i = 0; i < COLUMN_BLOCKS; ++i, to += BLOCK_BYTES) {
                    tma_load(to, y, full, tile.output + i * SLAB_VALUES, column, row, image);
                }
                stages.advance();
            }
        }
        return;
    }

    registers_take<CONSUMER_REGISTERS>();
    const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
    for (int index = blockIdx.x; index < tiles; index += gridDim.x) {
        const Tile tile = tile_at(s, p, index);
        float sum[PRODUCTS_M][TILE_N / 64][32] = {};
        hold_sums(sum);
        for (int slab = tile.first; slab < tile.last; ++slab) {
            stages.wait();
            const unsigned char* const a = stages.memory() + warpgroup * (PRODUCTS_M * BLOCK_BYTES);
            const unsigned char* const b = stages.memory() + ROW_BLOCKS * BLOCK_BYTES;
            wgmma_fence();
#pragma unroll
            for (int pixel = 0; pixel < SLAB_PIXELS; pixel += WGMMA_VALUES) {
                const int at = pixel * SLAB_BYTES;
                const unsigned long long right = wgmma_operand(b + at, BLOCK_BYTES, 8 * SLAB_BYTES);
                [[maybe_unused]] const unsigned long long second =
                    wgmma_operand(b + 2 * BLOCK_BYTES + at, BLOCK_BYTES, 8 * SLAB_BYTES);
#pragma unroll
                for (int i = 0; i < PRODUCTS_M; ++i) {
                    const unsigned long long left =
                        wgmma_operand(a + i * BLOCK_BYTES + at, BLOCK_BYTES, 8 * SLAB_BYTES);
                    wgmma<MN_MAJOR>(sum[i][0], sum[i][1], left, right);
                    if constexpr (TILE_N == 256) wgmma<MN_MAJOR>(sum[i][2], sum[i][3], left, second);
                }
            }
            wgmma_commit();
            if (slab > tile.first) {
                wgmma_wait<1>();
                stages.release(1);
            }
            stages.advance();
        }
        wgmma_wait<0>();
        hold_sums(sum);
        if (tile.last > tile.first) stages.release(1);

        float* const to = partials + (long long)tile.slice * s.taps() * s.channels * s.outputs;
#pragma unroll
        for (int i = 0; i < 2 * PRODUCTS_M; ++i) {
            const RowBlock block = row_block(s, tile.block + warpgroup * PRODUCTS_M + i / 2);
            const int channel = block.channel + warp * 16 + i % 2 * 8 + lane / 4;
            if (channel >= s.channels) continue;
            const int tap = block.tap_row * s.window_columns() + block.tap_column;
            float* const at = to + ((long long)tap * s.channels + channel) * s.outputs;
#pragma unroll
            for (int j = 0; j < TILE_N / 8; ++j) {
                const int k = tile.output + 8 * j + lane % 4 * 2;
                const float* const pair = sum[i / 2][j / 8] + j % 8 * 4 + i % 2 * 2;
                store_pair(at, k, s.outputs, pair[0], pair[1]);
            }
        }
    }
}
