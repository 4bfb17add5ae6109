// Binary cross-entropy on logits against one target: max(x, 0) - x * target + ln(1 + exp(-|x|)), mean over the batch.
#include "index.cuh"
#include "reduce.cuh"

// One block: a batch has few logits.
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

// The exponential is always of a negative number, so that nothing overflows.
extern "C" __global__ void bce_with_logits_gradient(int length, float target, const float* logits, const float* dloss,
                                                    float* dlogits) {
    const unsigned i = global_thread();
    if (i >= (unsigned)length) return;
    const float small = expf(-fabsf(logits[i]));
    const float sigmoid = (logits[i] >= 0.0f ? 1.0f : small) / (1.0f + small);
    dlogits[i] = dloss[0] * (sigmoid - target) / (float)length;
}
