// A linear layer with one output: y[row] = x[row, :] . weight + bias, f32, rows contiguous.
//
// Launch: one block of 256 threads per row, because there are few rows. Every other linear layer is a convolution of
// 1x1 images.
#include "reduce.cuh"

extern "C" __global__ void linear_dot(int inputs, const float* x, const float* weight, const float* bias, float* y) {
    __shared__ float scratch[32];
    const float* row = x + (long long)blockIdx.x * inputs;
    float sum = 0.0f;
    for (int i = threadIdx.x; i < inputs; i += blockDim.x) sum += row[i] * weight[i];
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) y[blockIdx.x] = bias ? sum + bias[0] : sum;
}
