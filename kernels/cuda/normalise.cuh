// Batch normalisation of one element and the rectifier behind it: the same bits wherever they are computed, in a pass of their
// own, in the epilogue of a product, or again for a gradient.
#pragma once

// `value` where `sign` is positive, slope * value elsewhere.
__device__ inline float rectified(float sign, float value, float slope) { return sign > 0.0f ? value : slope * value; }

// What a channel is multiplied by.
__device__ inline float normalising_factor(float scale, float variance, float epsilon) {
    return scale / sqrtf(variance + epsilon);
}

// What comes out before the rectifier. Gradients look at its sign.
__device__ inline float normalised(float x, float centre, float factor, float offset) {
    return fmaf(x - centre, factor, offset);
}
