//! Adam (Kingma & Ba 2014, Algorithm 1), with ε outside the square root.

use crate::tensor::Tensor;

/// Settings of the optimiser.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamSettings {
    /// Step size α.
    pub learning_rate: f64,
    /// Decay β₁ of the first moment.
    pub beta1: f64,
    /// Decay β₂ of the second moment.
    pub beta2: f64,
    /// ε added to the square root.
    pub epsilon: f64,
}

impl AdamSettings {
    /// Factors of step t, counted from 1: α/(1−β₁ᵗ) and 1/(1−β₂ᵗ).
    ///
    /// They are computed in double precision, where 1−β₂ᵗ loses no relevant digits, and kept in device memory, so that
    /// a recorded step stays valid.
    pub fn state(&self, step: u64) -> [f32; 2] {
        let correction = |beta: f64| 1.0 / (1.0 - beta.powf(step as f64));
        [
            (self.learning_rate * correction(self.beta1)) as f32,
            correction(self.beta2) as f32,
        ]
    }
}

/// One parameter tensor with its gradient and moments.
#[derive(Debug)]
pub struct AdamOperand<'a> {
    /// The parameters; updated.
    pub parameter: &'a mut Tensor,
    /// Their gradient.
    pub gradient: &'a Tensor,
    /// First moment m; updated.
    pub first: &'a mut Tensor,
    /// Second moment v; updated.
    pub second: &'a mut Tensor,
}

/// One step over many tensors.
///
/// m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², θ ← θ − α·m̂/(√v̂ + ε), with m̂ = m/(1−β₁ᵗ) and v̂ = v/(1−β₂ᵗ).
#[derive(Debug)]
pub struct AdamStep<'a> {
    /// Settings of the optimiser.
    pub settings: AdamSettings,
    /// [`AdamSettings::state`] of this step: `[2]`.
    pub state: &'a Tensor,
    /// All parameter tensors; the four tensors of each have the same shape.
    pub operands: Vec<AdamOperand<'a>>,
}
