// Operands of products: rounded to the operand format, the innermost axis padded with zeros to whole chunks, so that
// every copy is aligned and none needs a remainder.
#include "index.cuh"
#include "operand.cuh"

// packed[row, 0 ... padded - 1] from values[row, 0 ... channels - 1].
extern "C" __global__ void pack_rows(int rows, int channels, int padded, const float* values, Operand* packed) {
    const long long i = global_thread();
    if (i >= (long long)rows * padded) return;
    const int channel = (int)(i % padded);
    packed[i] = round_operand(channel < channels ? values[i / padded * channels + channel] : 0.0f);
}

// packed[tap, k, 0 ... padded - 1] from w[tap, 0 ... channels - 1, k], through a tile, so that both sides coalesce.
extern "C" __global__ void pack_transposed(int channels, int outputs, int padded, const float* w, Operand* packed) {
    __shared__ float tile[32][33];
    const int tap = blockIdx.z;
    for (int lane = threadIdx.y; lane < 32; lane += 8) {
        const int c = blockIdx.x * 32 + lane, k = blockIdx.y * 32 + threadIdx.x;
        const bool inside = c < channels && k < outputs;
        tile[lane][threadIdx.x] = inside ? w[((long long)tap * channels + c) * outputs + k] : 0.0f;
    }
    __syncthreads();
    for (int lane = threadIdx.y; lane < 32; lane += 8) {
        const int k = blockIdx.y * 32 + lane, c = blockIdx.x * 32 + threadIdx.x;
        if (k < outputs && c < padded) {
            packed[((long long)tap * outputs + k) * padded + c] = round_operand(tile[threadIdx.x][lane]);
        }
    }
}
