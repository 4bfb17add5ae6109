// Convolution (fprop) and transposed convolution (dgrad) as implicit GEMMs (formula in product.cuh) for compute
// capability 9.0, in bf16 or tf32.
//
// Tiling: a block computes TILE_M pixels by TILE_N columns at a time, half of the pixels in each of two consumer
// warpgroups. The pixels of a tile are a rectangle of one or several images, so that for one tap and 128 bytes of
// channels its operand is one box of the source, which TMA copies with a single instruction, including zeros outside
// the image. One producer thread issues the copies. If a transposed convolution has few channels, a tile computes two
// phases of neighbouring columns, each in half of the tile's columns: they read the same boxes of the source, which
// are most of the traffic of a narrow tile.
//
// Launch: a persistent grid, at most one block of 384 threads per multiprocessor. Blocks take tiles round-robin,
// starting with the phase that has the most taps. Tile, stages and band are chosen by tuning (src/tuning) and do not
// change any sum.
//
// Memory: source and weights are packed operands with channels contiguous (activations NHWC). Statistics of the
// result, if requested, cover the 32 pixels of a tile that one warp computes. epilogue.cuh does the rest of the
// epilogue and the stores.
#include "epilogue.cuh"
#include "index.cuh"
#include "moments.cuh"
#include "pipeline.cuh"
#include "product.cuh"

#ifndef TILE_M
#define TILE_M 256
#define TILE_N 128
#define STAGES 4
#endif
// Phases of a transposed convolution that a tile computes at once: 1 or 2.
#ifndef PHASES
#define PHASES 1
#endif

constexpr int SOURCE_BYTES = TILE_M * SLAB_BYTES;
constexpr int WEIGHT_BYTES = TILE_N * SLAB_BYTES;
constexpr int STAGE_BYTES = SOURCE_BYTES + WEIGHT_BYTES;
constexpr int PRODUCTS_M = TILE_M / CONSUMERS / 64;

typedef Pipeline<STAGES, STAGE_BYTES> Stages;
DYNAMIC_SHARED(stage_memory, Stages::SHARED_BYTES)

// A tile is `columns` by `rows` pixels of `images` images, TILE_M in all; a phase has across * down * deep of them.
// tile_place explains `band`.
struct PixelTiles {
    int columns, rows, images;
    int across, down, deep;
    int band;
};

// Position of a tile: its first pixel within its phases, and its first column.
struct Tile {
    int phase, column, row, image, output;
};

template <int TOGETHER>
__device__ inline Tile tile_at(int index, const PixelTiles& t, int output_tiles) {
    const int pixel_tiles = t.across * t.down * t.deep, phase = index / (pixel_tiles * output_tiles);
    const TilePlace place = tile_place(index - phase * pixel_tiles * output_tiles, pixel_tiles, output_tiles, t.band);
    Tile tile;
    tile.output = place.columns * (TILE_N / TOGETHER);
    tile.column = place.pixels % t.across * t.columns;
    tile.row = place.pixels / t.across % t.down * t.rows;
    tile.image = place.pixels / t.across / t.down * t.images;
    tile.phase = phase;
    return tile;
}

// The phases that one tile computes. They differ only in the columns of their pixels: shift i of the source lies under
// tap i of the first phase and tap i - lead of the last. The last has as many taps as the first or one less, so both
// use every shift except those before `lead` and those beyond the last one's taps.
template <int TOGETHER>
struct Phases {
    Product product[TOGETHER];

    __device__ int lead() const { return product[0].column.origin - product[TOGETHER - 1].column.origin; }
    // Number of shifts that all phases use, and of those that only the first one uses.
    __device__ int shared() const { return product[TOGETHER - 1].column.taps; }
    __device__ int alone() const { return max(product[0].column.taps, lead() + shared()) - shared(); }
    __device__ int shift_alone(int i) const { return i < lead() ? i : i + shared(); }
};

