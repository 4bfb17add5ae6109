// Batch normalisation over the rows of [rows, channels] (Ioffe & Szegedy 2015), followed by a (leaky) rectifier:
//   y = rectified((x - mean) * scale / sqrt(variance + epsilon) + shift),
// where negative values are multiplied by `slope` (0 for ReLU, 1 for none). A tensor may consist of several parts of
// `rows` rows each, one per blockIdx.z, with separate statistics.
//
// Launch: blocks of 32 channels x 8 lanes; each handles SLICE rows, blockIdx.x is the slice, blockIdx.y the group of
// 32 channels. A thread stays with its channel, so it prepares the channel's factors once. batch_norm_combine has
// blocks of 32 channels x 32 lanes.
//
// Sums over rows take two steps. The first writes one result per slice: statistics in the form of moments.cuh, or two
// sums for the gradients. The second combines slices of any size in double precision (Chan, Golub & LeVeque 1983),
// including those that the epilogue of a GEMM writes.
//
// Memory: row-major, channels contiguous. x and the upstream gradient are f32 or packed operands, as a GEMM wrote
// them; y and dx are written in the format in which the next GEMM reads them (rounded, rows padded with zeros) or in
// f32.
#include "index.cuh"
#include "moments.cuh"
#include "normalise.cuh"
#include "operand.cuh"

// Storage formats of x and of the upstream gradient.
#ifndef X_BITS
#define X_BITS 32
#define DY_BITS 32
#endif
typedef ImageOf<X_BITS>::Value X;
typedef ImageOf<DY_BITS>::Value Dy;

constexpr int SLICE = 512;

// The sum of `value` over the 8 lanes of each channel, in every lane.
__device__ inline float lane_sum(float value, float (*sums)[32]) {
    sums[threadIdx.y][threadIdx.x] = value;
    __syncthreads();
    float total = 0.0f;
    for (int lane = 0; lane < 8; ++lane) total += sums[lane][threadIdx.x];
    __syncthreads();
    return total;
}

extern "C" __global__ void batch_norm_slices(int rows, int channels, const float* x, const Slices to) {
    __shared__ float sums[8][32];
    x += blockIdx.z * ((long long)rows * channels);
    const int channel = blockIdx.y * 32 + threadIdx.x;
    const int first = blockIdx.x * SLICE, last = min(rows, first + SLICE);
    const bool valid = channel < channels;
    float sum = 0.0f;
    if (valid) {
        for (int row = first + threadIdx.y; row < last; row += 8) sum += x[(long long)row * channels + channel];
    }
    const float mean = lane_sum(sum, sums) / (float)(last - first);
    // The second pass reads much of the slice from the cache.
    float remainder = 0.0f, square = 0.0f;
    if (valid) {
        for (int row = first + threadIdx.y; row < last; row += 8) {
            const float deviation = x[(long long)row * channels + channel] - mean;
            remainder += deviation;
            square += deviation * deviation;
        }
    }
    remainder = lane_sum(remainder, sums);
    square = lane_sum(square, sums);
    if (valid && threadIdx.y == 0) {
        const long long at = (long long)(blockIdx.z * gridDim.x + blockIdx.x) * channels + channel;
        to.means[at] = mean;
        to.remainders[at] = remainder;
        to.squares[at] = square;
    }
    if (blockIdx.y == 0 && threadIdx.x == 0 && threadIdx.y == 0) {
        to.counts[blockIdx.z * gridDim.x + blockIdx.x] = (float)(last - first);
    }
}

// The sum of `value` over the 32 lanes of each channel, in every lane.
__device__ inline double lane_sum(double value, double (*sums)[32]) {
    sums[threadIdx.y][threadIdx.x] = value;
    __syncthreads();
    double total = 0.0;
    for (int lane = 0; lane < 32; ++lane) total += sums[lane][threadIdx.x];
    __syncthreads();
    return total;
}

