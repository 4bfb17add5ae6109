// Shared memory: its addresses, and arrays of it that are larger than a kernel may declare.
#pragma once

#ifdef COSMOGAN_SIMT
__device__ inline unsigned shared_address(const void* pointer) { return simt_shared_address(pointer); }

#define DYNAMIC_SHARED(function, bytes) SIMT_DYNAMIC_SHARED(function, bytes)
#else
// The address of a shared location as instructions want it.
__device__ inline unsigned shared_address(const void* pointer) { return (unsigned)__cvta_generic_to_shared(pointer); }

// Defines a function that says where the `bytes` bytes are that the launch gives, aligned to the repeat of a swizzle of 128
// bytes.
#define DYNAMIC_SHARED(function, bytes)                               \
    __device__ inline unsigned char* function() {                     \
        extern __shared__ __align__(1024) unsigned char storage[];    \
        return storage;                                               \
    }
#endif
