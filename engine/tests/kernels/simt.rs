//! The executor detects the faults that it documents.
//!
//! Each test injects one fault into a kernel that is correct without it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use cosmogan_engine::backend::cache::Cache;
use cosmogan_engine::backend::launch::{Allocation, Arguments, KernelDevice};
use cosmogan_engine::backend::simt::SimtLauncher;
use cosmogan_kernels::{Kernel, Launch, Module, Tier, Work};

/// Reverses the values of each block of 64 through shared memory.
///
/// `FAULT` selects the fault.
const REVERSE: &str = r#"
__device__ inline void wait() { __syncthreads(); }

extern "C" __global__ void reverse(const float* x, float* y) {
    __shared__ float tile[64];
    __shared__ float other[64];
    const int i = threadIdx.x, at = blockIdx.x * 64 + i;
    tile[i] = other[i] = 0.0f;
    wait();
#if FAULT == 1
    tile[i] = x[at + 1];
#elif FAULT == 2
    tile[i + 1] = x[at];
#elif FAULT == 3
    __shared__ float fresh[64];
    if (i != 5) fresh[i] = x[at];
    tile[i] = fresh[i];
#elif FAULT == 4
    tile[i] = *(const float*)((const char*)(x + at) + (i == 7 ? 2 : 0));
#else
    tile[i] = x[at];
#endif
#if FAULT == 5
    if (i >= 60) return;
    wait();
#elif FAULT == 6
    if (i < 32) { __syncthreads(); } else {
        __syncthreads();
    }
#elif FAULT != 7
    wait();
#endif
    y[at] = tile[63 - i] + other[i];
#if FAULT == 8
    tile[i] = 0.0f;
#elif FAULT == 9
    y[(at + 64) % 128] = 0.0f;
#elif FAULT == 10
    if (i % 32 < 16) y[at] += __shfl_xor_sync(0xffffffffu, 1.0f, 1);
#elif FAULT == 11
    if (i == 3) *(float4*)(y + at) = float4{};
#endif
}
"#;

/// Copies 128 values through shared memory asynchronously.
const COPY: &str = r#"
#include "mma.cuh"

extern "C" __global__ void copy(const float* x, float* y) {
    __shared__ uint4 tile[32];
    const float* values = (const float*)tile;
    const int i = threadIdx.x;
    tile[i] = uint4{};
    __syncthreads();
#if FAULT == 1
    copy_async(tile + i, x + 4 * i + 1, true);
#else
    copy_async(tile + i, x + 4 * i, i < 24);
#endif
    copy_commit();
#if FAULT == 2
    y[i] = values[4 * i];
#endif
#if FAULT != 3
    copy_wait<0>();
#endif
#if FAULT != 4
    __syncthreads();
#endif
#if FAULT == 5
    copy_async(tile + (i + 1) % 32, x, true);
    copy_commit();
    copy_wait<0>();
#endif
    for (int j = 0; j < 4; ++j) y[4 * i + j] = values[4 * (31 - i) + j];
}
"#;

static KERNELS: [Kernel; 2] = [kernel("reverse", "reverse.cu"), kernel("copy", "copy.cu")];
static TILED: Kernel = Kernel {
    tier: Tier::Tiled,
    ..kernel("copy", "copy.cu")
};

const fn kernel(name: &'static str, source: &'static str) -> Kernel {
    Kernel {
        name,
        source,
        tier: Tier::Plain,
        summary: "",
        ladder: "",
    }
}

struct Bench {
    launcher: SimtLauncher,
    x: Box<dyn Allocation>,
    y: Box<dyn Allocation>,
    _cache: tempfile::TempDir,
}

const LENGTH: usize = 128;

impl Bench {
    fn new(seed: u64) -> Self {
        let cache = tempfile::tempdir().unwrap();
        let launcher = SimtLauncher::with_cache(seed, Cache::at(cache.path())).unwrap();
        let x = launcher.allocate(4 * LENGTH).unwrap();
        let y = launcher.allocate(4 * LENGTH).unwrap();
        let values: Vec<_> = (0..LENGTH).map(|value| value as f32).collect();
        launcher.write(&*x, 0, &values).unwrap();
        Self {
            launcher,
            x,
            y,
            _cache: cache,
        }
    }

