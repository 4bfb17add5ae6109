// Loops with guaranteed unrolling.
#pragma once

// Calls body(0) to body(COUNT - 1), each with a compile-time constant. `#pragma unroll` is not enough: compilers of
// CUDA 12 first hoist conditions out of the loop, and then keep the sums that it indexes in memory.
template <int VALUE>
struct Constant {
    static constexpr int value = VALUE;
};
template <int COUNT, int FIRST = 0, class Body>
__device__ inline void unrolled(const Body& body) {
    if constexpr (FIRST < COUNT) {
        body(Constant<FIRST>{});
        unrolled<COUNT, FIRST + 1>(body);
    }
}
