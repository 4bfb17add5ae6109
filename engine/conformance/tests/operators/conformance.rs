//! Property tests: every operator on every device is within the oracle's bounds, at random and at given shapes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot prepare its data, or whose cases fail, has failed"
)]

use std::sync::Arc;

use cosmogan_conformance::{arithmetic, check, compute, conv_shape};
use cosmogan_engine::backend::cpu::CpuBackend;
use cosmogan_engine::backend::cuda::CudaLauncher;
use cosmogan_engine::backend::launch::LaunchBackend;
use cosmogan_engine::backend::simt::SimtLauncher;
use cosmogan_engine::backend::{Backend, Precision};
use cosmogan_engine::inference::InstructionSet;
use cosmogan_kernels::ConvProduct;
use cosmogan_kernels::convolution::ConvShape;
use cosmogan_kernels::tuning::Problem;
use cosmogan_kernels::{Launch, implicit_gemm, implicit_gemm_hopper, implicit_gemm_hopper_wgrad};
use cosmogan_oracle::cases::{Kind, Model};
use cosmogan_oracle::{Case, Operator};
use proptest::prelude::any;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// The CPU backend with outputs poisoned by NaN and guarded on both sides.
fn cpu() -> Arc<dyn Backend> {
    Arc::new(CpuBackend::checked())
}

/// The kernel executor (`simt`), which checks every access; `seed` determines the order of threads.
fn simt(precision: Precision, seed: u64) -> Arc<dyn Backend> {
    let launcher = SimtLauncher::new(seed).unwrap();
    Arc::new(LaunchBackend::new(Arc::new(launcher), precision).unwrap())
}

/// The first GPU, if there is one that supports `precision`.
fn cuda(precision: Precision) -> Option<Arc<dyn Backend>> {
    let backend =
        CudaLauncher::new(0).and_then(|launcher| LaunchBackend::new(Arc::new(launcher), precision));
    match backend {
        Ok(backend) => Some(Arc::new(backend.poisoned())),
        Err(error) => {
            println!("SKIPPED: {error}");
            None
        }
    }
}

fn conforms(
    case: &Case,
    device: &Arc<dyn Backend>,
    precision: Precision,
    most: usize,
) -> Result<f64, TestCaseError> {
    let found = check(case, device, &arithmetic(precision), most)
        .map_err(|error| TestCaseError::fail(format!("{case}: {error}")))?;
    if found.passed {
        return Ok(found.error);
    }
    let simpler: Vec<_> = case.shrink().iter().map(ToString::to_string).collect();
    Err(TestCaseError::fail(format!(
        "{case}: {} bounds in {}; simpler cases to try: {simpler:?}",
        found.error, found.detail
    )))
}