// sum += source * weights over `slabs` slabs, in the first COLUMNS columns of the tile.
template <int COLUMNS>
__device__ inline void multiply_slabs(Stages& stages, int slabs, float (&sum)[PRODUCTS_M][TILE_N / 64][32],
                                      int warpgroup) {
    hold_sums(sum);
    for (int slab = 0; slab < slabs; ++slab) {
        stages.wait();
        const unsigned char* const a = stages.memory() + warpgroup * (PRODUCTS_M * 64 * SLAB_BYTES);
        const unsigned char* const b = stages.memory() + SOURCE_BYTES;
        wgmma_fence();
#pragma unroll
        for (int step = 0; step < SLAB_BYTES; step += 32) {
            const unsigned long long right = wgmma_operand(b + step, 0, 8 * SLAB_BYTES);
            [[maybe_unused]] const unsigned long long second =
                wgmma_operand(b + 128 * SLAB_BYTES + step, 0, 8 * SLAB_BYTES);
#pragma unroll
            for (int i = 0; i < PRODUCTS_M; ++i) {
                const unsigned long long left = wgmma_operand(a + i * 64 * SLAB_BYTES + step, 0, 8 * SLAB_BYTES);
                if constexpr (COLUMNS == 64) {
                    wgmma<K_MAJOR>(sum[i][0], left, right);
                } else {
                    wgmma<K_MAJOR>(sum[i][0], sum[i][1], left, right);
                }
                if constexpr (COLUMNS == 256) wgmma<K_MAJOR>(sum[i][2], sum[i][3], left, second);
            }
        }
        wgmma_commit();
        // One group stays in flight, so that the next one follows without a gap.
        if (slab > 0) {
            wgmma_wait<1>();
            stages.release(1);
        }
        stages.advance();
    }
    wgmma_wait<0>();
    hold_sums(sum);
    if (slabs > 0) stages.release(1);
}

// Applies the epilogue to the sums of all phases, for columns from `output` on.
template <int TOGETHER>
__device__ inline void apply_epilogue(float (&sum)[PRODUCTS_M][TILE_N / 64][32], const Epilogue& epilogue, int output, int columns) {
    unrolled<TILE_N / TOGETHER / 32>([&](auto group) {
        constexpr int first = 4 * group.value;
        apply_to_columns(epilogue, output + 8 * first, columns, [&](auto j, auto e, const auto& finished) {
            constexpr int within = first + j.value, odd = e.value;
            unrolled<2 * PRODUCTS_M * TOGETHER>([&](auto index) {
                constexpr int phase = index.value / (2 * PRODUCTS_M), i = index.value % (2 * PRODUCTS_M);
                constexpr int place = phase * (TILE_N / TOGETHER / 8) + within;
                float& value = sum[i / 2][place / 8][place % 8 * 4 + i % 2 * 2 + odd];
                value = finished(value);
            });
        });
    });
}

// Stores one phase of a pixel, rows 8 * half + lane / 4 of `sum`, if the pixel exists and the phase has that column.
template <int TOGETHER, int PHASE>
__device__ inline void store_pixel(const Phases<TOGETHER>& phases, const float (&sum)[TILE_N / 64][32], int half, int image,
                                   int row, int column, int output, int columns, const Epilogue& epilogue, void* out, bool exists) {
    const Axis& down = phases.product[PHASE].row;
    const Axis& across = phases.product[PHASE].column;
    const long long at = ((long long)image * down.output_extent + down.first + row * down.step) * across.output_extent +
                         across.first + column * across.step;
    unrolled<TILE_N / TOGETHER / 32>([&](auto group) {
        constexpr int first = 4 * group.value;
        float value[8];
        unrolled<8>([&](auto index) {
            constexpr int i = index.value, place = PHASE * (TILE_N / TOGETHER / 8) + first + i / 2;
            value[i] = sum[place / 8][place % 8 * 4 + half * 2 + i % 2];
        });
        store_columns(epilogue, out, at, output + 8 * first, columns, value, exists && column < across.pixels);
    });
}

