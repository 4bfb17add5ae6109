//! Checks of the executor on TMA boxes, mbarriers and wgmma.
//!
//! Each test injects one fault into a kernel that is correct without it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::sync::LazyLock;

use cosmogan_engine::backend::cache::Cache;
use cosmogan_engine::backend::launch::{Arguments, KernelDevice};
use cosmogan_engine::backend::simt::SimtLauncher;
use cosmogan_kernels::Precision;
use cosmogan_kernels::tensor_map::TensorMap;
use cosmogan_kernels::{Kernel, Launch, Module, Tier, Work};
use tempfile::TempDir;

/// out[i, j] = sum over c of a[i, c] * b[j, c], both [64, 256] in bf16, in four slabs through two stages.
///
/// Four warps multiply, and one thread of a fifth copies. `FAULT` selects the fault.
const PRODUCT: &str = r#"
#include "hopper.cuh"

constexpr int HALF = 64 * SLAB_BYTES;
constexpr int BYTES = 5 * HALF;
DYNAMIC_SHARED(block_memory, BYTES)

extern "C" __global__ void product(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b, float* out) {
    unsigned char* const storage = block_memory();
    Mbarrier* const full = (Mbarrier*)(storage + 4 * HALF);
    Mbarrier* const empty = full + 2;
    if (threadIdx.x == 0) {
        for (int i = 0; i < 2; ++i) {
            mbarrier_init(full + i, 1);
            mbarrier_init(empty + i, 4);
        }
        if (FAULT != 7) mbarrier_init_fence();
    }
    if (FAULT != 13) __syncthreads();

    if (threadIdx.x >= WARPGROUP) {
        if (threadIdx.x > WARPGROUP) return;
        for (int slab = 0; slab < 4; ++slab) {
            const int stage = slab % 2, turn = slab / 2 % 2;
            if (FAULT != 3) mbarrier_wait(empty + stage, turn ^ 1);
            mbarrier_expect(full + stage, FAULT == 8 ? 2 * HALF + 128 : 2 * HALF);
            unsigned char* const to = storage + stage * 2 * HALF + (FAULT == 9 ? 128 : 0);
            tma_load(to, a, full + stage, slab * SLAB_VALUES, 0, 0);
            if (FAULT == 17) tma_load(storage + 4 * HALF, b, full + stage, 0, 0, 0);
            tma_load(to + HALF, b, full + stage, slab * SLAB_VALUES, 0, 0);
            if (FAULT == 16) to[0] = 1;
        }
        return;
    }

    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    float sum[32] = {};
    for (int slab = 0; slab < 4; ++slab) {
        const int stage = slab % 2, turn = slab / 2 % 2;
        if (FAULT == 2) {
            mbarrier_wait(full + stage, turn ^ 1);
        } else if (FAULT != 1 && !(FAULT == 11 && threadIdx.x == 37)) {
            mbarrier_wait(full + stage, turn);
        }
        if (FAULT != 5) wgmma_fence();
        const unsigned char* const left = storage + stage * 2 * HALF;
        for (int step = 0; step < SLAB_BYTES; step += 32) {
            const int stride = FAULT == 12 ? 4 * SLAB_BYTES : 8 * SLAB_BYTES;
            unsigned long long descriptor = wgmma_operand(left + step, 0, stride);
            if (FAULT == 15) descriptor &= ~(3ull << 62);
            if (FAULT == 18 && lane == 3) descriptor += 2;
            if (FAULT == 19 && warp == 1) descriptor += 2;
            wgmma<K_MAJOR>(sum, descriptor, wgmma_operand(left + HALF + step, 0, 8 * SLAB_BYTES));
        }
        wgmma_commit();
        if (FAULT == 20 && warp == 2) wgmma_commit();
        if (FAULT == 10 && lane == 0) mbarrier_arrive(empty + stage);
        if (FAULT != 6) wgmma_wait<0>();
        if (FAULT != 4 && FAULT != 10 && lane == 0) mbarrier_arrive(empty + stage);
        if (FAULT == 14 && threadIdx.x == 0) mbarrier_arrive(full + stage);
    }
    if (FAULT == 21 && warp != 3) {
        wgmma_fence();
        wgmma<K_MAJOR>(sum, wgmma_operand(storage, 0, 8 * SLAB_BYTES), wgmma_operand(storage, 0, 8 * SLAB_BYTES));
        wgmma_commit();
        wgmma_wait<0>();
    }
    for (int i = 0; i < 32; ++i) {
        const int row = 16 * warp + lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
        out[64 * row + column] = sum[i];
    }
}
"#;

