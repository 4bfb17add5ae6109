// Sums over the threads of a block, in a fixed order.
#pragma once

// Sum of `value` over the 32 lanes of a warp, returned in every lane.
__device__ inline float warp_sum(float value) {
    for (int distance = 16; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(0xffffffffu, value, distance);
    }
    return value;
}

// Sum of `value` over a block of at most 1,024 threads, returned in every thread. `scratch`: 32 floats of shared
// memory.
__device__ inline float block_sum(float value, float* scratch) {
    value = warp_sum(value);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    if (lane == 0) scratch[warp] = value;
    __syncthreads();
    value = warp_sum(lane < warps ? scratch[lane] : 0.0f);
    __syncthreads();
    return value;
}
