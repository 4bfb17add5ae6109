// Epilogue of the tiled GEMMs: bias, normalisation and rectifier applied to the sums in registers, and the stores.
//
// Of every 32 columns, a lane holds columns 8j + lane % 4 * 2 and the next one, for j from 0 to 3, in several rows;
// lanes of equal lane % 4 hold the same columns. The factors of a column are prepared once per warp: each lane
// prepares one of 32 columns and shares it with the lanes that hold it, by shuffles.
#pragma once
#include "index.cuh"
#include "normalise.cuh"
#include "operand.cuh"
#include "unrolled.cuh"

struct Epilogue {
    const float* bias;  // per column; null without a bias
    // Batch normalisation, per channel; column k has channel k % channels. All null without normalisation.
    const float* mean;
    const float* variance;
    const float* scale;
    const float* shift;
    float epsilon, slope;
    int channels;
    int padded;  // operands per row of the result, zeros after the columns; 0 for an f32 result
};

#if OPERAND_BITS != 32
// Per-column factors of the epilogue.
struct Column {
    float bias, centre, factor, offset;
};

__device__ inline Column prepare_column(const Epilogue& by, int k, int columns) {
    Column column = {};
    if (k >= columns) return column;
    if (by.bias) column.bias = by.bias[k];
    if (by.mean) {
        const int channel = k % by.channels;
        column.centre = by.mean[channel];
        column.factor = normalising_factor(by.scale[channel], by.variance[channel], by.epsilon);
        column.offset = by.shift[channel];
    }
    return column;
}
#endif

// Calls apply(j, e, finished) for the lane's columns among the 32 from `first` on; e is 0 for the first of two
// neighbours and 1 for the second. finished(sum) returns the value to store. The f32 kernels do not normalise: their
// multiply-adds leave no registers for it.
template <class Apply>
__device__ inline void apply_to_columns(const Epilogue& by, int first, int columns, const Apply& apply) {
    auto for_each = [&](const auto& body) {
        unrolled<4>([&](auto j) {
            unrolled<2>([&](auto e) { body(j, e, 8 * j.value + threadIdx.x % 4 * 2 + e.value); });
        });
    };
#if OPERAND_BITS == 32
    for_each([&](auto j, auto e, int within) {
        const float bias = by.bias && first + within < columns ? by.bias[first + within] : 0.0f;
        apply(j, e, [&](float sum) { return sum + bias; });
    });
#else
    constexpr unsigned ALL = 0xffffffffu;
    const Column mine = prepare_column(by, first + threadIdx.x % 32, columns);
    if (by.mean) {
        for_each([&](auto j, auto e, int lane) {
            const float bias = __shfl_sync(ALL, mine.bias, lane), centre = __shfl_sync(ALL, mine.centre, lane);
            const float factor = __shfl_sync(ALL, mine.factor, lane), offset = __shfl_sync(ALL, mine.offset, lane);
            apply(j, e, [&](float sum) {
                const float value = normalised(sum + bias, centre, factor, offset);
                return rectified(value, value, by.slope);
            });
        });
        return;
    }
    for_each([&](auto j, auto e, int lane) {
        const float bias = __shfl_sync(ALL, mine.bias, lane);
        apply(j, e, [&](float sum) { return sum + bias; });
    });
#endif
}

// Stores columns k to k + 31 of a row; `value` holds the lane's columns in order. All lanes must call this, also those
// whose row does not exist.
__device__ inline void store_columns(const Epilogue& by, void* out, long long row, int k, int columns, const float (&value)[8],
                                     bool exists) {
    const int place = threadIdx.x % 4;
#if OPERAND_BITS != 32
    if (by.padded) {
        Operand* const to = (Operand*)out + row * by.padded;
        auto rounded = [&](int i) {
            return round_operand(k + i / 2 * 8 + place * 2 + i % 2 < columns ? value[i] : 0.0f);
        };
#if OPERAND_BITS == 16
        // Four lanes hold four chunks of a row in pieces of 4 bytes. They exchange pieces so that each holds a whole
        // chunk and stores 16 bytes, 64 contiguous bytes per row; stores of single pieces would fill only half of each
        // memory sector.
        unsigned piece[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) piece[j] = rounded(2 * j) | (unsigned)rounded(2 * j + 1) << 16;
#pragma unroll
        for (int distance = 1; distance < 4; distance *= 2) {
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                if (j & distance) continue;
                const bool upper = place & distance;
                const unsigned taken = __shfl_xor_sync(0xffffffffu, upper ? piece[j] : piece[j + distance], distance);
                if (upper) {
                    piece[j] = taken;
                } else {
                    piece[j + distance] = taken;
                }
            }
        }
        const int chunk = k + place * CHUNK_VALUES;
        if (exists && chunk < by.padded) *(uint4*)(to + chunk) = uint4{piece[0], piece[1], piece[2], piece[3]};
#else
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const int column = k + 8 * j + place * 2;
            if (exists && column < by.padded) {
                *(float2*)(to + column) = make_float2(rounded(2 * j), rounded(2 * j + 1));
            }
        }
#endif
        return;
    }
#endif
    if (!exists) return;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
        store_pair((float*)out + row * columns, k + 8 * j + place * 2, columns, value[2 * j], value[2 * j + 1]);
    }
}