// Stores the moments of one phase's columns over the pixels of a warp. The pixels of a tile make 8 slices per phase.
template <int TOGETHER, int PHASE>
__device__ inline void store_slice(const Phases<TOGETHER>& phases, const float (&sum)[PRODUCTS_M][TILE_N / 64][32],
                                   const Slices& slices, int pixel_tile, const Tile& tile, const PixelTiles& t, int columns) {
    static_assert(PRODUCTS_M * 16 == SLICE_PIXELS, "a warp has one slice");
    const Product& g = phases.product[PHASE];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int slice = (pixel_tile * TOGETHER + PHASE) * (TILE_M / SLICE_PIXELS) + warp;
    bool valid[4];
    float count = 0.0f;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int pixel = (warp / 4 * PRODUCTS_M + i / 2) * 64 + warp % 4 * 16 + i % 2 * 8 + lane / 4;
        valid[i] = tile.column + pixel % t.columns < g.column.pixels &&
                   tile.row + pixel / t.columns % t.rows < g.row.pixels &&
                   tile.image + pixel / t.columns / t.rows < g.batch;
        count += valid[i] ? 1.0f : 0.0f;
    }
    count = pixel_sum(count);
    if (tile.output == 0 && lane == 0) slices.counts[slice] = count;
    if (count == 0.0f) return;
    unrolled<TILE_N / TOGETHER / 8>([&](auto index) {
        constexpr int place = PHASE * (TILE_N / TOGETHER / 8) + index.value;
        const int k = tile.output + 8 * index.value + lane % 4 * 2;
        Moments pair[2];
        unrolled<2>([&](auto column) {
            constexpr int e = column.value;
            const float value[4] = {sum[0][place / 8][place % 8 * 4 + e], sum[0][place / 8][place % 8 * 4 + 2 + e],
                                    sum[1][place / 8][place % 8 * 4 + e], sum[1][place / 8][place % 8 * 4 + 2 + e]};
            pair[e] = moments(value, valid, count);
        });
        store_moments(slices, slice, columns, k, pair[0], pair[1]);
    });
}

// Producer and consumer loops over all tiles. `phases_of(index)` returns the phases of group `index`, of `groups`.
template <int TOGETHER, class PhasesOf>
__device__ inline void persistent_product(const PhasesOf& phases_of, int groups, const PixelTiles& t, int columns,
                                          const TensorMap& source, const TensorMap& w, void* out, const Epilogue& epilogue,
                                          const Slices& slices) {
    Stages stages(stage_memory());
    const int output_tiles = ceil_div(columns, TILE_N / TOGETHER);
    const int tiles = groups * t.across * t.down * t.deep * output_tiles;
    const int warpgroup = threadIdx.x / WARPGROUP;

    if (warpgroup == CONSUMERS) {
        registers_give_back<PRODUCER_REGISTERS>();
        if (threadIdx.x != CONSUMERS * WARPGROUP) return;
        tma_prefetch(source);
        tma_prefetch(w);
        for (int index = blockIdx.x; index < tiles; index += gridDim.x) {
            const Tile tile = tile_at<TOGETHER>(index, t, output_tiles);
            const Phases<TOGETHER> phases = phases_of(tile.phase);
            const Product& g = phases.product[0];
            const int top = g.row.origin + tile.row * g.row.advance;
            const int left = g.column.origin + tile.column * g.column.advance;
            // Copies the source under one shift, and the weights of the first `count` phases.
            auto copy_slabs = [&](int tap_row, int shift, int count) {
                const int window_row = g.row.tap_first + tap_row * g.row.tap_step;
                for (int channel = 0; channel < g.depth; channel += SLAB_VALUES) {
                    Mbarrier* const full = stages.acquire(SOURCE_BYTES + count * (WEIGHT_BYTES / TOGETHER));
                    tma_load(stages.memory(), source, full, channel, left + shift * g.column.direction,
                             top + tap_row * g.row.direction, tile.image);
                    for (int i = 0; i < count; ++i) {
                        const Axis& axis = phases.product[i].column;
                        const int tap = shift - (i > 0 ? phases.lead() : 0);
                        // A tap that the first phase does not have reads zeros.
                        const bool exists = tap < axis.taps;
                        tma_load(stages.memory() + SOURCE_BYTES + i * (WEIGHT_BYTES / TOGETHER), w, full, channel,
                                 exists ? tile.output : columns,
                                 window_row * g.window_columns + axis.tap_first + tap * axis.tap_step);
                    }
                    stages.advance();
                }
            };
            for (int tap_row = 0; tap_row < g.row.taps; ++tap_row) {
                for (int i = 0; i < phases.shared(); ++i) copy_slabs(tap_row, phases.lead() + i, TOGETHER);
            }
            for (int tap_row = 0; tap_row < g.row.taps; ++tap_row) {
                for (int i = 0; i < phases.alone(); ++i) copy_slabs(tap_row, phases.shift_alone(i), 1);
            }
        }
        return;
    }

    registers_take<CONSUMER_REGISTERS>();
    const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
    for (int index = blockIdx.x; index < tiles; index += gridDim.x) {
        const Tile tile = tile_at<TOGETHER>(index, t, output_tiles);
        const Phases<TOGETHER> phases = phases_of(tile.phase);
        const Product& g = phases.product[0];
        const int depth_slabs = g.row.taps * ceil_div(g.depth, SLAB_VALUES);
        float sum[PRODUCTS_M][TILE_N / 64][32] = {};
        multiply_slabs<TILE_N>(stages, phases.shared() * depth_slabs, sum, warpgroup);
        if constexpr (TOGETHER > 1) {
            multiply_slabs<TILE_N / TOGETHER>(stages, phases.alone() * depth_slabs, sum, warpgroup);
        }

        apply_epilogue<TOGETHER>(sum, epilogue, tile.output, columns);
        unrolled<2 * PRODUCTS_M>([&](auto index) {
            constexpr int i = index.value;
            const int pixel = (warpgroup * PRODUCTS_M + i / 2) * 64 + warp * 16 + i % 2 * 8 + lane / 4;
            const int column = tile.column + pixel % t.columns, row = tile.row + pixel / t.columns % t.rows;
            const int image = tile.image + pixel / t.columns / t.rows;
            const bool exists = row < g.row.pixels && image < g.batch;
            store_pixel<TOGETHER, 0>(phases, sum[i / 2], i % 2, image, row, column, tile.output, columns, epilogue, out, exists);
            if constexpr (TOGETHER > 1) {
                store_pixel<TOGETHER, 1>(phases, sum[i / 2], i % 2, image, row, column, tile.output, columns, epilogue, out,
                                         exists);
            }
        });
        if (slices.counts) {
            // The index depends on the position of the tile, not on the order in which tiles are computed.
            const int pixel_tile =
                ((tile.phase * t.deep + tile.image / t.images) * t.down + tile.row / t.rows) * t.across +
                tile.column / t.columns;
            store_slice<TOGETHER, 0>(phases, sum, slices, pixel_tile, tile, t, columns);
            if constexpr (TOGETHER > 1) {
                store_slice<TOGETHER, 1>(phases, sum, slices, pixel_tile, tile, t, columns);
            }
        }
    }
}