static KERNEL: Kernel = Kernel {
    name: "product",
    source: "product.cu",
    tier: Tier::Hopper,
    summary: "",
    ladder: "",
};

/// Every fault is compiled once.
static CACHE: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

const DEPTH: usize = 256;

/// Small integers, which bf16 holds exactly.
fn value(matrix: usize, row: usize, channel: usize) -> f32 {
    ((row * 7 + channel * 3 + matrix * 5) % 11) as f32 - 5.0
}

/// Runs the GEMM with `fault`, with threads in the order of `seed`.
fn run(seed: u64, fault: u32, shared_bytes: u32) -> Result<Vec<f32>, String> {
    let launcher = SimtLauncher::with_cache(seed, Cache::at(CACHE.path())).unwrap();
    let map = TensorMap {
        operand: Precision::Bf16,
        extents: vec![DEPTH, 64, 1],
        boxes: vec![64, 64, 1],
        steps: vec![1, 1, 1],
    };
    let operands = [0, 1].map(|matrix| {
        // Two bf16 values in each f32.
        let pairs: Vec<f32> = (0..64 * DEPTH / 2)
            .map(|pair| {
                let bits = |at: usize| value(matrix, at / DEPTH, at % DEPTH).to_bits() >> 16;
                f32::from_bits(bits(2 * pair) | bits(2 * pair + 1) << 16)
            })
            .collect();
        let memory = launcher.allocate(4 * pairs.len()).unwrap();
        launcher.write(&*memory, 0, &pairs).unwrap();
        memory
    });
    let out = launcher.allocate(4 * 64 * 64).unwrap();
    let launch = Launch {
        kernel: &KERNEL,
        module: Module::new(&KERNEL, vec![("FAULT", fault), ("OPERAND_BITS", 16)]),
        grid: [1, 1, 1],
        block: [160, 1, 1],
        shared_bytes,
        work: Work::default(),
    };
    let arguments = operands.iter().fold(Arguments::new(), |arguments, memory| {
        arguments.bytes(&launcher.tensor_map(&map, memory.address()).unwrap())
    });
    launcher
        .launch_source(PRODUCT, &launch, &arguments.address(out.address()))
        .map_err(|error| error.to_string())?;
    let mut values = vec![0.0; 64 * 64];
    launcher.read(&*out, &mut values).unwrap();
    Ok(values)
}

const SHARED_BYTES: u32 = 5 * 64 * 128;

fn expected() -> Vec<f32> {
    let dot = |row: usize, column: usize| -> f32 {
        (0..DEPTH)
            .map(|channel| value(0, row, channel) * value(1, column, channel))
            .sum()
    };
    (0..64 * 64).map(|at| dot(at / 64, at % 64)).collect()
}

/// Checks that the fault is detected in every order of threads, and that the message contains one of `words`.
fn expect_fault(fault: u32, words: &[&str]) {
    for seed in 0..3 {
        let outcome = run(seed, fault, SHARED_BYTES).map(|_| ());
        let problem = outcome.expect_err("the fault went unnoticed");
        assert!(
            words.iter().any(|word| problem.contains(word)) && problem.contains("thread"),
            "none of {words:?} is in: {problem}"
        );
    }
}

#[test]
fn without_a_fault_the_product_is_right() {
    for seed in 0..3 {
        assert_eq!(run(seed, 0, SHARED_BYTES).unwrap(), expected());
    }
}

