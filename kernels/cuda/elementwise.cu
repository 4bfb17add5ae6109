// Elementwise operators: one thread per element, memory-bound, nothing to share.
#include "index.cuh"
#include "operand.cuh"

// What y and the gradient from behind are read as.
#ifndef Y_BITS
#define Y_BITS 32
#define DY_BITS 32
#endif
typedef ImageOf<Y_BITS>::Value Y;
typedef ImageOf<DY_BITS>::Value Dy;

// ReLU is a LeakyReLU of slope 0.
extern "C" __global__ void leaky_relu(int length, float slope, const float* x, float* y) {
    const unsigned i = global_thread();
    if (i < (unsigned)length) y[i] = x[i] > 0.0f ? x[i] : slope * x[i];
}

// From the output: its sign is that of the input. At the kink the derivative is that of the negative side. All three may be
// packed, in rows of so many operands: rounding keeps the sign, but for what is smaller than any normal number. `length` counts
// the operands of dx, zeros behind the channels included.
extern "C" __global__ void leaky_relu_gradient(int length, int channels, int y_row, int dy_row, int dx_row, float slope,
                                               const Y* __restrict__ y, const Dy* __restrict__ dy,
                                               Operand* __restrict__ dx) {
    const unsigned i = global_thread();
    if (i >= (unsigned)length) return;
    unsigned y_at = i, dy_at = i;
    if (y_row != channels || dy_row != channels || dx_row != channels) {
        const unsigned row = i / dx_row, channel = i % dx_row;
        if (channel >= (unsigned)channels) {
            dx[i] = round_operand(0.0f);
            return;
        }
        y_at = row * y_row + channel;
        dy_at = row * dy_row + channel;
    }
    const float gradient = image_value(dy[dy_at]);
    dx[i] = round_operand(image_value(y[y_at]) > 0.0f ? gradient : slope * gradient);
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
