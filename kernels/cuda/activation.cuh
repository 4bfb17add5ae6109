// Activation in the epilogue of a convolution.
#pragma once

// tanh, or a (leaky) rectifier: negative values are multiplied by `slope`, which is 1 without an activation.
struct Activation {
    float slope;
    int tangent;
};

__device__ inline float activated(const Activation& by, float value) {
    if (by.tangent) return tanhf(value);
    return value > 0.0f ? value : by.slope * value;
}