#[test]
fn a_box_that_nobody_waited_for() {
    expect_fault(1, &["still in flight", "no TMA copy has written"]);
    expect_fault(11, &["without waiting for its mbarrier"]);
}

#[test]
fn a_wait_for_the_wrong_phase() {
    expect_fault(2, &["still in flight", "no TMA copy has written"]);
}

#[test]
fn a_stage_that_is_not_empty() {
    expect_fault(3, &["expects no more arrivals", "another box in flight"]);
    expect_fault(10, &["no mbarrier orders the accesses", "still in flight"]);
}

#[test]
fn mbarriers_that_nobody_completes() {
    expect_fault(4, &["deadlock: it waits for phase parity"]);
    expect_fault(8, &["128 bytes missing), which no other thread"]);
}

#[test]
fn mbarriers_that_are_used_too_early_or_too_often() {
    expect_fault(7, &["before a fence"]);
    expect_fault(13, &["not initialised", "without a barrier"]);
    expect_fault(14, &["deadlock", "still in flight", "without waiting"]);
}

#[test]
fn boxes_where_they_must_not_be() {
    expect_fault(9, &["aligned to 1024"]);
    expect_fault(16, &["overwrites the target of a TMA copy"]);
    expect_fault(17, &["over an mbarrier"]);
}

#[test]
fn products_without_a_fence_or_a_wait() {
    expect_fault(5, &["without a fence"]);
    expect_fault(
        6,
        &[
            "deadlock",
            "wgmma is in flight",
            "no mbarrier",
            "another box in flight",
        ],
    );
}

#[test]
fn descriptors() {
    // Another stride is a valid descriptor, but gives other values.
    assert_ne!(run(0, 12, SHARED_BYTES).unwrap(), expected());
    expect_fault(15, &["does not select the 128-byte swizzle"]);
    expect_fault(18, &["different operands"]);
}

#[test]
fn warps_of_a_warpgroup_that_differ() {
    let other = "the warps of its warpgroup differ: it ";
    expect_fault(
        19,
        &[&format!("{other}multiplies by 64 columns, descriptors")],
    );
    expect_fault(20, &[&format!("{other}closes"), &format!("{other}waits")]);
    expect_fault(21, &[&format!("{other}ends, but another multiplies")]);
}

#[test]
fn a_launch_with_too_little_shared_memory() {
    let problem = run(0, 0, SHARED_BYTES - 1).unwrap_err();
    assert!(problem.contains("dynamic shared memory"), "{problem}");
}

#[test]
fn a_launch_with_more_shared_memory_than_there_is() {
    assert_eq!(run(0, 0, 227 << 10).unwrap(), expected());
    let problem = run(0, 0, (227 << 10) + 1).unwrap_err();
    assert!(
        problem.contains("and 232449 of dynamic shared memory exceed"),
        "{problem}"
    );
}

#[test]
fn tensors_that_the_hardware_does_not_take() {
    let launcher = SimtLauncher::new(0).unwrap();
    let right = TensorMap {
        operand: Precision::Bf16,
        extents: vec![64, 8, 8, 2],
        boxes: vec![64, 8, 8, 1],
        steps: vec![1, 2, 2, 1],
    };
    assert!(launcher.tensor_map(&right, 0).is_ok());
    let extents = |extents: [usize; 4]| TensorMap {
        extents: extents.to_vec(),
        ..right.clone()
    };
    let wrong = [
        extents([60, 8, 8, 2]),
        TensorMap {
            boxes: vec![32, 8, 8, 1],
            ..right.clone()
        },
        TensorMap {
            boxes: vec![64, 129, 1, 1],
            ..right.clone()
        },
        TensorMap {
            steps: vec![1, 9, 1, 1],
            ..right.clone()
        },
    ];
    for map in wrong {
        let refused = launcher.tensor_map(&map, 0).unwrap_err().to_string();
        assert!(!refused.contains('\n') && !refused.is_empty(), "{refused}");
    }
}
