// Packs GEMM operands: rounds f32 to the operand format and pads the innermost axis with zeros to whole chunks of 16
// bytes, so that every copy is aligned and none needs a remainder.
//
// Launch: pack_rows has 256 threads per block, one chunk per thread; pack_transposed has blocks of 32 x 8 threads,
// each transposing a 32 x 32 tile of one tap through shared memory. All tensors are row-major.
#include "index.cuh"
#include "operand.cuh"

struct alignas(16) Chunk {
    Operand value[CHUNK_VALUES];
};

// packed[row, 0 ... padded - 1] from values[row, 0 ... channels - 1], one chunk per thread.
extern "C" __global__ void pack_rows(int rows, int channels, int padded, const float* values, Chunk* packed) {
    const unsigned i = global_thread(), chunks = padded / CHUNK_VALUES;
    if (i >= rows * chunks) return;
    const int channel = i % chunks * CHUNK_VALUES;
    const float* const from = values + (long long)(i / chunks) * channels + channel;
    Chunk chunk;
#pragma unroll
    for (int j = 0; j < CHUNK_VALUES; j += 4) {
        float4 four = {};
        if (channels % 4 == 0) {
            if (channel + j < channels) four = *(const float4*)(from + j);
        } else {
            if (channel + j < channels) four.x = from[j];
            if (channel + j + 1 < channels) four.y = from[j + 1];
            if (channel + j + 2 < channels) four.z = from[j + 2];
            if (channel + j + 3 < channels) four.w = from[j + 3];
        }
        chunk.value[j] = round_operand(four.x);
        chunk.value[j + 1] = round_operand(four.y);
        chunk.value[j + 2] = round_operand(four.z);
        chunk.value[j + 3] = round_operand(four.w);
    }
    packed[i] = chunk;
}

// packed[tap, k, 0 ... padded - 1] from w[tap, 0 ... channels - 1, k]; the tile makes reads and writes coalesce.
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
