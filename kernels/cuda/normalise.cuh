// Batch normalisation of one element and the rectifier after it. The separate pass, the GEMM epilogue and the gradient
// all use these functions, so that they produce the same bits.
#pragma once

// `value` where `sign` is positive, slope * value elsewhere.
__device__ inline float rectified(float sign, float value, float slope) { return sign > 0.0f ? value : slope * value; }

// Factor of a channel.
__device__ inline float normalising_factor(float scale, float variance, float epsilon) {
    return scale / sqrtf(variance + epsilon);
}

// Value before the rectifier. Gradients depend on its sign.
__device__ inline float normalised(float x, float centre, float factor, float offset) {
    return fmaf(x - centre, factor, offset);
}
