//! Vectors of `f32` in three instruction sets, one of which is chosen at run time, and what every computation on a
//! processor is made of: memory for vectors, a tile of a matrix product, the transforms of minimal filtering.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod filtering;
pub(crate) mod memory;
pub(crate) mod phases;
mod portable;
pub(crate) mod product;
pub(crate) mod tanh;

/// Which instructions kernels are compiled to.
///
/// Results are the same bits on every machine with the same set, and differ by rounding between sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionSet {
    /// 16 lanes, fused multiply-add.
    Avx512,
    /// 8 lanes, fused multiply-add.
    Avx2,
    /// Whatever the compiler makes of plain arithmetic for the target it was told.
    Portable,
}

impl InstructionSet {
    /// The fastest that this processor has.
    pub fn best() -> Self {
        Self::available().next().unwrap_or(InstructionSet::Portable)
    }

    /// All that this processor has, fastest first; the last is [`InstructionSet::Portable`].
    pub fn available() -> impl Iterator<Item = Self> {
        [Self::Avx512, Self::Avx2, Self::Portable]
            .into_iter()
            .filter(|set| set.is_available())
    }

    /// Whether this processor has it.
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

    /// The name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "AVX-512",
            Self::Avx2 => "AVX2",
            Self::Portable => "portable",
        }
    }

    /// Lanes of a vector.
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

    /// Runs a kernel that was compiled to these instructions; to plain ones where the processor lacks them.
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

/// Code that is compiled once for each instruction set. `run`, and what it calls for each element, must be inlined.
pub(crate) trait Kernel {
    type Output;
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// An instruction set; a value of the type is the proof that the processor has it.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    type Vector: Copy;
    /// Values in a vector; divides a block of channels.
    const LANES: usize;
    /// Rows of a tile of the matrix product that, with two vectors each, fit into the registers.
    const ROWS: usize;

    fn splat(self, value: f32) -> Self::Vector;
    /// # Safety
    /// `LANES` values at `from` must be readable.
    unsafe fn load(self, from: *const f32) -> Self::Vector;
    /// # Safety
    /// `LANES` values at `to` must be writable.
    unsafe fn store(self, to: *mut f32, vector: Self::Vector);
    /// Asks for the values around `from`, which may point anywhere, to be brought to the second-level cache.
    fn fetch(self, from: *const f32);
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn subtract(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn multiply(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a·b + c, rounded once where the instruction set can.
    fn multiply_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// max(a, 0), and what is no number stays none.
    fn rectify(self, a: Self::Vector) -> Self::Vector;
}
