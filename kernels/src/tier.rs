//! Generations of hardware features.

/// Generation of hardware features that a kernel uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// Short reference kernels in f32. They run on every GPU.
    Plain,
    /// Tiled GEMMs whose operands `cp.async` copies to shared memory.
    ///
    /// They use `mma.sync` on tensor cores for tf32 or bf16 operands, and multiply-adds for f32. Needs compute
    /// capability 8.0.
    Tiled,
    /// Tiled GEMMs by warpgroup instructions (`wgmma`), in tf32 and bf16.
    ///
    /// The tensor memory accelerator copies operands to shared memory. Needs compute capability 9.0 exactly: they are
    /// compiled for `sm_90a`.
    Hopper,
}

/// Bytes of static shared memory that a kernel may declare on any GPU; the rest must be dynamic.
pub const DECLARED_SHARED_BYTES: u32 = 48 << 10;

impl Tier {
    /// Bytes of shared memory that a block may use on every GPU that the tier supports.
    ///
    /// Static and dynamic memory count (CUDA C++ programming guide, "Technical specifications per compute
    /// capability").
    pub const fn shared_bytes(self) -> u32 {
        match self {
            Self::Plain => 48 << 10,
            // 163 KiB on 8.0, and 99 KiB on 8.6 and 8.9.
            Self::Tiled => 99 << 10,
            Self::Hopper => 227 << 10,
        }
    }
}
