// Binary cross-entropy of logits x against one target, averaged over the batch:
//   max(x, 0) - x * target + ln(1 + exp(-|x|)),
// and its gradient (sigmoid(x) - target) / length.
//
// Launch: 256 threads per block; the loss takes one block, because a batch has few logits, the gradient one thread per
// logit. Logits are contiguous f32.
#include "index.cuh"
#include "reduce.cuh"

// Writes the mean loss; one block.
extern "C" __global__ void bce_with_logits(int length, float target, const float* logits, float* loss) {
    __shared__ float scratch[32];
    float sum = 0.0f;
    for (int i = threadIdx.x; i < length; i += blockDim.x) {
        const float x = logits[i];
        sum += fmaxf(x, 0.0f) - x * target + log1pf(expf(-fabsf(x)));
    }
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) loss[0] = sum / (float)length;
}

// The argument of the exponential is never positive, so it cannot overflow.
extern "C" __global__ void bce_with_logits_gradient(int length, float target, const float* logits, const float* dloss,
                                                    float* dlogits) {
    const unsigned i = global_thread();
    if (i >= (unsigned)length) return;
    const float small = expf(-fabsf(logits[i]));
    const float sigmoid = (logits[i] >= 0.0f ? 1.0f : small) / (1.0f + small);
    dlogits[i] = dloss[0] * (sigmoid - target) / (float)length;
}
