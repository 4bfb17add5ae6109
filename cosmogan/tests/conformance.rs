//! Every operator of every device within the oracle's bounds, by property tests over random shapes.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its data has failed"
)]

use std::sync::Arc;

use cosmogan::verify::conformance::{check, compute};
use cosmogan_engine::backend::Backend;
use cosmogan_engine::backend::cpu::CpuBackend;
use cosmogan_oracle::cases::{Kind, Model};
use cosmogan_oracle::{Arithmetic, Case};
use proptest::prelude::*;

/// Outputs are poisoned with NaN and guarded on both sides.
fn device() -> Arc<dyn Backend> {
    Arc::new(CpuBackend::checked())
}

fn conforms(case: &Case, most: usize) -> std::result::Result<f64, TestCaseError> {
    let found = check(case, &device(), &Arithmetic::f32(), most)
        .map_err(|error| TestCaseError::fail(format!("{case}: {error}")))?;
    prop_assert!(
        found.passed,
        "{case}: {} bounds in {}; simpler cases to try: {:?}",
        found.error,
        found.detail,
        case.shrink()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    );
    Ok(found.error)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn every_operator_on_random_shapes(kind in 0..Kind::ALL.len(), seed in any::<u64>()) {
        conforms(&Case::random(Kind::ALL[kind], seed), usize::MAX)?;
    }
}

#[test]
fn every_operator_at_a_models_own_shapes() {
    let tiny = Model {
        output_size: 64,
        layers: 4,
        gf_dim: 16,
        df_dim: 16,
        z_dim: 64,
        c_dim: 1,
    };
    let mut shares = Vec::new();
    for case in Case::model_set(&tiny, 3, 1) {
        let share = conforms(&case, 300).unwrap_or_else(|error| panic!("{error}"));
        shares.push((share, case.to_string()));
    }
    shares.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!("largest shares of the bound:");
    for (share, case) in shares.iter().take(5) {
        println!("{share:.3}  {case}");
    }
}

/// The bits that each number of threads gives, for cases large enough to be cut into several tasks.
#[test]
fn the_number_of_threads_changes_nothing() {
    let cases = [
        "linear rows=19 inputs=70 outputs=4100 seed=1",
        "conv2d n=3 h=70 w=66 c=5 k=7 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=2",
        "conv_transpose2d n=3 h=70 w=40 c=9 k=3 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=3",
        "batch_norm_training rows=9000 channels=9 seed=4",
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
            pool.install(|| compute(&case, &device())).unwrap()
        };
        let bits = |values: &[f32]| {
            values
                .iter()
                .map(|value| value.to_bits())
                .collect::<Vec<_>>()
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
