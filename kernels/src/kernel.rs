//! A kernel, a launch of it, and the work that a launch stands for.

use crate::manifest::MANIFEST;
use crate::tuning::Tile;

/// How a kernel goes about its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// As short and obvious as a kernel can be, in f32. Runs on every GPU.
    Plain,
    /// Matrix products in tiles that `cp.async` brings to shared memory: by `mma.sync` on tensor cores where operands
    /// are tf32 or bf16, by multiply-adds where they are f32. Needs compute capability 8.0.
    Tiled,
    /// Matrix products of warpgroups (`wgmma`) in tiles that the tensor memory accelerator brings to shared memory, in
    /// tf32 and bf16. Needs compute capability 9.0 exactly: they are compiled for `sm_90a`.
    Hopper,
}

/// Bytes of shared memory that a kernel may declare: on any GPU, what is beyond has to be given by the launch.
pub const DECLARED_SHARED_BYTES: u32 = 48 << 10;

impl Tier {
    /// Bytes of shared memory that a block may have on every GPU that the tier runs on, declared and given by the launch
    /// (CUDA C++ programming guide, "Technical specifications per compute capability").
    pub const fn shared_bytes(self) -> u32 {
        match self {
            Self::Plain => 48 << 10,
            // 163 KiB on 8.0, and 99 KiB on 8.6 and 8.9.
            Self::Tiled => 99 << 10,
            Self::Hopper => 227 << 10,
        }
    }
}

/// One `__global__` function.
#[derive(Debug)]
pub struct Kernel {
    /// Its name in the source, in profilers and in error messages.
    pub name: &'static str,
    /// The file in `cuda/` that defines it, e.g. `convolution.cu`.
    pub source: &'static str,
    /// How it goes about its job.
    pub tier: Tier,
    /// What it computes.
    pub summary: &'static str,
    /// What it does that the plain kernel of its kind does not, and what that buys.
    pub ladder: &'static str,
}

/// Declares a kernel: its file and tier, then its name, what it computes, and its ladder note.
macro_rules! kernel {
    ($(#[$meta:meta])* $constant:ident, $source:literal, $tier:ident, $name:literal, $summary:literal, $ladder:literal $(,)?) => {
        $(#[$meta])*
        pub static $constant: $crate::Kernel = $crate::Kernel {
            name: $name,
            source: $source,
            tier: $crate::Tier::$tier,
            summary: $summary,
            ladder: $ladder,
        };
    };
}
pub(crate) use kernel;

/// What is compiled at once: a source with its constants.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Module {
    /// The file in `cuda/`.
    pub source: &'static str,
    /// Macros that are defined before it, by name.
    pub constants: Vec<(&'static str, u32)>,
}

impl Module {
    /// The constants as a compiler takes them: `-DNAME=VALUE`.
    pub fn options(&self) -> Vec<String> {
        self.constants
            .iter()
            .map(|(name, value)| format!("-D{name}={value}"))
            .collect()
    }

    /// The constants in the words of the field, as in `bf16 128×64 5×5/2`: operands, tile, window and stride.
    pub fn specialisation(&self) -> String {
        let mut words = Vec::new();
        for &(name, value) in &self.constants {
            match (name, value) {
                ("OPERAND_BITS", 16) => words.push("bf16".to_owned()),
                ("OPERAND_BITS", 19) => words.push("tf32".to_owned()),
                ("OPERAND_BITS", 32) => words.push("f32".to_owned()),
                ("TILE_M", rows) => words.push(format!("{rows}×{}", self.constant("TILE_N"))),
                ("STAGES", stages) => words.push(format!("{stages} stages")),
                ("PHASES", phases) => words.push(format!("{phases} phases")),
                ("WINDOW_ROWS", rows) => words.push(format!("{rows}×{rows}/2")),
                _ => {}
            }
        }
        words.join(" ")
    }

    /// A constant; 0 where there is none of that name.
    fn constant(&self, name: &str) -> u32 {
        let found = self.constants.iter().find(|(known, _)| *known == name);
        found.map_or(0, |&(_, value)| value)
    }

    /// Bytes of shared memory that a launch has to give its kernels.
    pub fn dynamic_shared_bytes(&self) -> u32 {
        let [rows, columns, stages] =
            ["TILE_M", "TILE_N", "STAGES"].map(|name| self.constant(name) as usize);
        Tile::new(rows, columns, stages).shared_bytes(self.tier()) as u32
    }

    /// What it is compiled for on an architecture such as 90; `None` where its kernels do not run.
    pub fn target(&self, architecture: i32) -> Option<String> {
        match self.tier() {
            Tier::Tiled if architecture < 80 => None,
            // The instructions of one generation alone come with its own name.
            Tier::Hopper => (architecture == 90).then(|| "sm_90a".to_owned()),
            Tier::Plain | Tier::Tiled => Some(format!("sm_{architecture}")),
        }
    }

    /// The tier of its kernels.
    pub fn tier(&self) -> Tier {
        let mut kernels = MANIFEST.iter();
        let kernel = kernels.find(|kernel| kernel.source == self.source);
        kernel.map_or(Tier::Plain, |kernel| kernel.tier)
    }
}

/// What every implementation of a launch must do at least.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Arithmetic operations, a multiply-add counting as two; those of the direct method, products with
    /// the zeros around an image included.
    pub operations: f64,
    /// Bytes that must be read from and written to device memory if every operand passes through it once.
    pub bytes: f64,
}

/// A kernel with everything but its arguments.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What runs.
    pub kernel: &'static Kernel,
    /// What has to be compiled for it.
    pub module: Module,
    /// Blocks along x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y and z.
    pub block: [u32; 3],
    /// Bytes of shared memory of a block, besides what its kernel declares.
    pub shared_bytes: u32,
    /// What it costs at least.
    pub work: Work,
}

impl Launch {
    /// A launch of a kernel that takes no constants.
    pub(crate) fn new(
        kernel: &'static Kernel,
        grid: [usize; 3],
        block: [u32; 3],
        work: Work,
    ) -> Self {
        Self::specialised(kernel, Vec::new(), grid, block, work)
    }

    /// A launch of a kernel that is compiled with `constants`.
    pub(crate) fn specialised(
        kernel: &'static Kernel,
        constants: Vec<(&'static str, u32)>,
        grid: [usize; 3],
        block: [u32; 3],
        work: Work,
    ) -> Self {
        let module = Module {
            source: kernel.source,
            constants,
        };
        Self {
            kernel,
            shared_bytes: module.dynamic_shared_bytes(),
            module,
            // Extents beyond 32 bits saturate, and are refused with the other extents a device cannot launch.
            grid: grid.map(|extent| u32::try_from(extent).unwrap_or(u32::MAX)),
            block,
            work,
        }
    }
}

/// Bytes of `elements` values of f32.
pub(crate) fn f32_bytes(elements: usize) -> f64 {
    4.0 * elements as f64
}
