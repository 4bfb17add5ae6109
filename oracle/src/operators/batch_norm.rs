//! Batch normalisation (Ioffe & Szegedy 2015) followed by a rectifier.
//!
//! x is `[M, C]`, with M values per channel.
//!
//! Bounds. The mean is a blocked reduction: |δ_mean| ≤ γ_d·Σ|x|/M plus the error of the division. The variance must be
//! computed from differences to the mean: as Σ(x − mean) = 0, an error δ in the mean adds exactly δ² to
//! Σ(x − mean − δ)²/M, and each square passes a subtraction, a multiplication and the reduction. `E[x²] − E[x]²` does
//! not meet this bound, and should not.
//!
//! The rest is [`Bounded`] arithmetic: the errors of mean and variance pass through x̂ = (x − mean)/√(variance + ε)
//! into y, dscale and dx, and so does the rounding of x where x is stored in a shorter format. Where the error
//! interval of a rectifier's input contains the kink, the derivative of either side is correct, and the bound of the
//! upstream gradient covers both.

use crate::{Arithmetic, Bounded};

/// State of one channel.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Mean over the batch, or a running mean.
    pub mean: Bounded,
    /// Biased variance over the batch, or a running variance.
    pub variance: Bounded,
    /// γ.
    pub scale: f64,
    /// β.
    pub shift: f64,
    /// ε under the square root.
    pub epsilon: f64,
    /// Factor of negative outputs: 1 without a rectifier, 0 for ReLU.
    pub slope: f64,
    /// Unit roundoff of the format in which x is stored after its statistics were taken; 0 if it stays f32.
    pub kept_roundoff: f64,
}

/// Gradients of one channel in training mode.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// dscale = Σ dy·x̂.
    pub scale: Bounded,
    /// dshift = Σ dy.
    pub shift: Bounded,
    count: f64,
}

/// Mean and biased variance of one channel's values.
pub fn statistics(x: impl Iterator<Item = f64> + Clone, arithmetic: &Arithmetic) -> [Bounded; 2] {
    let count = x.clone().count() as f64;
    let mean = arithmetic
        .reduction(x.clone().map(Bounded::exact))
        .divided_by(Bounded::exact(count), arithmetic);
    let squares = x.map(|x| {
        let difference = Bounded::exact(x).minus(Bounded::exact(mean.value), arithmetic);
        difference.times(difference, arithmetic)
    });
    let mut variance = arithmetic
        .reduction(squares)
        .divided_by(Bounded::exact(count), arithmetic);
    variance.error += mean.error * mean.error;
    [mean, variance]
}

/// running ← (1 − momentum)·running + momentum·factor·batch.
pub fn update_running(
    running: f64,
    batch: Bounded,
    momentum: f64,
    factor: f64,
    arithmetic: &Arithmetic,
) -> Bounded {
    let kept = Bounded::exact(1.0 - momentum).times(Bounded::exact(running), arithmetic);
    let weight = Bounded::exact(momentum).times(Bounded::exact(factor), arithmetic);
    kept.plus(weight.times(batch, arithmetic), arithmetic)
}

/// M/(M − 1), the factor from the biased to the unbiased variance; 1 for a single value.
pub fn unbiased_factor(count: usize) -> f64 {
    let count = count.max(2) as f64;
    count / (count - 1.0)
}

impl Channel {
    /// y = rectified x̂·scale + shift.
    pub fn normalise(&self, x: f64, arithmetic: &Arithmetic) -> Bounded {
        let y = self.scaled(x, arithmetic);
        if self.slope == 1.0 || y.value > 0.0 {
            // A computed value below 0 would be multiplied by at most 1, which does not increase its error.
            return y;
        }
        let product = y.times(Bounded::exact(self.slope), arithmetic);
        Bounded {
            value: product.value,
            // A computed value above 0 is not multiplied; its error is at most that of y before the rectifier.
            error: if y.value.abs() <= y.error {
                product.error.max(y.error)
            } else {
                product.error
            },
        }
    }

    /// The gradient with respect to x̂·scale + shift, given that with respect to y.
    fn through_rectifier(&self, x: f64, dy: f64, arithmetic: &Arithmetic) -> Bounded {
        if self.slope == 1.0 {
            return Bounded::exact(dy);
        }
        let y = self.scaled(x, arithmetic);
        let mut gradient = if y.value > 0.0 {
            Bounded::exact(dy)
        } else {
            Bounded::exact(dy).times(Bounded::exact(self.slope), arithmetic)
        };
        if y.value.abs() <= y.error {
            gradient.error += (1.0 - self.slope) * dy.abs();
        }
        gradient
    }

    /// x̂·scale + shift.
    fn scaled(&self, x: f64, arithmetic: &Arithmetic) -> Bounded {
        self.normalised(x, arithmetic)
            .times(Bounded::exact(self.scale), arithmetic)
            .plus(Bounded::exact(self.shift), arithmetic)
    }

    /// Gradients of scale and shift in training mode, over (x, dy) of the whole channel.
    pub fn gradients(
        &self,
        values: impl Iterator<Item = (f64, f64)> + Clone,
        arithmetic: &Arithmetic,
    ) -> Gradients {
        let upstream = |(x, dy)| self.through_rectifier(x, dy, arithmetic);
        let products = values
            .clone()
            .map(|(x, dy)| upstream((x, dy)).times(self.normalised(x, arithmetic), arithmetic));
        Gradients {
            scale: arithmetic.reduction(products),
            shift: arithmetic.reduction(values.clone().map(upstream)),
            count: values.count() as f64,
        }
    }

    /// dx = scale/√(variance + ε)·(dy − dshift/M − x̂·dscale/M); the mean and the variance depend on x too.
    pub fn dgrad(
        &self,
        x: f64,
        dy: f64,
        gradients: &Gradients,
        arithmetic: &Arithmetic,
    ) -> Bounded {
        let count = Bounded::exact(gradients.count);
        let through_mean = gradients.shift.divided_by(count, arithmetic);
        let through_variance = self
            .normalised(x, arithmetic)
            .times(gradients.scale.divided_by(count, arithmetic), arithmetic);
        let inner = self
            .through_rectifier(x, dy, arithmetic)
            .minus(through_mean, arithmetic)
            .minus(through_variance, arithmetic);
        Bounded::exact(self.scale)
            .divided_by(self.deviation(arithmetic), arithmetic)
            .times(inner, arithmetic)
    }

    /// √(variance + ε).
    fn deviation(&self, arithmetic: &Arithmetic) -> Bounded {
        self.variance
            .plus(Bounded::exact(self.epsilon), arithmetic)
            .square_root(arithmetic)
    }

    /// x̂.
    fn normalised(&self, x: f64, arithmetic: &Arithmetic) -> Bounded {
        let kept = Bounded {
            value: x,
            error: self.kept_roundoff * x.abs(),
        };
        kept.minus(self.mean, arithmetic)
            .divided_by(self.deviation(arithmetic), arithmetic)
    }
}
