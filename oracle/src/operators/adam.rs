//! One step of Adam (Kingma & Ba 2014, Algorithm 1), with ε outside the square root.
//!
//! m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², θ ← θ − α·m̂/(√v̂ + ε).
//!
//! Bounds: [`Bounded`] arithmetic through the formula. 1 − β and 1 − βᵗ must be computed in double precision before
//! they are rounded to f32: in f32, 1 − 0.999 alone would be off by 5e-5.

use crate::{Arithmetic, Bounded};

/// Settings of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// α.
    pub learning_rate: f64,
    /// β₁.
    pub beta1: f64,
    /// β₂.
    pub beta2: f64,
    /// ε.
    pub epsilon: f64,
    /// t, from 1.
    pub step: u32,
}

/// θ, m and v of one element after a step.
#[derive(Clone, Copy, Debug)]
pub struct Updated {
    /// θ.
    pub parameter: Bounded,
    /// m.
    pub first: Bounded,
    /// v.
    pub second: Bounded,
}

impl Adam {
    /// Updates one element (θ, m, v) with gradient g.
    pub fn update(
        &self,
        [parameter, first, second]: [f64; 3],
        gradient: f64,
        arithmetic: &Arithmetic,
    ) -> Updated {
        let mixed = |beta: f64, old: f64, new: Bounded| {
            Bounded::exact(beta)
                .times(Bounded::exact(old), arithmetic)
                .plus(
                    Bounded::exact(1.0 - beta).times(new, arithmetic),
                    arithmetic,
                )
        };
        let gradient = Bounded::exact(gradient);
        let first = mixed(self.beta1, first, gradient);
        let second = mixed(self.beta2, second, gradient.times(gradient, arithmetic));
        let corrected = |moment: Bounded, beta: f64| {
            let correction = 1.0 - beta.powi(self.step as i32);
            moment.divided_by(Bounded::exact(correction), arithmetic)
        };
        let denominator = corrected(second, self.beta2)
            .square_root(arithmetic)
            .plus(Bounded::exact(self.epsilon), arithmetic);
        let update = Bounded::exact(self.learning_rate)
            .times(corrected(first, self.beta1), arithmetic)
            .divided_by(denominator, arithmetic);
        Updated {
            parameter: Bounded::exact(parameter).minus(update, arithmetic),
            first,
            second,
        }
    }
}
