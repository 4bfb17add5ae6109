//! Plain arithmetic on four values at a time, which compilers translate to SSE2, NEON or scalar code.
#![allow(unsafe_code)]

use super::Simd;

#[derive(Clone, Copy)]
pub(crate) struct Portable;

#[derive(Clone, Copy)]
pub(crate) struct Four([f32; 4]);

#[inline(always)]
fn zip(a: Four, b: Four, function: impl Fn(f32, f32) -> f32) -> Four {
    Four([
        function(a.0[0], b.0[0]),
        function(a.0[1], b.0[1]),
        function(a.0[2], b.0[2]),
        function(a.0[3], b.0[3]),
    ])
}

impl Simd for Portable {
    type Vector = Four;
    const LANES: usize = 4;
    const ROWS: usize = 4;

    #[inline(always)]
    fn splat(self, value: f32) -> Four {
        Four([value; 4])
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Four {
        // SAFETY: the caller guarantees four readable values, and f32 may lie at any multiple of its size.
        Four(unsafe { from.cast::<[f32; 4]>().read() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, vector: Four) {
        // SAFETY: the caller guarantees four writable values.
        unsafe { to.cast::<[f32; 4]>().write(vector.0) }
    }

    /// Does nothing: plain arithmetic has no prefetch.
    #[inline(always)]
    fn fetch(self, _: *const f32) {}

    #[inline(always)]
    fn add(self, a: Four, b: Four) -> Four {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn subtract(self, a: Four, b: Four) -> Four {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn multiply(self, a: Four, b: Four) -> Four {
        zip(a, b, |a, b| a * b)
    }

    /// Rounded twice: without hardware support, a fused multiply-add is a slow function call.
    #[inline(always)]
    fn multiply_add(self, a: Four, b: Four, c: Four) -> Four {
        self.add(self.multiply(a, b), c)
    }

    #[inline(always)]
    fn rectify(self, a: Four) -> Four {
        zip(Four([0.0; 4]), a, |zero, a| if zero > a { zero } else { a })
    }
}
