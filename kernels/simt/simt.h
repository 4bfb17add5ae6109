// CUDA C++ on a CPU: definitions with which a host compiler compiles the kernel sources unchanged.
//
// The source is compiled with -fsanitize=thread but not linked to the sanitizer's run-time library: every load and
// store becomes a call to a function below, which forwards it to the kernel executor (`simt`). The executor runs each
// CUDA thread as a coroutine, schedules them, and checks every access.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#define COSMOGAN_SIMT 1
#define SIMT_UNCHECKED __attribute__((no_sanitize("thread"), noinline))

// ---- Hooks, which the executor fills in before a launch.

struct SimtHooks {
    void* executor;
    void (*access)(void*, uintptr_t address, uint32_t bytes, uint32_t writes, uint32_t aligned);
    void (*barrier)(void*, uint32_t line);
    void (*exchange)(void*, const void* mine, uint32_t bytes, void* all, uint32_t line);
    void (*guard)(void*, uintptr_t address, uint32_t bytes);
    void (*copy_async)(void*, uintptr_t to, uintptr_t from, uint32_t bytes, uint32_t valid);
    void (*copy_commit)(void*);
    void (*copy_wait)(void*, uint32_t pending);
    void (*fault)(void*, const char* problem);
    void (*dynamic_shared)(void*, uint32_t bytes);
    void (*mbarrier_init)(void*, uintptr_t barrier, uint32_t arrivals);
    void (*mbarrier_init_fence)(void*);
    void (*mbarrier_arrive)(void*, uintptr_t barrier, uint32_t bytes);
    void (*mbarrier_wait)(void*, uintptr_t barrier, uint32_t parity);
    void (*tma_load)(void*, uintptr_t to, const void* map, uintptr_t barrier, const int* at, uint32_t rank);
    void (*wgmma)(void*, float* sums, uint32_t columns, uint64_t a, uint64_t b, uint32_t transposed, uint32_t bits);
    void (*wgmma_fence)(void*);
    void (*wgmma_commit)(void*);
    void (*wgmma_wait)(void*, uint32_t pending);
};

struct SimtIndex {
    unsigned x, y, z;
};

struct SimtPosition {
    SimtIndex thread, block, block_extent, grid_extent;
};

// The linker defines the bounds of a section; a module without shared arrays has none.
extern "C" {
extern char __start_simt_shared[] __attribute__((weak));
extern char __stop_simt_shared[] __attribute__((weak));
// Start of the loaded library.
extern const char __ehdr_start[] __attribute__((weak, visibility("hidden")));
SimtHooks simt_hooks;
SimtPosition simt_position;
// Instruction of the kernel that called a hook last, as an offset into the library: errors name its source line.
uintptr_t simt_place;
const char* simt_shared_range[2] = {__start_simt_shared, __stop_simt_shared};
}

// At the start of every function that may stop a thread. Such a function must not be inlined.
#define SIMT_PLACE() \
    (void)(simt_place = (uintptr_t)__builtin_return_address(0) - (uintptr_t)__ehdr_start)

// ---- Functions that the compiler calls at each access.

