// Statistics of the values that an epilogue writes, computed in registers, per column over 32 pixels at a time.
// batch_norm_combine combines them.
//
// A slice of n values x stores its mean m, rounded; the remainder sum of (x - m), which is 0 except for roundings; and
// the square sum of (x - m)^2. No square cancels, and the combined mean and variance,
//   mean = sum of (n m + remainder) / N,   variance = sum of (square + 2 (m - mean) remainder + n (m - mean)^2) / N,
// are those of the values themselves, not of rounded means. Combining in double precision leaves f32 roundings only
// within slices, at unit roundoff u: a chain of k = min(n - 1, 6) additions, 3 in a thread and 3 among lanes. To first
// order
// * the error of the mean is u (1 + k / 2) sum|x - m| / N, as the partial sums of terms that add up to 0 are at most
//   half of their sizes, plus its own rounding. As sum|x - m| <= 2 (1 - 1/n) sum|x|, it is at most (n + 1) u sum|x| /
//   N for n < 8, and 9 u sum|x| / N beyond;
// * the relative error of the variance is (k + 4) u: two for the difference, one for its square and one at the end.
//   Several slices add (2 + k) |m - mean| sum|x - m| <= (1 + k / 2) (square + n (m - mean)^2) from the remainders, 4 u
//   more.
//
// The oracle grants a reduction of N values at least min(N, 128) roundings, and one more for the division; the
// variance gets three more for each square, and the square of the mean's error. The slices of batch_norm_slices have
// 512 values and k <= 72: 75 u and 113 u, where the oracle grants 137 and more.
#pragma once
#include "index.cuh"

constexpr int SLICE_PIXELS = 32;

// counts: [slices], the others: [slices, columns]. All null if no statistics are requested. For a slice without values
// only the count is written.
struct Slices {
    float* counts;
    float* means;
    float* remainders;
    float* squares;
};

struct Moments {
    float mean, remainder, square;
};

// A warp holds 32 pixels of a column in the accumulator layout: 4 in each of the 8 lanes of equal lane % 4.
//
// Sum over the 8 lanes that share a column, returned in each of them.
__device__ inline float pixel_sum(float value) {
#pragma unroll
    for (int distance = 4; distance < 32; distance *= 2) value += __shfl_xor_sync(0xffffffffu, value, distance);
    return value;
}

// Moments of a column's valid values; `count`, at least 1, is their number.
__device__ inline Moments moments(const float (&value)[4], const bool (&valid)[4], float count) {
    float sum = 0.0f, remainder = 0.0f, square = 0.0f;
#pragma unroll
    for (int i = 0; i < 4; ++i) sum += valid[i] ? value[i] : 0.0f;
    const float mean = pixel_sum(sum) / count;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const float deviation = valid[i] ? value[i] - mean : 0.0f;
        remainder += deviation;
        square += deviation * deviation;
    }
    return {mean, pixel_sum(remainder), pixel_sum(square)};
}

// Stores the moments of columns k and k + 1, from one of the lanes that hold them.
__device__ inline void store_moments(const Slices& slices, int slice, int columns, int k, const Moments& first,
                                     const Moments& second) {
    if (threadIdx.x % 32 >= 4) return;
    const long long at = (long long)slice * columns;
    store_pair(slices.means + at, k, columns, first.mean, second.mean);
    store_pair(slices.remainders + at, k, columns, first.remainder, second.remainder);
    store_pair(slices.squares + at, k, columns, first.square, second.square);
}
