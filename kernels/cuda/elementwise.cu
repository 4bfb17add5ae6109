// Elementwise operators: one thread per element, memory-bound, nothing to share.
#include "index.cuh"
#include "operand.cuh"

// ReLU is a LeakyReLU of slope 0.
extern "C" __global__ void leaky_relu(int length, float slope, const float* x, float* y) {
    const unsigned i = global_thread();
    if (i < (unsigned)length) y[i] = x[i] > 0.0f ? x[i] : slope * x[i];
}

// From the output: its sign is that of the input. At the kink the derivative is that of the negative side. y may be packed,
// in rows of `padded` operands: rounding keeps the sign, but for what is smaller than any normal number.
extern "C" __global__ void leaky_relu_gradient(int length, int channels, int padded, float slope, const Operand* y,
                                               const float* dy, float* dx) {
    const unsigned i = global_thread();
    if (i >= (unsigned)length) return;
    const unsigned at = padded == channels ? i : i / channels * padded + i % channels;
    dx[i] = operand_value(y[at]) > 0.0f ? dy[i] : slope * dy[i];
}

extern "C" __global__ void hyperbolic_tangent(int length, const float* x, float* y) {
    const unsigned i = global_thread();
    if (i < (unsigned)length) y[i] = tanhf(x[i]);
}

// (1 - y)(1 + y) keeps its digits where 1 - y*y would cancel.
extern "C" __global__ void hyperbolic_tangent_gradient(int length, const float* y, const float* dy, float* dx) {
    const unsigned i = global_thread();
    if (i < (unsigned)length) dx[i] = dy[i] * ((1.0f - y[i]) * (1.0f + y[i]));
}

extern "C" __global__ void add(int length, const float* a, const float* b, float* y) {
    const unsigned i = global_thread();
    if (i < (unsigned)length) y[i] = a[i] + b[i];
}

extern "C" __global__ void copy(int length, const float* x, float* y) {
    const unsigned i = global_thread();
    if (i < (unsigned)length) y[i] = x[i];
}

// running <- keep * running + gain * batch.
extern "C" __global__ void update_running(int length, float keep, float gain, const float* batch, float* running) {
    const unsigned i = global_thread();
    if (i < (unsigned)length) running[i] = keep * running[i] + gain * batch[i];
}
