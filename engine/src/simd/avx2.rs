//! AVX2 with fused multiply-add: 8 lanes, 16 registers.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{Kernel, Simd};

/// Proof that the CPU supports these instructions: only [`Avx2::detect`] creates one.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }

    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma")]
        fn compiled<K: Kernel>(simd: Avx2, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        // SAFETY: `self` proves that the CPU supports the instructions.
        unsafe { compiled(self, kernel) }
    }
}

// SAFETY of every block below: `self` proves that the CPU supports the instructions; the trait documents the
// requirements on pointers.
impl Simd for Avx2 {
    type Vector = __m256;
    const LANES: usize = 8;
    const ROWS: usize = 6;

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, vector: __m256) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(to, vector) }
    }

    #[inline(always)]
    fn fetch(self, from: *const f32) {
        // SAFETY: see above; a prefetch of any address only affects time.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn subtract(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn multiply(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn multiply_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn rectify(self, a: __m256) -> __m256 {
        // SAFETY: see above. The instruction returns its second operand if either is NaN.
        unsafe { _mm256_max_ps(_mm256_setzero_ps(), a) }
    }
}
