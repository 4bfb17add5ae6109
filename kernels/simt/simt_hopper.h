// Host versions of the primitives in hopper.cuh. The executor tracks mbarriers, TMA copies in flight and wgmmas that
// have not been waited for. It writes boxes in the swizzled layout and reads operands as their descriptors state.
#pragma once

#define SIMT_HOOK(name, ...) (SIMT_PLACE(), simt_hooks.name(simt_hooks.executor, __VA_ARGS__))

SIMT_UNCHECKED inline void mbarrier_init(Mbarrier* barrier, int arrivals) {
    SIMT_HOOK(mbarrier_init, (uintptr_t)barrier, (uint32_t)arrivals);
}
SIMT_UNCHECKED inline void mbarrier_init_fence() { simt_hooks.mbarrier_init_fence(simt_hooks.executor); }
SIMT_UNCHECKED inline void mbarrier_arrive(Mbarrier* barrier) { SIMT_HOOK(mbarrier_arrive, (uintptr_t)barrier, 0); }
SIMT_UNCHECKED inline void mbarrier_expect(Mbarrier* barrier, int bytes) {
    SIMT_HOOK(mbarrier_arrive, (uintptr_t)barrier, (uint32_t)bytes);
}
SIMT_UNCHECKED inline void mbarrier_wait(Mbarrier* barrier, int parity) {
    SIMT_HOOK(mbarrier_wait, (uintptr_t)barrier, (uint32_t)parity);
}

SIMT_UNCHECKED inline void tma_prefetch(const TensorMap&) {}
SIMT_UNCHECKED inline void tma_load(void* to, const TensorMap& map, Mbarrier* barrier, int c0, int c1, int c2) {
    const int at[3] = {c0, c1, c2};
    SIMT_HOOK(tma_load, (uintptr_t)to, map.opaque, (uintptr_t)barrier, at, 3);
}
SIMT_UNCHECKED inline void tma_load(void* to, const TensorMap& map, Mbarrier* barrier, int c0, int c1, int c2, int c3) {
    const int at[4] = {c0, c1, c2, c3};
    SIMT_HOOK(tma_load, (uintptr_t)to, map.opaque, (uintptr_t)barrier, at, 4);
}

SIMT_UNCHECKED inline void wgmma_fence() { simt_hooks.wgmma_fence(simt_hooks.executor); }
SIMT_UNCHECKED inline void wgmma_commit() { simt_hooks.wgmma_commit(simt_hooks.executor); }
template <int PENDING>
SIMT_UNCHECKED void wgmma_wait() {
    SIMT_HOOK(wgmma_wait, PENDING);
}
template <class Sums>
SIMT_UNCHECKED void hold_sums(Sums&) {}
template <int MAJOR>
SIMT_UNCHECKED void wgmma(float (&sum)[32], unsigned long long a, unsigned long long b) {
    static_assert(MAJOR == K_MAJOR || OPERAND_BITS == 16, "operands of 32 bits are K-major");
    SIMT_HOOK(wgmma, sum, 64, a, b, MAJOR, OPERAND_BITS);
}
template <int MAJOR>
SIMT_UNCHECKED void wgmma(float (&first)[32], float (&second)[32], unsigned long long a, unsigned long long b) {
    static_assert(MAJOR == K_MAJOR || OPERAND_BITS == 16, "operands of 32 bits are K-major");
    SIMT_PLACE();
    if (second != first + 32) simt_hooks.fault(simt_hooks.executor, "the sums of a wgmma are not contiguous");
    SIMT_HOOK(wgmma, first, 128, a, b, MAJOR, OPERAND_BITS);
}

template <int REGISTERS>
SIMT_UNCHECKED void registers_give_back() {
    static_assert(REGISTERS % 8 == 0 && REGISTERS >= 24 && REGISTERS <= 256, "the register count must be a multiple of 8 between 24 and 256");
}
template <int REGISTERS>
SIMT_UNCHECKED void registers_take() {
    registers_give_back<REGISTERS>();
}
