// Primitives of compute capability 9.0 (sm_90a): tensor memory accelerator (TMA) copies of tensor boxes to shared
// memory, mbarriers that signal their arrival, and warpgroup GEMMs (wgmma) that read operands from shared memory.
//
// Shared memory holds rows of 128 bytes in the 128-byte swizzle: chunk c (16 bytes) of row r is stored at chunk c ^ r
// % 8. TMA writes and wgmma reads this layout. Both derive r from the address, so arrays are aligned to 1024 bytes.
#pragma once
#include "operand.cuh"
#include "shared.cuh"

// Bytes of a row of shared memory, which is also the channel extent of a box.
constexpr int SLAB_BYTES = 128;
constexpr int SLAB_VALUES = SLAB_BYTES / sizeof(Operand);
// Values along the inner dimension of one wgmma: 32 bytes.
constexpr int WGMMA_VALUES = 32 / sizeof(Operand);
constexpr int WARPGROUP = 128;

// A tensor in device memory and the box that one copy reads, as encoded by the driver (CUtensorMap).
struct alignas(128) TensorMap {
    unsigned long long opaque[16];
};

typedef unsigned long long Mbarrier;

// Descriptor of a wgmma operand (PTX ISA, "Matrix descriptor"). If the inner dimension is contiguous ("K-major"), a
// row of shared memory holds the inner values of one row of the operand, `stride` is the distance in bytes between
// groups of 8 rows, and `leading` is ignored. Otherwise ("MN-major"), a row holds 64 rows of the operand for one inner
// value, `stride` is the distance in bytes between groups of 8 inner values, and `leading` that between groups of 64
// rows.
__device__ inline unsigned long long wgmma_operand(const void* start, int leading, int stride) {
    constexpr unsigned long long SWIZZLE_128 = 1ull << 62;
    return SWIZZLE_128 | (unsigned long long)(stride >> 4) << 32 | (unsigned long long)(leading >> 4) << 16 |
           (shared_address(start) >> 4 & 0x3fff);
}

constexpr int K_MAJOR = 0, MN_MAJOR = 1;

#ifdef COSMOGAN_SIMT
#include "simt_hopper.h"
#else

// ---- mbarriers. A phase ends when all arrivals and all expected bytes have come; phases alternate in parity.

__device__ inline void mbarrier_init(Mbarrier* barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}

// Makes initialised barriers visible to TMA; other threads see them after a __syncthreads.
__device__ inline void mbarrier_init_fence() {
    asm volatile("fence.mbarrier_init.release.cluster; fence.proxy.async;" ::: "memory");
}

__device__ inline void mbarrier_arrive(Mbarrier* barrier) {
    asm volatile("mbarrier.arrive.release.cta.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}

// Arrives, and adds `bytes` to the bytes that the phase waits for.
__device__ inline void mbarrier_expect(Mbarrier* barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
                 "r"(bytes)
                 : "memory");
}

// Waits for the end of the phase with this parity; the phase before the first one counts as odd and complete.
__device__ inline void mbarrier_wait(Mbarrier* barrier, int parity) {
    asm volatile("{.reg .pred over;\n"
                 "again: mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 over, [%0], %1;\n"
                 "@!over bra again;}" ::"r"(shared_address(barrier)),
                 "r"(parity)
                 : "memory");
}

// ---- Copies. Boxes may extend beyond the tensor on any side; elements outside arrive as zeros and count as bytes.

__device__ inline void tma_prefetch(const TensorMap& map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

__device__ inline void tma_load(void* to, const TensorMap& map, Mbarrier* barrier, int c0, int c1, int c2) {
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, "
                 "%5}], [%2];" ::"r"(shared_address(to)),
                 "l"(&map), "r"(shared_address(barrier)), "r"(c0), "r"(c1), "r"(c2)
                 : "memory");
}

__device__ inline void tma_load(void* to, const TensorMap& map, Mbarrier* barrier, int c0, int c1, int c2, int c3) {
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, "
                 "%5, %6}], [%2];" ::"r"(shared_address(to)),
                 "l"(&map), "r"(shared_address(barrier)), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
                 : "memory");
}

// ---- GEMMs. All threads of a warpgroup must call these; sums must not be touched before wgmma_wait.

// Orders earlier accesses to the sums and to shared memory before the wgmmas that follow.
__device__ inline void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

// Closes a group of wgmmas.
__device__ inline void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits until at most PENDING groups are in flight.
template <int PENDING>
__device__ inline void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

#define SUMS_4(sum, i) "+f"(sum[i]), "+f"(sum[i + 1]), "+f"(sum[i + 2]), "+f"(sum[i + 3])
#define SUMS_16(sum, i) SUMS_4(sum, i), SUMS_4(sum, i + 4), SUMS_4(sum, i + 8), SUMS_4(sum, i + 12)

// Keeps the compiler from moving accesses to the sums across this point. The compiler assumes that a wgmma has
// finished when it is issued: it could read sums before a wait that does not name them, or clear them after the fence.
__device__ inline void hold_sums(float (&sum)[32]) { asm volatile("" : SUMS_16(sum, 0), SUMS_16(sum, 16)::"memory"); }
template <class Sums, int COUNT>
__device__ inline void hold_sums(Sums (&sums)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) hold_sums(sums[i]);
}

#if OPERAND_BITS == 16
#define WGMMA_TYPES "k16.f32.bf16.bf16"
#define WGMMA_MAJORS(major) ", " major ", " major
#else
// 32-bit operands must be K-major.
#define WGMMA_TYPES "k8.f32.tf32.tf32"
#define WGMMA_MAJORS(major)
#endif

// sum += a * b with a of 64 x WGMMA_VALUES and b of WGMMA_VALUES x 64 (128 columns for `first` and `second`). sum[i]
// belongs to row 16 * (warp % 4) + lane / 4 + i / 2 % 2 * 8 and column i / 4 * 8 + lane % 4 * 2 + i % 2.
template <int MAJOR>
__device__ inline void wgmma(float (&sum)[32], unsigned long long a, unsigned long long b) {
    asm volatile("{.reg .pred adds; setp.eq.u32 adds, 0, 0; "
                 "wgmma.mma_async.sync.aligned.m64n64" WGMMA_TYPES
                 " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15,"
                 " %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
                 "%32, %33, adds, 1, 1" WGMMA_MAJORS("%34") ";}"
                 : SUMS_16(sum, 0), SUMS_16(sum, 16)
                 : "l"(a), "l"(b), "n"(MAJOR));
}

template <int MAJOR>
__device__ inline void wgmma(float (&first)[32], float (&second)[32], unsigned long long a, unsigned long long b) {
    asm volatile("{.reg .pred adds; setp.eq.u32 adds, 0, 0; "
                 "wgmma.mma_async.sync.aligned.m64n128" WGMMA_TYPES
                 " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15,"
                 " %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31,"
                 " %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47,"
                 " %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
                 "%64, %65, adds, 1, 1" WGMMA_MAJORS("%66") ";}"
                 : SUMS_16(first, 0), SUMS_16(first, 16), SUMS_16(second, 0), SUMS_16(second, 16)
                 : "l"(a), "l"(b), "n"(MAJOR));
}

// ---- Registers. All warps of a warpgroup declare how many registers per thread they use from here on.

template <int REGISTERS>
__device__ inline void registers_give_back() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}
template <int REGISTERS>
__device__ inline void registers_take() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}
#endif
