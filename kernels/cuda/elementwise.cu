// Elementwise operators: LeakyReLU and tanh with their gradients, sum, copy, update of running statistics.
//
// Launch: 256 threads per block, one thread per element; all are memory-bound. Tensors are contiguous f32 unless a
// kernel states otherwise.
#include "index.cuh"
#include "operand.cuh"

// Storage formats of y and of the upstream gradient in leaky_relu_gradient.
#ifndef Y_BITS
#define Y_BITS 32
#define DY_BITS 32
#endif
typedef ImageOf<Y_BITS>::Value Y;
typedef ImageOf<DY_BITS>::Value Dy;

// y = x where x > 0, slope * x elsewhere; ReLU has slope 0.
extern "C" __global__ void leaky_relu(int length, float slope, const float* x, float* y) {
    const unsigned i = global_thread();
    if (i < (unsigned)length) y[i] = x[i] > 0.0f ? x[i] : slope * x[i];
}

// dx = dy where y > 0, slope * dy elsewhere. The sign of y is that of x; at the kink the derivative is that of the
// negative side. y, dy and dx may be packed, in rows of y_row, dy_row and dx_row operands: rounding keeps the sign,
// except of subnormal values. `length` counts the operands of dx, including the zeros after the channels.
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

// dx = dy * (1 - y)(1 + y), which keeps the digits that 1 - y*y would cancel.
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
