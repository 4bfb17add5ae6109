//! A kernel of one's own on the kernel executor: compared with a plain loop, and once with a race.
//!
//! ```
//! cargo run -p cosmogan-engine --example custom_kernel
//! ```
//!
//! It needs a C++ compiler (`c++`, or the one in `CXX`), and no GPU.

use cosmogan_engine::backend::launch::{Arguments, KernelDevice};
use cosmogan_engine::backend::simt::SimtLauncher;
use cosmogan_kernels::{Kernel, Launch, Module, Tier, Work};

/// Sum of each block's 64 values, by halves in shared memory. With `RACE`, all barriers but the first are missing.
const SOURCE: &str = r#"
extern "C" __global__ void block_sums(const float* x, float* sums) {
    __shared__ float part[64];
    const int i = threadIdx.x;
    part[i] = x[blockIdx.x * 64 + i];
    for (int half = 32; half > 0; half /= 2) {
        if (!RACE || half == 32) __syncthreads();
        if (i < half) part[i] += part[i + half];
    }
    if (i == 0) sums[blockIdx.x] = part[0];
}
"#;

static BLOCK_SUMS: Kernel = Kernel {
    name: "block_sums",
    source: "block_sums.cu",
    tier: Tier::Plain,
    summary: "sum of 64 values",
    ladder: "",
};

const BLOCKS: u32 = 4;

/// Runs the kernel on `x`, with its threads in the order that `seed` gives.
fn block_sums(x: &[f32], race: bool, seed: u64) -> cosmogan_engine::Result<Vec<f32>> {
    let launcher = SimtLauncher::new(seed)?;
    let input = launcher.allocate(size_of_val(x))?;
    let output = launcher.allocate(BLOCKS as usize * size_of::<f32>())?;
    launcher.write(&*input, 0, x)?;
    let launch = Launch {
        kernel: &BLOCK_SUMS,
        // Constants become macros: one source, several specialisations.
        module: Module::new(&BLOCK_SUMS, vec![("RACE", u32::from(race))]),
        grid: [BLOCKS, 1, 1],
        block: [64, 1, 1],
        shared_bytes: 0,
        work: Work::default(),
    };
    let arguments = Arguments::new()
        .address(input.address())
        .address(output.address());
    launcher.launch_source(SOURCE, &launch, &arguments)?;
    let mut sums = vec![0.0; BLOCKS as usize];
    launcher.read(&*output, &mut sums)?;
    Ok(sums)
}

fn main() -> cosmogan_engine::Result<()> {
    // Small integers, so that every order of additions gives the same sums.
    let x: Vec<f32> = (0..64 * BLOCKS).map(|i| (i % 10) as f32).collect();
    let expected: Vec<f32> = x.chunks(64).map(|block| block.iter().sum()).collect();
    for seed in 0..3 {
        assert_eq!(block_sums(&x, false, seed)?, expected);
    }
    println!("block_sums agrees with a plain loop: {expected:?}");
    match block_sums(&x, true, 0) {
        Err(error) => println!("without barriers: {error}"),
        Ok(_) => unreachable!("the executor reports every race"),
    }
    Ok(())
}
