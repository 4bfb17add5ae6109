//! Initial values of all tensors.

use crate::rng::Normals;
use cosmogan_generator::config::INITIAL_DEVIATION;
use cosmogan_generator::specification::{Role, TensorSpecification};

/// Initial values in the file's order, so that the weights of a seed do not depend on the engine's layout.
pub(crate) fn values(tensor: &TensorSpecification, normals: &mut Normals) -> Vec<f32> {
    let length = tensor.len();
    match tensor.role {
        Role::NormalWeight => (0..length)
            .map(|_| (INITIAL_DEVIATION * normals.draw()) as f32)
            .collect(),
        Role::TruncatedNormalWeight => (0..length)
            .map(|_| (INITIAL_DEVIATION * truncated_normal(normals)) as f32)
            .collect(),
        Role::Scale | Role::RunningVariance => vec![1.0; length],
        Role::Bias | Role::IneffectiveBias | Role::Shift | Role::RunningMean => vec![0.0; length],
    }
}

/// A standard normal deviate truncated at ±2, by rejection.
fn truncated_normal(normals: &mut Normals) -> f64 {
    loop {
        let value = normals.draw();
        if value.abs() <= 2.0 {
            return value;
        }
    }
}