fn on_random_shapes(device: &Arc<dyn Backend>, precision: Precision, cases: u32) {
    let mut runner = TestRunner::new(Config {
        source_file: Some(file!()),
        ..Config::with_cases(cases)
    });
    let outcome = runner.run(&(0..Kind::ALL.len(), any::<u64>()), |(kind, seed)| {
        let case = Case::random(Kind::ALL[kind], seed);
        conforms(&case, device, precision, usize::MAX).map(|_| ())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// A model small enough for the executor, with all layers of the paper's model.
const TINY: Model = Model {
    output_size: 64,
    layers: 4,
    gf_dim: 16,
    df_dim: 16,
    z_dim: 64,
    c_dim: 1,
};

/// Convolutions with many channels, which random shapes lack: images of at most one tile, of whole tiles, and with
/// partial tiles at their edges; the last one has more tiles than are processed at a time. Those whose channels are
/// multiples of 16 use Winograd (minimal) filtering.
const MANY_CHANNELS: [&str; 9] = [
    "conv2d n=2 h=22 w=14 c=33 k=37 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=11",
    "conv2d n=1 h=2 w=4 c=64 k=48 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=12",
    "conv2d n=3 h=16 w=32 c=48 k=96 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=13",
    "conv_transpose2d n=2 h=5 w=11 c=37 k=33 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=14",
    "conv_transpose2d n=1 h=1 w=2 c=64 k=48 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=15",
    "conv_transpose2d n=3 h=8 w=16 c=96 k=48 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=16",
    "conv2d n=2 h=22 w=14 c=32 k=48 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=17",
    "conv_transpose2d n=2 h=5 w=11 c=48 k=32 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=18",
    "conv2d n=13 h=64 w=64 c=64 k=128 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=19",
];

/// Checks that results are within the bounds and that exactly these Hopper kernels ran.
fn on_hopper_kernels(precision: Precision, seed: u64, sources: &[&str]) {
    let launcher = Arc::new(SimtLauncher::new(seed).unwrap());
    let device = LaunchBackend::new(Arc::clone(&launcher) as Arc<_>, precision).unwrap();
    let device: Arc<dyn Backend> = Arc::new(device);
    at_given_shapes(&device, precision, &Case::hopper_set());
    let launched = launcher.sources();
    for source in sources {
        assert!(launched.contains(source), "{source} was not launched");
    }
    // There is no Hopper kernel for weight gradients in tf32.
    let hopper = |source: &&&str| source.contains("hopper");
    assert_eq!(launched.iter().filter(hopper).count(), sources.len());
}

fn at_given_shapes(device: &Arc<dyn Backend>, precision: Precision, cases: &[Case]) {
    let mut shares = Vec::new();
    for case in cases {
        let share =
            conforms(case, device, precision, 300).unwrap_or_else(|error| panic!("{error}"));
        shares.push((share, case.to_string()));
    }
    shares.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!("largest shares of the bound on {}:", device.description());
    for (share, case) in shares.iter().take(5) {
        println!("{share:.3}  {case}");
    }
}

fn parse(lines: &[&str]) -> Vec<Case> {
    lines.iter().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn the_cpu_on_random_shapes() {
    on_random_shapes(&cpu(), Precision::F32, 600);
}

#[test]
fn the_cpu_at_a_models_own_shapes() {
    at_given_shapes(&cpu(), Precision::F32, &Case::model_set(&TINY, 3, 1));
    at_given_shapes(&cpu(), Precision::F32, &Case::edge_set());
    at_given_shapes(&cpu(), Precision::F32, &parse(&MANY_CHANNELS));
}

/// The CPU rounds operands as the kernels do, which `precision.rs` tests.
#[test]
fn the_cpu_in_other_precisions() {
    for precision in [Precision::Tf32, Precision::Bf16] {
        let device: Arc<dyn Backend> = Arc::new(CpuBackend::checked().multiplying(precision));
        on_random_shapes(&device, precision, 100);
        at_given_shapes(&device, precision, &Case::model_set(&TINY, 3, 1));
        at_given_shapes(&device, precision, &parse(&MANY_CHANNELS[3..8]));
    }
}

#[test]
fn the_cpu_with_every_instruction_set() {
    for set in InstructionSet::available() {
        let device: Arc<dyn Backend> = Arc::new(CpuBackend::with_instructions(set));
        on_random_shapes(&device, Precision::F32, 50);
        at_given_shapes(&device, Precision::F32, &parse(&MANY_CHANNELS));
    }
}

#[test]
fn plain_kernels() {
    let launcher = SimtLauncher::new(0).unwrap();
    let device = LaunchBackend::new(Arc::new(launcher), Precision::F32).unwrap();
    let device: Arc<dyn Backend> = Arc::new(device.plain());
    on_random_shapes(&device, Precision::F32, 100);
    at_given_shapes(&device, Precision::F32, &Case::edge_set());
}

#[test]
fn kernels_in_f32() {
    let device = simt(Precision::F32, 1);
    on_random_shapes(&device, Precision::F32, 200);
    at_given_shapes(&device, Precision::F32, &Case::edge_set());
    at_given_shapes(&device, Precision::F32, &Case::model_set(&TINY, 1, 1));
}

#[test]
fn kernels_in_tf32() {
    let device = simt(Precision::Tf32, 2);
    on_random_shapes(&device, Precision::Tf32, 100);
    at_given_shapes(&device, Precision::Tf32, &Case::edge_set());
}

#[test]
fn kernels_in_bf16() {
    let device = simt(Precision::Bf16, 3);
    on_random_shapes(&device, Precision::Bf16, 100);
    at_given_shapes(&device, Precision::Bf16, &Case::edge_set());
}

#[test]
fn hopper_kernels_in_bf16() {
    let sources = ["implicit_gemm_hopper.cu", "implicit_gemm_hopper_wgrad.cu"];
    on_hopper_kernels(Precision::Bf16, 4, &sources);
}

#[test]
fn hopper_kernels_in_tf32() {
    on_hopper_kernels(Precision::Tf32, 5, &["implicit_gemm_hopper.cu"]);
}

/// The tiled kernels, which run at these shapes on GPUs of other generations.
#[test]
fn tiled_kernels_at_the_shapes_of_hopper_kernels() {
    let launcher = SimtLauncher::new(6).unwrap();
    let device = LaunchBackend::new(Arc::new(launcher), Precision::Bf16).unwrap();
    let device: Arc<dyn Backend> = Arc::new(device.without_hopper());
    at_given_shapes(&device, Precision::Bf16, &Case::hopper_set()[..1]);
}

/// Launches fit into the shared memory of the smallest GPU that each kernel runs on. Shared memory does not depend on
/// the batch.
#[test]
fn the_papers_launches_fit_in_shared_memory() {
    let launcher = SimtLauncher::new(0).unwrap();
    let fits = |launch: &Launch| launcher.check_shared_memory(launch).unwrap();
    let shapes: Vec<ConvShape> = Case::model_set(&Model::PAPER, 64, 0)
        .into_iter()
        .filter_map(|case| match case.operator {
            Operator::Conv2d(shape) | Operator::ConvTranspose2d(shape) => Some(conv_shape(&shape)),
            _ => None,
        })
        .collect();
    let mut hopper = 0;
    for operand in [Precision::F32, Precision::Tf32, Precision::Bf16] {
        for shape in &shapes {
            let cut = |product| Problem::new(product, operand, shape, true).default_config();
            let fprop = implicit_gemm_hopper::fprop(operand, shape, &cut(ConvProduct::Fprop), 132);
            let dgrad = implicit_gemm_hopper::dgrad(operand, shape, &cut(ConvProduct::Dgrad), 132);
            let wgrad =
                implicit_gemm_hopper_wgrad::wgrad(operand, shape, &cut(ConvProduct::Wgrad), 132);
            let products = [
                fprop.map(|plan| plan.launch),
                dgrad.map(|plan| plan.launch),
                wgrad.map(|plan| plan.launch),
            ];
            hopper += products.iter().flatten().map(fits).count();
            let tiled = |product| Problem::new(product, operand, shape, false).default_config();
            fits(&implicit_gemm::fprop(
                operand,
                shape,
                &tiled(ConvProduct::Fprop),
            ));
            fits(&implicit_gemm::dgrad(
                operand,
                shape,
                &tiled(ConvProduct::Dgrad),
            ));
            fits(&implicit_gemm::wgrad(operand, shape, &tiled(ConvProduct::Wgrad)).0);
        }
    }
    // Three shapes of each network have channels that fill a tile, in bf16 for three GEMMs and in tf32 for two.
    assert_eq!(hopper, 2 * 3 * (3 + 2));
}

#[test]
fn a_gpu_in_every_precision() {
    for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
        if let Some(device) = cuda(precision) {
            on_random_shapes(&device, precision, 600);
            at_given_shapes(&device, precision, &Case::edge_set());
            at_given_shapes(&device, precision, &Case::hopper_set());
            at_given_shapes(&device, precision, &Case::model_set(&Model::PAPER, 2, 1));
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Checks that every output of `line` has the same bits on all devices.
fn expect_same_bits(line: &str, devices: &[Arc<dyn Backend>]) {
    let case: Case = line.parse().unwrap();
    let expected = compute(&case, &devices[0]).unwrap();
    for (index, device) in devices.iter().enumerate().skip(1) {
        let found = compute(&case, device).unwrap();
        assert_eq!(found.len(), expected.len());
        for (name, values) in &expected {
            let same = bits(&found[name]) == bits(values);
            assert!(same, "{line}: {name} differs on device {index}");
        }
    }
}

/// Results do not depend on the order in which threads and blocks run.
#[test]
fn the_order_of_threads_changes_nothing() {
    let lines = [
        "linear rows=3 inputs=70 outputs=41 seed=1",
        "linear rows=3 inputs=700 outputs=1 seed=1",
        "conv2d n=2 h=11 w=10 c=5 k=7 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=2",
        "conv2d n=1 h=10 w=12 c=1 k=7 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=2",
        "conv_transpose2d n=2 h=7 w=6 c=9 k=7 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=3",
        "conv2d n=3 h=15 w=17 c=64 k=72 kernel=3x3 stride=1x2 pad=1,1,1,1 seed=3",
        "batch_norm_training rows=1100 channels=9 slope=0.2 seed=4",
        "tanh length=1000 seed=5",
        "bce_with_logits length=500 target=1 seed=6",
        "adam length=3000 rate=0.0002 beta1=0.5 beta2=0.999 epsilon=0.00000001 step=7 seed=7",
    ];
    for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
        let devices: Vec<_> = (10..13).map(|seed| simt(precision, seed)).collect();
        for line in lines {
            expect_same_bits(line, &devices);
        }
    }
}

/// Results do not depend on the number of threads, in cases large enough for several tasks.
#[test]
fn the_number_of_threads_changes_nothing() {
    let cases = [
        "linear rows=19 inputs=70 outputs=4100 seed=1",
        "conv2d n=3 h=70 w=66 c=5 k=7 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=2",
        "conv_transpose2d n=3 h=70 w=40 c=9 k=3 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=3",
        "batch_norm_training rows=9000 channels=9 slope=0.2 seed=4",
        "tanh length=100000 seed=5",
        "bce_with_logits length=5000 target=1 seed=6",
        "adam length=100000 rate=0.0002 beta1=0.5 beta2=0.999 epsilon=0.00000001 step=7 seed=7",
    ];
    for line in cases {
        let case: Case = line.parse().unwrap();
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| compute(&case, &cpu())).unwrap()
        };
        let expected = on(1);
        for threads in [2, 3, 5] {
            let found = on(threads);
            assert_eq!(found.len(), expected.len());
            for (name, values) in &expected {
                assert_eq!(
                    bits(&found[name]),
                    bits(values),
                    "{line}: {name} on {threads} threads"
                );
            }
        }
    }
}
