//! Kernels, launches, and the work of a launch.

use crate::tier::Tier;
use crate::tile::Tile;

/// One `__global__` function.
#[derive(Debug)]
pub struct Kernel {
    /// Name in the source, in profilers and in error messages.
    pub name: &'static str,
    /// Defining file in `cuda/`, e.g. `convolution.cu`.
    pub source: &'static str,
    /// Hardware features that it needs.
    pub tier: Tier,
    /// Result.
    pub summary: &'static str,
    /// Difference to the simpler kernel of its kind, and the gain.
    pub ladder: &'static str,
}

/// Declares a kernel: file, tier, name, result, and ladder note.
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

/// Unit of compilation: a source with its constants.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Module {
    /// File in `cuda/`.
    pub source: &'static str,
    /// Hardware features that its kernels need.
    pub tier: Tier,
    /// Macros defined before the source, by name.
    pub constants: Vec<(&'static str, u32)>,
}

impl Module {
    /// The module that contains `kernel`, compiled with `constants`.
    pub fn new(kernel: &Kernel, constants: Vec<(&'static str, u32)>) -> Self {
        Self {
            source: kernel.source,
            tier: kernel.tier,
            constants,
        }
    }

    /// The constants as compiler options: `-DNAME=VALUE`.
    pub fn options(&self) -> Vec<String> {
        self.constants
            .iter()
            .map(|(name, value)| format!("-D{name}={value}"))
            .collect()
    }

    /// The constants as text, as in `bf16 128×64 5×5/2`: operands, tile, window and stride.
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

    /// Value of a constant; 0 if it is not defined.
    fn constant(&self, name: &str) -> u32 {
        let found = self.constants.iter().find(|(known, _)| *known == name);
        found.map_or(0, |&(_, value)| value)
    }

    /// Bytes of dynamic shared memory that a launch must provide.
    pub fn dynamic_shared_bytes(&self) -> u32 {
        let [rows, columns, stages] =
            ["TILE_M", "TILE_N", "STAGES"].map(|name| self.constant(name) as usize);
        Tile::new(rows, columns, stages).shared_bytes(self.tier) as u32
    }

    /// Compilation target for an architecture such as 90; `None` if its kernels do not run there.
    pub fn target(&self, architecture: i32) -> Option<String> {
        match self.tier {
            Tier::Tiled if architecture < 80 => None,
            // Features of a single generation need its `a` target.
            Tier::Hopper => (architecture == 90).then(|| "sm_90a".to_owned()),
            Tier::Plain | Tier::Tiled => Some(format!("sm_{architecture}")),
        }
    }
}

/// Lower bounds on the work of any implementation of a launch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Arithmetic operations of the direct method; a multiply-add counts as two.
    ///
    /// Multiplications by padding zeros are included.
    pub operations: f64,
    /// Bytes read from and written to device memory if every operand passes through it once.
    pub bytes: f64,
}

/// A kernel with everything except its arguments.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Kernel to run.
    pub kernel: &'static Kernel,
    /// Module that contains it.
    pub module: Module,
    /// Blocks along x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y and z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory per block.
    pub shared_bytes: u32,
    /// Lower bounds on its work.
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
        let module = Module::new(kernel, constants);
        Self {
            kernel,
            shared_bytes: module.dynamic_shared_bytes(),
            module,
            // Extents beyond 32 bits saturate; the launch then fails like any other that exceeds the device's limits.
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
