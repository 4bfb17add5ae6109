// Loops that are certain to be unrolled.
#pragma once

// body(0) to body(COUNT - 1), each with a constant. A loop would do, were it certain to be unrolled: compilers of CUDA 12 first
// move conditions out of it, and then keep sums that it indexes in memory.
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