// Combines every `group` slices of a part into one. If a single slice remains, `to.counts` is null, and mean and
// variance are written to `to.means` and `to.squares`.
extern "C" __global__ void batch_norm_combine(int channels, int slices, int group, const Slices from, const Slices to) {
    __shared__ double sums[32][32];
    const int channel = blockIdx.x * 32 + threadIdx.x;
    // The slices of one part are contiguous.
    const int part = blockIdx.z * slices, first = part + blockIdx.y * group, last = min(part + slices, first + group);
    const int joined = blockIdx.z * gridDim.y + blockIdx.y;
    const bool valid = channel < channels;

    double count = 0.0, sum = 0.0;
    for (int slice = first + threadIdx.y; slice < last; slice += 32) {
        const float size = from.counts[slice];
        count += size;
        const long long at = (long long)slice * channels + channel;
        if (valid && size > 0.0f) sum += (double)from.means[at] * size + from.remainders[at];
    }
    count = lane_sum(count, sums);
    sum = lane_sum(sum, sums);
    const double mean = count > 0.0 ? sum / count : 0.0;

    double square = 0.0;
    for (int slice = first + threadIdx.y; valid && slice < last; slice += 32) {
        const float size = from.counts[slice];
        if (size == 0.0f) continue;
        const long long at = (long long)slice * channels + channel;
        const double offset = from.means[at] - mean;
        square += from.squares[at] + offset * (2.0 * from.remainders[at] + offset * size);
    }
    square = lane_sum(square, sums);

    const bool writes = valid && threadIdx.y == 0;
    const long long at = (long long)joined * channels + channel;
    if (writes) to.means[at] = (float)mean;
    if (to.counts) {
        if (writes) {
            to.remainders[at] = (float)((mean - (float)mean) * count);
            to.squares[at] = (float)square;
        }
        if (blockIdx.x == 0 && threadIdx.x == 0 && threadIdx.y == 0) to.counts[joined] = (float)count;
    } else if (writes) {
        to.squares[at] = (float)(square / count);
    }
}

// y = rectified((x - mean) * scale / sqrt(variance + epsilon) + shift). Rows of y have `padded` operands, with zeros
// after the channels; rows of x are x_row values apart.
extern "C" __global__ void batch_norm_normalise(int rows, int channels, int x_row, int padded, float epsilon, float slope,
                                                const X* __restrict__ x, const float* mean, const float* variance,
                                                const float* scale, const float* shift, Operand* __restrict__ y) {
    const int channel = blockIdx.y * 32 + threadIdx.x;
    const int first = blockIdx.x * SLICE, last = min(rows, first + SLICE);
    if (channel >= padded) return;
    x += blockIdx.z * ((long long)rows * x_row);
    y += blockIdx.z * ((long long)rows * padded);
    mean += blockIdx.z * channels;
    variance += blockIdx.z * channels;
    const bool inside = channel < channels;
    const float centre = inside ? mean[channel] : 0.0f, offset = inside ? shift[channel] : 0.0f;
    const float factor = inside ? normalising_factor(scale[channel], variance[channel], epsilon) : 0.0f;
#pragma unroll 4
    for (int row = first + threadIdx.y; row < last; row += 8) {
        const float from = inside ? image_value(x[(long long)row * x_row + channel]) : 0.0f;
        const float value = normalised(from, centre, factor, offset);
        y[(long long)row * padded + channel] = round_operand(rectified(value, value, slope));
    }
}

