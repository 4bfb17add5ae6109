//! Vectors of `f32` in three instruction sets, selected at run time.
//!
//! Also the building blocks of all CPU computations: memory for vectors, a register tile of a GEMM, the transforms of
//! Winograd (minimal) filtering.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod memory;
pub(crate) mod phases;
mod portable;
pub(crate) mod product;
pub(crate) mod tanh;
pub(crate) mod winograd;

/// Instruction set for which kernels are compiled.
///
/// Results are the same bits on every machine with the same set, and differ by rounding between sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionSet {
    /// 16 lanes, fused multiply-add.
    Avx512,
    /// 8 lanes, fused multiply-add.
    Avx2,
    /// Plain arithmetic, compiled for the target of the build.
    Portable,
}

impl InstructionSet {
    /// The fastest set that this CPU supports.
    pub fn best() -> Self {
        Self::available().next().unwrap_or(InstructionSet::Portable)
    }

    /// All sets that this CPU supports, fastest first; the last one is [`InstructionSet::Portable`].
    pub fn available() -> impl Iterator<Item = Self> {
        [Self::Avx512, Self::Avx2, Self::Portable]
            .into_iter()
            .filter(|set| set.is_available())
    }

    /// Whether this CPU supports it.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => avx512::Avx512::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::Avx2::detect().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512 | Self::Avx2 => false,
            Self::Portable => true,
        }
    }

    /// Display name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "AVX-512",
            Self::Avx2 => "AVX2",
            Self::Portable => "portable",
        }
    }

    /// Number of lanes of a vector.
    pub(crate) fn lanes(self) -> usize {
        struct Lanes;
        impl Kernel for Lanes {
            type Output = usize;
            fn run<S: Simd>(self, _: S) -> usize {
                S::LANES
            }
        }
        self.dispatch(Lanes)
    }

    /// Runs a kernel compiled for these instructions, or for plain ones if the CPU does not support them.
    pub(crate) fn dispatch<K: Kernel>(self, kernel: K) -> K::Output {
        #[cfg(target_arch = "x86_64")]
        match self {
            Self::Avx512 => {
                if let Some(simd) = avx512::Avx512::detect() {
                    return simd.run(kernel);
                }
            }
            Self::Avx2 => {
                if let Some(simd) = avx2::Avx2::detect() {
                    return simd.run(kernel);
                }
            }
            Self::Portable => {}
        }
        kernel.run(portable::Portable)
    }
}

/// Code that is compiled once per instruction set.
///
/// `run`, and all that it calls per element, must be inlined.
pub(crate) trait Kernel {
    type Output;
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// An instruction set; a value of the type proves that the CPU supports it.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    type Vector: Copy;
    /// Values in a vector; divides a block of channels.
    const LANES: usize;
    /// Rows of a GEMM tile that, with two vectors each, fit the registers.
    const ROWS: usize;

    fn splat(self, value: f32) -> Self::Vector;
    /// # Safety
    /// `LANES` values at `from` must be readable.
    unsafe fn load(self, from: *const f32) -> Self::Vector;
    /// # Safety
    /// `LANES` values at `to` must be writable.
    unsafe fn store(self, to: *mut f32, vector: Self::Vector);
    /// Prefetches the values around `from`, which may be any address, to the second-level cache.
    fn fetch(self, from: *const f32);
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn subtract(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn multiply(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a·b + c, rounded once if the instruction set supports it.
    fn multiply_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// max(a, 0); NaN stays NaN.
    fn rectify(self, a: Self::Vector) -> Self::Vector;
}
