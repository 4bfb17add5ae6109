// Format of GEMM operands. OPERAND_BITS is 16 for bf16, 19 for tf32 (stored in 32 bits) and 32 for f32.
//
// Operands are stored in chunks of 16 bytes, the size of one asynchronous copy: 8 bf16 values or 4 of the others.
#pragma once

#ifndef OPERAND_BITS
#define OPERAND_BITS 16
#endif

#if OPERAND_BITS == 16
typedef unsigned short Operand;

// Rounds to the nearest bf16, ties to even.
__device__ inline Operand round_operand(float value) {
    const unsigned bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fc0;
    return (Operand)((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}
#elif OPERAND_BITS == 19
typedef float Operand;

// Rounds to the nearest tf32, ties away from zero. The hardware truncates the 13 low bits, which doubles the error.
__device__ inline Operand round_operand(float value) {
    const unsigned bits = __float_as_uint(value);
    if ((bits & 0x7f800000u) == 0x7f800000u) return value;
    return __uint_as_float((bits + 0x1000u) & ~0x1fffu);
}
#else
typedef float Operand;

__device__ inline Operand round_operand(float value) { return value; }
#endif

// Storage type of a tensor that a memory-bound pass reads: packed bf16 operands, or f32.
template <int BITS>
struct ImageOf {
    typedef float Value;
};
template <>
struct ImageOf<16> {
    typedef unsigned short Value;
};

__device__ inline float image_value(unsigned short bf16) { return __uint_as_float((unsigned)bf16 << 16); }
__device__ inline float image_value(float value) { return value; }

constexpr int CHUNK_VALUES = 16 / sizeof(Operand);