extern "C" {
#define SIMT_ACCESS(name, bytes, writes, aligned)                                                   \
    SIMT_UNCHECKED void name(void* address) {                                                       \
        SIMT_PLACE();                                                                               \
        simt_hooks.access(simt_hooks.executor, (uintptr_t)address, bytes, writes, aligned);         \
    }
SIMT_ACCESS(__tsan_read1, 1, 0, 1)
SIMT_ACCESS(__tsan_read2, 2, 0, 1)
SIMT_ACCESS(__tsan_read4, 4, 0, 1)
SIMT_ACCESS(__tsan_read8, 8, 0, 1)
SIMT_ACCESS(__tsan_read16, 16, 0, 1)
SIMT_ACCESS(__tsan_write1, 1, 1, 1)
SIMT_ACCESS(__tsan_write2, 2, 1, 1)
SIMT_ACCESS(__tsan_write4, 4, 1, 1)
SIMT_ACCESS(__tsan_write8, 8, 1, 1)
SIMT_ACCESS(__tsan_write16, 16, 1, 1)
SIMT_ACCESS(__tsan_unaligned_read2, 2, 0, 0)
SIMT_ACCESS(__tsan_unaligned_read4, 4, 0, 0)
SIMT_ACCESS(__tsan_unaligned_read8, 8, 0, 0)
SIMT_ACCESS(__tsan_unaligned_read16, 16, 0, 0)
SIMT_ACCESS(__tsan_unaligned_write2, 2, 1, 0)
SIMT_ACCESS(__tsan_unaligned_write4, 4, 1, 0)
SIMT_ACCESS(__tsan_unaligned_write8, 8, 1, 0)
SIMT_ACCESS(__tsan_unaligned_write16, 16, 1, 0)
SIMT_UNCHECKED void __tsan_read_range(void* address, size_t bytes) {
    SIMT_PLACE();
    simt_hooks.access(simt_hooks.executor, (uintptr_t)address, (uint32_t)bytes, 0, 0);
}
SIMT_UNCHECKED void __tsan_write_range(void* address, size_t bytes) {
    SIMT_PLACE();
    simt_hooks.access(simt_hooks.executor, (uintptr_t)address, (uint32_t)bytes, 1, 0);
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit(void*) {}
}

// ---- CUDA language.

#define __global__
#define __device__
#define __grid_constant__
#define __forceinline__ inline
#define __launch_bounds__(...)

// Shared arrays are statics of one section, each next to a guard that is reported to the executor. Blocks run one
// after another. A guard names its array and states whether the kernel declares it or the launch provides it: the
// executor looks for the mark and adds up the declared bytes.
struct SimtGuard {
    char mark[16] = {};
    char function[112] = {};

    constexpr SimtGuard(const char* kind, const char* name) {
        for (int i = 0; i < 15 && kind[i] != 0; ++i) mark[i] = kind[i];
        for (int i = 0; i < 111 && name[i] != 0; ++i) function[i] = name[i];
    }
};
#define SIMT_SECTION __attribute__((section("simt_shared"), used, aligned(128)))
#define SIMT_JOIN_(a, b) a##b
#define SIMT_JOIN(a, b) SIMT_JOIN_(a, b)
#define SIMT_SHARED(guard, kind)                              \
    static SIMT_SECTION SimtGuard guard = {kind, __func__};   \
    simt_declare_guard(&guard);                               \
    static SIMT_SECTION
#define __shared__ SIMT_SHARED(SIMT_JOIN(simt_guard_, __COUNTER__), "simt declares")

SIMT_UNCHECKED inline void simt_declare_guard(const SimtGuard* guard) {
    simt_hooks.guard(simt_hooks.executor, (uintptr_t)guard, sizeof *guard);
}

// Dynamic shared memory of the kernels of a source; the launch must provide at least `bytes` bytes. The function is
// static: the variables of an inline function would be those of the first module that defines it.
#define SIMT_DYNAMIC_SHARED(function, bytes)                                                          \
    static unsigned char* function() {                                                                \
        simt_need_shared(bytes);                                                                      \
        SIMT_SHARED(guard, "simt is given") unsigned char storage[bytes] __attribute__((aligned(1024))); \
        return storage;                                                                               \
    }
SIMT_UNCHECKED inline void simt_need_shared(uint32_t bytes) {
    SIMT_PLACE();
    simt_hooks.dynamic_shared(simt_hooks.executor, bytes);
}

// Descriptors count shared memory from 0.
SIMT_UNCHECKED inline unsigned simt_shared_address(const void* pointer) {
    SIMT_PLACE();
    const ptrdiff_t address = (const char*)pointer - __start_simt_shared;
    if (address < 0 || address >= 1 << 18) simt_hooks.fault(simt_hooks.executor, "an address lies outside shared memory");
    return (unsigned)address;
}

SIMT_UNCHECKED inline SimtIndex simt_thread_index() { return simt_position.thread; }
SIMT_UNCHECKED inline SimtIndex simt_block_index() { return simt_position.block; }
SIMT_UNCHECKED inline SimtIndex simt_block_extent() { return simt_position.block_extent; }
SIMT_UNCHECKED inline SimtIndex simt_grid_extent() { return simt_position.grid_extent; }
#define threadIdx (simt_thread_index())
#define blockIdx (simt_block_index())
#define blockDim (simt_block_extent())
#define gridDim (simt_grid_extent())

struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned __float_as_uint(float value) {
    unsigned bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    return bits;
}
inline float __uint_as_float(unsigned bits) {
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

// ---- Barriers and warps. The line identifies the barrier, so that the executor can tell whether all threads reached
// the same one.

SIMT_UNCHECKED inline void simt_barrier(unsigned line) { simt_hooks.barrier(simt_hooks.executor, line); }
#define __syncthreads() simt_barrier(__LINE__)

SIMT_UNCHECKED inline unsigned simt_lane() {
    const SimtPosition& at = simt_position;
    return (at.thread.x + at.block_extent.x * (at.thread.y + at.block_extent.y * at.thread.z)) % 32;
}

// The values of all lanes of the warp, in lane order.
template <class Value>
struct SimtWarp {
    Value lane[32];
};
template <class Value>
SIMT_UNCHECKED SimtWarp<Value> simt_exchange(Value mine, unsigned line) {
    SimtWarp<Value> all;
    simt_hooks.exchange(simt_hooks.executor, &mine, sizeof mine, &all, line);
    return all;
}
template <class Value>
SIMT_UNCHECKED Value simt_shuffle_xor(unsigned mask, Value mine, unsigned distance, unsigned line) {
    SIMT_PLACE();
    if (mask != 0xffffffffu) simt_hooks.fault(simt_hooks.executor, "a shuffle of a partial warp is not supported");
    return simt_exchange(mine, line).lane[(simt_lane() ^ distance) % 32];
}
template <class Value>
SIMT_UNCHECKED Value simt_shuffle(unsigned mask, Value mine, unsigned from, unsigned line) {
    SIMT_PLACE();
    if (mask != 0xffffffffu) simt_hooks.fault(simt_hooks.executor, "a shuffle of a partial warp is not supported");
    return simt_exchange(mine, line).lane[from % 32];
}
#define __shfl_sync(mask, value, from) simt_shuffle(mask, value, from, __LINE__)
#define __shfl_xor_sync(mask, value, distance) simt_shuffle_xor(mask, value, distance, __LINE__)
SIMT_UNCHECKED inline unsigned simt_ballot(unsigned mask, int mine, unsigned line) {
    SIMT_PLACE();
    if (mask != 0xffffffffu) simt_hooks.fault(simt_hooks.executor, "a vote of a partial warp is not supported");
    const SimtWarp<int> all = simt_exchange(mine, line);
    unsigned votes = 0;
    for (int lane = 0; lane < 32; ++lane) votes |= (all.lane[lane] != 0) << lane;
    return votes;
}
#define __ballot_sync(mask, predicate) simt_ballot(mask, (predicate) ? 1 : 0, __LINE__)
#define __any_sync(mask, predicate) (__ballot_sync(mask, predicate) != 0)
#define __all_sync(mask, predicate) (__ballot_sync(mask, predicate) == 0xffffffffu)

// ---- Calling a kernel with an array of pointers to its arguments, like the CUDA driver.

// A parameter may have stricter alignment than the memory that holds its argument.
template <class Parameter>
SIMT_UNCHECKED std::remove_const_t<Parameter> simt_argument(const void* argument) {
    std::remove_const_t<Parameter> value;
    __builtin_memcpy(&value, argument, sizeof value);
    return value;
}
template <class... Parameters, size_t... Positions>
SIMT_UNCHECKED void simt_apply(void (*kernel)(Parameters...), void** arguments, std::index_sequence<Positions...>) {
    kernel(simt_argument<Parameters>(arguments[Positions])...);
}
template <class... Parameters>
SIMT_UNCHECKED void simt_call(void (*kernel)(Parameters...), void** arguments) {
    simt_apply(kernel, arguments, std::index_sequence_for<Parameters...>{});
}
template <class... Parameters>
SIMT_UNCHECKED uint32_t simt_sizes(void (*)(Parameters...), uint32_t* sizes) {
    const uint32_t all[] = {0, (uint32_t)sizeof(Parameters)...};
    for (size_t i = 0; i < sizeof...(Parameters); ++i) sizes[i] = all[i + 1];
    return sizeof...(Parameters);
}
#define SIMT_ENTRY(kernel)                                                                     \
    extern "C" SIMT_UNCHECKED void simt_call_##kernel(void** arguments) { simt_call(kernel, arguments); } \
    extern "C" SIMT_UNCHECKED uint32_t simt_sizes_##kernel(uint32_t* sizes) { return simt_sizes(kernel, sizes); }
