// Activations on the way out of a product.
#pragma once

// The hyperbolic tangent, or what is negative multiplied by `slope`, which is 1 where there is no activation.
struct Activation {
    float slope;
    int tangent;
};

__device__ inline float activated(const Activation& by, float value) {
    if (by.tangent) return tanhf(value);
    return value > 0.0f ? value : by.slope * value;
}
