// Primitives of the tiled GEMMs: asynchronous copies, and for tensor cores fragment loads and mma.
//
// A 16-byte chunk is also one row of an 8x8 matrix of ldmatrix. In chunks, bf16 and tf32 have the same layout: an
// m16n8 mma reads two chunks of the inner dimension (PTX ISA, "Matrix Fragments for mma.m16n8k16" and "...
// mma.m16n8k8").
#pragma once

#include "operand.cuh"
#include "shared.cuh"

// Values along the inner dimension of one mma.
constexpr int PRODUCT_VALUES = 2 * CHUNK_VALUES;

#ifdef COSMOGAN_SIMT
#include "simt_mma.h"
#else

// Starts a copy of 16 bytes to shared memory; if `valid` is false, writes zeros and reads nothing.
__device__ inline void copy_async(void* to, const void* from, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(valid ? 16 : 0)
                 : "memory");
}

// Closes a group of copies.
__device__ inline void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most PENDING of this thread's groups are in flight. Other threads see the data after a barrier.
template <int PENDING>
__device__ inline void copy_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// Loads four 8x8 matrices of 16-bit values; lanes 0-7, 8-15, 16-23 and 24-31 hold the addresses of their rows. Lane l
// receives values 2(l % 4) and 2(l % 4) + 1 of row l / 4 of each matrix.
__device__ inline void load_matrices(unsigned (&fragment)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// As load_matrices, for the transposed matrices.
__device__ inline void load_matrices_transposed(unsigned (&fragment)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// sum += a * b with a of 16 x PRODUCT_VALUES and b of PRODUCT_VALUES x 8, distributed over the warp.
__device__ inline void multiply_add(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#if OPERAND_BITS == 16
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
#else
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
#endif
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#endif
