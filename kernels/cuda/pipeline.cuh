// Ring of shared-memory stages between one producer thread, which copies, and two consumer warpgroups, which multiply.
//
// A stage is full when its bytes have arrived, and empty when every consumer warp has released it. Both sides go
// through the stages in the same order, across all tiles of a block.
#pragma once
#include "hopper.cuh"

// Consumer warpgroups; one further warpgroup is the producer.
constexpr int CONSUMERS = 2;
constexpr int THREADS = (CONSUMERS + 1) * WARPGROUP;
// A block has all 65,536 registers of a multiprocessor: 168 per thread at first, later most of them in the consumers,
// which hold the sums.
constexpr int PRODUCER_REGISTERS = 40;
constexpr int CONSUMER_REGISTERS = 232;

template <int DEPTH, int BYTES>
struct Pipeline {
    static constexpr int SHARED_BYTES = DEPTH * BYTES + 2 * DEPTH * (int)sizeof(Mbarrier);

    unsigned char* storage;
    int stage = 0, parity = 0;

    __device__ explicit Pipeline(unsigned char* shared) : storage(shared) {
        if (threadIdx.x == 0) {
            for (int i = 0; i < DEPTH; ++i) {
                mbarrier_init(full(i), 1);
                mbarrier_init(empty(i), CONSUMERS * WARPGROUP / 32);
            }
            mbarrier_init_fence();
        }
        __syncthreads();
    }

    __device__ Mbarrier* full(int i) const { return (Mbarrier*)(storage + DEPTH * BYTES) + i; }
    __device__ Mbarrier* empty(int i) const { return full(DEPTH + i); }
    __device__ unsigned char* memory() const { return storage + stage * BYTES; }

    __device__ void advance() {
        if (++stage == DEPTH) {
            stage = 0;
            parity ^= 1;
        }
    }

    // Producer: waits for an empty stage and announces `bytes` bytes.
    __device__ Mbarrier* acquire(int bytes = BYTES) {
        mbarrier_wait(empty(stage), parity ^ 1);
        mbarrier_expect(full(stage), bytes);
        return full(stage);
    }

    // Consumers: wait for the current stage, and release the stage `behind` stages before it.
    __device__ void wait() const { mbarrier_wait(full(stage), parity); }
    __device__ void release(int behind) const {
        if (threadIdx.x % 32 == 0) mbarrier_arrive(empty((stage + DEPTH - behind) % DEPTH));
    }
};
