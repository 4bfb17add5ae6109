// Batch normalisation over the rows of [rows, channels] (Ioffe & Szegedy 2015), and the rectifier behind it: what comes out
// negative is multiplied by `slope`, which is 0 for a ReLU and 1 for none.
//
// Sums over rows take two launches. A block of the first is 32 channels by 8 lanes and handles SLICE rows: statistics
// leave a mean and a sum of squared deviations from that very mean, so that nothing cancels; gradients leave two sums.
// The second launch, of 32 lanes, combines the slices in double precision (Chan, Golub & LeVeque 1983). What is computed
// per element has the first launch's blocks, so that a thread stays with its channel and prepares its factors once.
#include "index.cuh"

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

extern "C" __global__ void batch_norm_slices(int rows, int channels, const float* x, float* means, float* squares) {
    __shared__ float sums[8][32];
    const int channel = blockIdx.y * 32 + threadIdx.x;
    const int first = blockIdx.x * SLICE, last = min(rows, first + SLICE);
    const bool valid = channel < channels;
    float sum = 0.0f;
    if (valid) {
        for (int row = first + threadIdx.y; row < last; row += 8) sum += x[(long long)row * channels + channel];
    }
    const float mean = lane_sum(sum, sums) / (float)(last - first);
    // Much of the slice is in the cache from the first pass.
    float square = 0.0f;
    if (valid) {
        for (int row = first + threadIdx.y; row < last; row += 8) {
            const float deviation = x[(long long)row * channels + channel] - mean;
            square += deviation * deviation;
        }
    }
    square = lane_sum(square, sums);
    if (valid && threadIdx.y == 0) {
        means[(long long)blockIdx.x * channels + channel] = mean;
        squares[(long long)blockIdx.x * channels + channel] = square;
    }
}

extern "C" __global__ void batch_norm_statistics(int rows, int channels, int slices, const float* means,
                                                 const float* squares, float* mean, float* variance) {
    __shared__ double sums[32][32];
    const int channel = blockIdx.x * 32 + threadIdx.x;
    const bool valid = channel < channels;

    double sum = 0.0;
    for (int slice = threadIdx.y; valid && slice < slices; slice += 32) {
        sum += (double)means[(long long)slice * channels + channel] * min(SLICE, rows - slice * SLICE);
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    double average = 0.0;
    for (int lane = 0; lane < 32; ++lane) average += sums[lane][threadIdx.x];
    average /= rows;
    __syncthreads();

    sum = 0.0;
    for (int slice = threadIdx.y; valid && slice < slices; slice += 32) {
        const long long at = (long long)slice * channels + channel;
        const double offset = means[at] - average;
        sum += squares[at] + offset * offset * min(SLICE, rows - slice * SLICE);
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (valid && threadIdx.y == 0) {
        double total = 0.0;
        for (int lane = 0; lane < 32; ++lane) total += sums[lane][threadIdx.x];
        mean[channel] = (float)average;
        variance[channel] = (float)(total / rows);
    }
}

// `value` where `sign` is positive, slope * value elsewhere.
__device__ inline float rectified(float sign, float value, float slope) { return sign > 0.0f ? value : slope * value; }

// What comes out before the rectifier. Gradients look at its sign, so it must be the same bits everywhere.
__device__ inline float normalised(float x, float centre, float factor, float offset) {
    return fmaf(x - centre, factor, offset);
}

// y = rectified (x - mean) * scale / sqrt(variance + epsilon) + shift.
extern "C" __global__ void batch_norm_normalise(int rows, int channels, float epsilon, float slope, const float* x,
                                                const float* mean, const float* variance, const float* scale,
                                                const float* shift, float* y) {
    const int channel = blockIdx.y * 32 + threadIdx.x;
    const int first = blockIdx.x * SLICE, last = min(rows, first + SLICE);
    if (channel >= channels) return;
    const float centre = mean[channel], offset = shift[channel];
    const float factor = scale[channel] / sqrtf(variance[channel] + epsilon);
    for (int row = first + threadIdx.y; row < last; row += 8) {
        const long long at = (long long)row * channels + channel;
        const float value = normalised(x[at], centre, factor, offset);
        y[at] = rectified(value, value, slope);
    }
}

// Per slice: the sums of the gradient and of the gradient * normalised x.
extern "C" __global__ void batch_norm_gradient_slices(int rows, int channels, float epsilon, float slope,
                                                      const float* x, const float* mean, const float* variance,
                                                      const float* scale, const float* shift, const float* dy,
                                                      float* shifts, float* scales) {
    __shared__ float sums[8][32];
    const int channel = blockIdx.y * 32 + threadIdx.x;
    const int first = blockIdx.x * SLICE, last = min(rows, first + SLICE);
    const bool valid = channel < channels;
    float plain = 0.0f, product = 0.0f;
    if (valid) {
        const float centre = mean[channel], offset = shift[channel], deviation = sqrtf(variance[channel] + epsilon);
        const float factor = scale[channel] / deviation, inverse = 1.0f / deviation;
        for (int row = first + threadIdx.y; row < last; row += 8) {
            const long long at = (long long)row * channels + channel;
            const float gradient = rectified(normalised(x[at], centre, factor, offset), dy[at], slope);
            plain += gradient;
            product += gradient * ((x[at] - centre) * inverse);
        }
    }
    plain = lane_sum(plain, sums);
    product = lane_sum(product, sums);
    if (valid && threadIdx.y == 0) {
        shifts[(long long)blockIdx.x * channels + channel] = plain;
        scales[(long long)blockIdx.x * channels + channel] = product;
    }
}

// dx = scale / deviation * (gradient - dshift / rows - normalised x * dscale / rows).
extern "C" __global__ void batch_norm_gradient(int rows, int channels, float epsilon, float slope, const float* x,
                                               const float* mean, const float* variance, const float* scale,
                                               const float* shift, const float* dy, const float* dscale,
                                               const float* dshift, float* dx) {
    const int channel = blockIdx.y * 32 + threadIdx.x;
    const int first = blockIdx.x * SLICE, last = min(rows, first + SLICE);
    if (channel >= channels) return;
    const float centre = mean[channel], offset = shift[channel], deviation = sqrtf(variance[channel] + epsilon);
    const float factor = scale[channel] / deviation;
    const float mean_gradient = dshift[channel] / rows, mean_product = dscale[channel] / deviation / rows;
    for (int row = first + threadIdx.y; row < last; row += 8) {
        const long long at = (long long)row * channels + channel;
        const float gradient = rectified(normalised(x[at], centre, factor, offset), dy[at], slope);
        dx[at] = factor * (gradient - mean_gradient - (x[at] - centre) * mean_product);
    }
}
