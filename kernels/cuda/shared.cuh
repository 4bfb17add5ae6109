// Shared memory: its addresses, and arrays that exceed the static limit of a kernel.
#pragma once

#ifdef COSMOGAN_SIMT
__device__ inline unsigned shared_address(const void* pointer) { return simt_shared_address(pointer); }

#define DYNAMIC_SHARED(function, bytes) SIMT_DYNAMIC_SHARED(function, bytes)
#else
// Address of a shared location in the form that instructions take.
__device__ inline unsigned shared_address(const void* pointer) { return (unsigned)__cvta_generic_to_shared(pointer); }

// Defines a function that returns the `bytes` bytes of dynamic shared memory of the launch, aligned to the period of
// the 128-byte swizzle (1024 bytes).
#define DYNAMIC_SHARED(function, bytes)                               \
    __device__ inline unsigned char* function() {                     \
        extern __shared__ __align__(1024) unsigned char storage[];    \
        return storage;                                               \
    }
#endif