// Writes two rows per slice and part: the sums of the gradient behind the rectifier, then the sums of that gradient *
// normalised x.
extern "C" __global__ void batch_norm_gradient_slices(int rows, int channels, int x_row, int dy_row, float epsilon,
                                                      float slope, const X* x, const float* mean, const float* variance,
                                                      const float* scale, const float* shift, const Dy* dy,
                                                      float* partials) {
    __shared__ float sums[8][32];
    const int channel = blockIdx.y * 32 + threadIdx.x;
    const int first = blockIdx.x * SLICE, last = min(rows, first + SLICE);
    const bool valid = channel < channels;
    x += blockIdx.z * ((long long)rows * x_row);
    dy += blockIdx.z * ((long long)rows * dy_row);
    mean += blockIdx.z * channels;
    variance += blockIdx.z * channels;
    float plain = 0.0f, product = 0.0f;
    if (valid) {
        const float centre = mean[channel], offset = shift[channel], deviation = sqrtf(variance[channel] + epsilon);
        const float factor = normalising_factor(scale[channel], variance[channel], epsilon), inverse = 1.0f / deviation;
        for (int row = first + threadIdx.y; row < last; row += 8) {
            const float value = image_value(x[(long long)row * x_row + channel]);
            const float upstream = image_value(dy[(long long)row * dy_row + channel]);
            const float gradient = rectified(normalised(value, centre, factor, offset), upstream, slope);
            plain += gradient;
            product += gradient * ((value - centre) * inverse);
        }
    }
    plain = lane_sum(plain, sums);
    product = lane_sum(product, sums);
    if (valid && threadIdx.y == 0) {
        float* const to = partials + (long long)(blockIdx.x * gridDim.z + blockIdx.z) * 2 * channels;
        to[channel] = plain;
        to[channels + channel] = product;
    }
}

// dx = scale / deviation * (gradient - shift_sum / rows - normalised x * scale_sum / rows), in the layout of y above.
// `totals` holds both sums of each part; dshift and dscale are their sums over the parts.
extern "C" __global__ void batch_norm_gradient(int rows, int channels, int x_row, int dy_row, int padded, float epsilon,
                                               float slope, const X* __restrict__ x, const float* mean,
                                               const float* variance, const float* scale, const float* shift,
                                               const Dy* __restrict__ dy, const float* totals, float* dscale, float* dshift,
                                               Operand* __restrict__ dx) {
    const int channel = blockIdx.y * 32 + threadIdx.x;
    const int first = blockIdx.x * SLICE, last = min(rows, first + SLICE);
    if (channel >= padded) return;
    if (channel < channels && blockIdx.x == 0 && blockIdx.z == 0 && threadIdx.y == 0) {
        float shifts = totals[channel], scales = totals[channels + channel];
        for (int part = 1; part < (int)gridDim.z; ++part) {
            shifts += totals[2 * part * channels + channel];
            scales += totals[(2 * part + 1) * channels + channel];
        }
        dshift[channel] = shifts;
        dscale[channel] = scales;
    }
    x += blockIdx.z * ((long long)rows * x_row);
    dy += blockIdx.z * ((long long)rows * dy_row);
    dx += blockIdx.z * ((long long)rows * padded);
    mean += blockIdx.z * channels;
    variance += blockIdx.z * channels;
    totals += blockIdx.z * 2 * channels;
    if (channel >= channels) {
        for (int row = first + threadIdx.y; row < last; row += 8) {
            dx[(long long)row * padded + channel] = round_operand(0.0f);
        }
        return;
    }
    const float centre = mean[channel], offset = shift[channel], deviation = sqrtf(variance[channel] + epsilon);
    const float factor = normalising_factor(scale[channel], variance[channel], epsilon);
    const float mean_gradient = totals[channel] / rows, mean_product = totals[channels + channel] / deviation / rows;
#pragma unroll 4
    for (int row = first + threadIdx.y; row < last; row += 8) {
        const float from = image_value(x[(long long)row * x_row + channel]);
        const float upstream = image_value(dy[(long long)row * dy_row + channel]);
        const float gradient = rectified(normalised(from, centre, factor, offset), upstream, slope);
        const float value = factor * (gradient - mean_gradient - (from - centre) * mean_product);
        dx[(long long)row * padded + channel] = round_operand(value);
    }
}