    fn run(&self, kernel: &'static Kernel, source: &str, fault: u32) -> Result<Vec<f32>, String> {
        let [blocks, threads] = if kernel.name == "reverse" {
            [2, 64]
        } else {
            [1, 32]
        };
        let launch = Launch {
            kernel,
            module: Module::new(kernel, vec![("FAULT", fault), ("OPERAND_BITS", 32)]),
            grid: [blocks, 1, 1],
            block: [threads, 1, 1],
            shared_bytes: 0,
            work: Work::default(),
        };
        let arguments = Arguments::new()
            .address(self.x.address())
            .address(self.y.address());
        self.launcher
            .launch_source(source, &launch, &arguments)
            .map_err(|error| error.to_string())?;
        let mut values = vec![0.0; LENGTH];
        self.launcher.read(&*self.y, &mut values).unwrap();
        Ok(values)
    }
}

/// Checks that the fault is detected in every order of threads, and that the message contains all of `words`.
fn expect_fault(kernel: usize, source: &str, fault: u32, words: &[&str]) {
    for seed in 0..3 {
        let problem = Bench::new(seed)
            .run(&KERNELS[kernel], source, fault)
            .expect_err("the fault went unnoticed");
        for word in words
            .iter()
            .chain(&[&*format!("kernel {}", KERNELS[kernel].name), "thread"])
        {
            assert!(problem.contains(word), "{word:?} is not in: {problem}");
        }
    }
}

#[test]
fn without_a_fault_both_kernels_are_right() {
    for seed in 0..5 {
        let bench = Bench::new(seed);
        let reversed = bench.run(&KERNELS[0], REVERSE, 0).unwrap();
        let expected: Vec<_> = (0..LENGTH)
            .map(|i| (i / 64 * 64 + 63 - i % 64) as f32)
            .collect();
        assert_eq!(reversed, expected);
        let copied = bench.run(&KERNELS[1], COPY, 0).unwrap();
        for (at, value) in copied.into_iter().enumerate() {
            let from = 4 * (31 - at / 4) + at % 4;
            // The last eight copies write zeros.
            assert_eq!(value, if from < 96 { from as f32 } else { 0.0 });
        }
    }
}

#[test]
fn a_fault_names_its_source_line() {
    if std::process::Command::new("addr2line")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("skipped: addr2line (binutils) is not installed");
        return;
    }
    let line = |source: &str, text: &str| {
        let mut lines = source.lines();
        1 + lines.position(|line| line.contains(text)).unwrap()
    };
    let read = format!("reverse.cu:{}: ", line(REVERSE, "tile[i] = x[at + 1]"));
    expect_fault(0, REVERSE, 1, &[&read]);
    let write = format!("reverse.cu:{}: ", line(REVERSE, "tile[i + 1] = x[at]"));
    expect_fault(0, REVERSE, 2, &[&write]);
    // Of an operation that the executor's own headers implement, the caller's.
    let copy = format!("copy.cu:{}: ", line(COPY, "x + 4 * i + 1"));
    expect_fault(1, COPY, 1, &[&copy]);
}

#[test]
fn global_memory_out_of_bounds() {
    expect_fault(0, REVERSE, 1, &["read of 4 bytes", "outside every buffer"]);
}

#[test]
fn shared_memory_out_of_bounds() {
    expect_fault(
        0,
        REVERSE,
        2,
        &["write of 4 bytes", "outside every shared array"],
    );
}

#[test]
fn memory_that_was_never_written() {
    expect_fault(0, REVERSE, 3, &["never written"]);
}

#[test]
fn misaligned_accesses() {
    expect_fault(0, REVERSE, 4, &["not aligned"]);
    expect_fault(0, REVERSE, 11, &["write of 16 bytes", "not aligned"]);
    expect_fault(1, COPY, 1, &["not aligned"]);
}

#[test]
fn barriers_that_not_all_threads_come_to() {
    expect_fault(
        0,
        REVERSE,
        5,
        &["divergent barrier", "the end of the kernel"],
    );
    expect_fault(0, REVERSE, 6, &["divergent barrier", "the barrier in line"]);
}

