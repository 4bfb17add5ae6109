// Adam (Kingma & Ba 2014, Algorithm 1), ε outside the square root, over many tensors in one launch:
//   m <- beta1 m + (1 - beta1) g, v <- beta2 v + (1 - beta2) g^2,
//   theta <- theta - rate m / (sqrt(v correction) + epsilon).
//
// Launch: 256 threads per block. Each block updates CHUNK consecutive elements of one tensor; the table, a kernel
// argument, maps blocks to tensors. Tensors are contiguous f32. Values that change from step to step are read from
// memory (`state`) and not passed as arguments, so that a captured launch stays valid.
#include "index.cuh"

constexpr int CHUNK = 1024;
constexpr int MOST_TENSORS = 64;

struct AdamTensor {
    float* parameter;
    const float* gradient;
    float* first;
    float* second;
    int length;
    int first_block;
};

struct AdamTable {
    AdamTensor tensor[MOST_TENSORS];
};

// state: [learning rate / (1 - beta1^t), 1 / (1 - beta2^t)]. gain1 and gain2 are 1 - beta1 and 1 - beta2.
extern "C" __global__ void adam(int tensors, float beta1, float gain1, float beta2, float gain2, float epsilon,
                                const float* state, const AdamTable table) {
    int which = 0;
    while (which + 1 < tensors && table.tensor[which + 1].first_block <= (int)blockIdx.x) ++which;
    const AdamTensor t = table.tensor[which];
    const int begin = ((int)blockIdx.x - t.first_block) * CHUNK;
    const float rate = state[0], correction = state[1];
    for (int i = begin + threadIdx.x; i < min(t.length, begin + CHUNK); i += blockDim.x) {
        const float gradient = t.gradient[i];
        const float first = beta1 * t.first[i] + gain1 * gradient;
        const float second = beta2 * t.second[i] + gain2 * (gradient * gradient);
        t.first[i] = first;
        t.second[i] = second;
        t.parameter[i] -= rate * first / (sqrtf(second * correction) + epsilon);
    }
}
