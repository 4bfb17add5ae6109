//! Initial values of every tensor.

use rand_chacha::ChaCha12Rng;
use rand_distr::{Distribution, StandardNormal};

use super::config::INITIAL_DEVIATION;
use super::specification::{Role, TensorSpecification};

/// Initial values in the file's order, so that a seed means the same weights whatever the engine's layout.
pub(crate) fn values(tensor: &TensorSpecification, rng: &mut ChaCha12Rng) -> Vec<f32> {
    let length = tensor.len();
    match tensor.role {
        Role::NormalWeight => (0..length)
            .map(|_| (INITIAL_DEVIATION * normal(rng)) as f32)
            .collect(),
        Role::TruncatedNormalWeight => (0..length)
            .map(|_| (INITIAL_DEVIATION * truncated_normal(rng)) as f32)
            .collect(),
        Role::Scale | Role::RunningVariance => vec![1.0; length],
        Role::Bias | Role::IneffectiveBias | Role::Shift | Role::RunningMean => vec![0.0; length],
    }
}

fn normal(rng: &mut ChaCha12Rng) -> f64 {
    StandardNormal.sample(rng)
}

/// A standard normal deviate, drawn again until it lies within two standard deviations.
fn truncated_normal(rng: &mut ChaCha12Rng) -> f64 {
    loop {
        let value = normal(rng);
        if value.abs() <= 2.0 {
            return value;
        }
    }
}
