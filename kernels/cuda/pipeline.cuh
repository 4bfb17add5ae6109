// A ring of stages between one thread that copies and two warpgroups that multiply.
//
// A stage is full when its bytes have come, and empty when every warp that multiplies has said that it is done with it.
// Both sides walk through the stages in the same order, however many tiles they belong to.
#pragma once
#include "hopper.cuh"

// Warpgroups that multiply; one more copies.
constexpr int CONSUMERS = 2;
constexpr int THREADS = (CONSUMERS + 1) * WARPGROUP;
// A block has all 65,536 registers of a multiprocessor: 168 for each thread at first, then most of them where the sums are.
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

    // The one that copies: waits for room, and says how much will come.
    __device__ Mbarrier* acquire(int bytes = BYTES) {
        mbarrier_wait(empty(stage), parity ^ 1);
        mbarrier_expect(full(stage), bytes);
        return full(stage);
    }

    // Those that multiply: wait for what is to come, and give back the stage `behind` stages before this one.
    __device__ void wait() const { mbarrier_wait(full(stage), parity); }
    __device__ void release(int behind) const {
        if (threadIdx.x % 32 == 0) mbarrier_arrive(empty((stage + DEPTH - behind) % DEPTH));
    }
};