#[test]
fn races_in_shared_memory() {
    expect_fault(0, REVERSE, 7, &["shared memory", "without a barrier"]);
    expect_fault(0, REVERSE, 8, &["shared memory", "without a barrier"]);
}

#[test]
fn races_between_blocks() {
    expect_fault(
        0,
        REVERSE,
        9,
        &["buffer", "another thread", "without a barrier"],
    );
}

#[test]
fn warp_operations_that_not_all_lanes_come_to() {
    expect_fault(0, REVERSE, 10, &["warp operation"]);
}

#[test]
fn asynchronous_copies() {
    expect_fault(1, COPY, 2, &["asynchronous copy that is still in flight"]);
    expect_fault(1, COPY, 3, &["asynchronous copy"]);
    expect_fault(1, COPY, 4, &["without a barrier"]);
    expect_fault(1, COPY, 5, &["without a barrier"]);
}

#[test]
fn arguments_that_do_not_fit_the_kernel() {
    let bench = Bench::new(0);
    let launch = Launch {
        kernel: &KERNELS[0],
        module: Module::new(&KERNELS[0], vec![("FAULT", 0)]),
        grid: [1, 1, 1],
        block: [64, 1, 1],
        shared_bytes: 0,
        work: Work::default(),
    };
    let arguments = Arguments::new().address(bench.x.address()).int(3);
    let refused = bench
        .launcher
        .launch_source(REVERSE, &launch, &arguments)
        .unwrap_err();
    assert!(refused.to_string().contains("[8, 8] bytes"), "{refused}");
}

/// A kernel may declare 48 KiB in all its functions; other kernels of its source do not count.
#[test]
fn more_shared_memory_than_a_gpu_has() {
    const SOURCE: &str = r#"
extern "C" __global__ void copy(const float* x, float* y) {
    __shared__ float first[BYTES / 4];
    first[threadIdx.x] = x[threadIdx.x];
    __shared__ float second[128];
    second[threadIdx.x] = first[threadIdx.x];
    y[threadIdx.x] = second[threadIdx.x];
}
extern "C" __global__ void other(float* y) {
    __shared__ float array[1 << 12];
    array[threadIdx.x] = y[threadIdx.x];
}
"#;
    let bench = Bench::new(0);
    let run = |kernel: &'static Kernel, first: u32, given: u32| {
        let launch = Launch {
            kernel,
            module: Module::new(kernel, vec![("BYTES", first)]),
            grid: [1, 1, 1],
            block: [32, 1, 1],
            shared_bytes: given,
            work: Work::default(),
        };
        let arguments = Arguments::new()
            .address(bench.x.address())
            .address(bench.y.address());
        let outcome = bench.launcher.launch_source(SOURCE, &launch, &arguments);
        outcome.map_err(|error| error.to_string())
    };
    let rest = (48 << 10) - 512;
    let plain = &KERNELS[1];
    run(plain, rest, 0).unwrap();
    run(plain, rest - 128, 128).unwrap();
    run(&TILED, rest, 51 << 10).unwrap();
    for (refused, words) in [
        (
            run(plain, rest, 1),
            "49152 bytes of static and 1 of dynamic shared memory exceed the 49152 bytes",
        ),
        (
            run(&TILED, rest, (51 << 10) + 1),
            "and 52225 of dynamic shared memory exceed the 101376 bytes",
        ),
        (
            run(&TILED, rest + 128, 0),
            "49280 bytes of static shared memory exceed the limit of 49152",
        ),
    ] {
        let refused = refused.unwrap_err();
        assert!(
            refused.contains("kernel copy") && refused.contains(words),
            "{refused}"
        );
    }
}

#[test]
fn a_source_that_does_not_compile() {
    let bench = Bench::new(0);
    let problem = bench
        .run(
            &KERNELS[0],
            "extern \"C\" __global__ void reverse(const float* x, float* y) { flaot z; }",
            0,
        )
        .unwrap_err();
    assert!(
        problem.contains("reverse.cu") && problem.contains("flaot"),
        "{problem}"
    );
    assert!(!problem.contains('\n'), "{problem}");
}