// x: [batch, height, width, depth], read in boxes that step over pixels by the stride; w: [taps, outputs, depth]; y as
// in `epilogue`.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    conv_fprop_hopper(const ConvShape s, const PixelTiles t, int depth, const __grid_constant__ TensorMap x,
                      const __grid_constant__ TensorMap w, void* y, const Epilogue epilogue, const Slices slices) {
    auto phases_of = [&](int) { return Phases<1>{{fprop_product(s, depth)}}; };
    persistent_product<1>(phases_of, 1, t, s.outputs, x, w, y, epilogue, slices);
}

// y: [batch, rows, columns, depth], w: [taps, channels, depth]; x as in `epilogue`.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    conv_dgrad_hopper(const ConvShape s, const PixelTiles t, int depth, const __grid_constant__ TensorMap y,
                      const __grid_constant__ TensorMap w, void* x, const Epilogue epilogue, const Slices slices) {
    // Phases in the order of their first tap: the smaller it is, the more taps follow.
    auto phase = [](int first_tap, int begin, int stride) { return (first_tap + stride - begin % stride) % stride; };
    const int groups = s.stride_columns() / PHASES;
    auto phases_of = [&](int index) {
        const int row = phase(index / groups, s.begin_row, s.stride_rows());
        Phases<PHASES> phases;
        for (int i = 0; i < PHASES; ++i) {
            const int column = phase(index % groups * PHASES + i, s.begin_column, s.stride_columns());
            phases.product[i] = dgrad_product(s, depth, row, column);
        }
        return phases;
    };
    persistent_product<PHASES>(phases_of, s.stride_rows() * groups, t, s.channels, y, w, x, epilogue, slices);
}
