// Host versions of the tensor-core primitives in mma.cuh, with the fragment layouts of the PTX ISA (sections on
// ldmatrix and on mma.m16n8k16 / mma.m16n8k8). The data of a copy becomes visible when the copy is waited for, and not
// before.
#pragma once

SIMT_UNCHECKED inline void copy_async(void* to, const void* from, bool valid) {
    SIMT_PLACE();
    simt_hooks.copy_async(simt_hooks.executor, (uintptr_t)to, (uintptr_t)from, 16, valid ? 16 : 0);
}
SIMT_UNCHECKED inline void copy_commit() { simt_hooks.copy_commit(simt_hooks.executor); }
template <int PENDING>
SIMT_UNCHECKED void copy_wait() {
    simt_hooks.copy_wait(simt_hooks.executor, PENDING);
}

// Reads `bytes` bytes of a matrix row on behalf of this lane.
SIMT_UNCHECKED inline unsigned simt_row_bits(uintptr_t row, unsigned offset, unsigned bytes) {
    if (row % 16 != 0) simt_hooks.fault(simt_hooks.executor, "a matrix row is not aligned to 16 bytes");
    simt_hooks.access(simt_hooks.executor, row + offset, bytes, 0, 1);
    unsigned bits = 0;
    __builtin_memcpy(&bits, (const char*)row + offset, bytes);
    return bits;
}

SIMT_UNCHECKED inline void load_matrices(unsigned (&fragment)[4], const void* row) {
    const SimtWarp<uintptr_t> rows = simt_exchange((uintptr_t)row, 1);
    SIMT_PLACE();  // after the exchange, during which other lanes run
    const unsigned lane = simt_lane();
    for (unsigned matrix = 0; matrix < 4; ++matrix) {
        fragment[matrix] = simt_row_bits(rows.lane[8 * matrix + lane / 4], 4 * (lane % 4), 4);
    }
}

SIMT_UNCHECKED inline void load_matrices_transposed(unsigned (&fragment)[4], const void* row) {
    const SimtWarp<uintptr_t> rows = simt_exchange((uintptr_t)row, 2);
    SIMT_PLACE();  // after the exchange, during which other lanes run
    const unsigned lane = simt_lane();
    for (unsigned matrix = 0; matrix < 4; ++matrix) {
        const uintptr_t* first = rows.lane + 8 * matrix + 2 * (lane % 4);
        fragment[matrix] = simt_row_bits(first[0], 2 * (lane / 4), 2) | simt_row_bits(first[1], 2 * (lane / 4), 2) << 16;
    }
}

struct SimtFragments {
    unsigned a[4], b[2];
};

// Value `within` (0 ... PRODUCT_VALUES - 1) of one row, which spans two registers of a lane.
SIMT_UNCHECKED inline float simt_value(const unsigned first_chunk, const unsigned second_chunk, unsigned within) {
#if OPERAND_BITS == 16
    const unsigned bits = within < 2 ? first_chunk : second_chunk;
    return __uint_as_float(within % 2 == 0 ? bits << 16 : bits & 0xffff0000u);
#else
    // The hardware reads the 19 high bits of a tf32 operand.
    return __uint_as_float((within == 0 ? first_chunk : second_chunk) & ~0x1fffu);
#endif
}

SIMT_UNCHECKED inline void multiply_add(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    const SimtFragments mine = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
    const SimtWarp<SimtFragments> all = simt_exchange(mine, 3);
    const unsigned lane = simt_lane(), group = lane / 4, within = lane % 4;
    for (unsigned element = 0; element < 4; ++element) {
        const unsigned half = element / 2, column = 2 * within + element % 2;
        float total = sum[element];
        // Lanes 4g ... 4g + 3 hold row g of a (and row g + 8 in the odd registers) and column g of b.
        for (unsigned quarter = 0; quarter < 4; ++quarter) {
            const unsigned* left = all.lane[4 * group + quarter].a;
            const unsigned* right = all.lane[4 * column + quarter].b;
            for (unsigned value = 0; value < PRODUCT_VALUES / 4; ++value) {
                total += simt_value(left[half], left[half + 2], value) * simt_value(right[0], right[1], value);
            }
        }
        sum[element] = total;
    }
}
