//! Binary cross-entropy of logits x against one target t, averaged over the batch.
//!
//! The loss is max(x, 0) − x·t + ln(1 + e^−|x|), its gradient (σ(x) − t)/count.
//!
//! Bounds: e^−|x| and ln(1 + ·) are library functions. An error δ of e = e^−|x| changes ln(1 + e) by δ/(1 + e) ≤ δ.

use super::activation::LIBRARY_ULPS;
use crate::{Arithmetic, Bounded};

/// Mean loss over all logits.
pub fn forward(logits: &[f64], target: f64, arithmetic: &Arithmetic) -> Bounded {
    let terms = logits.iter().map(|&x| {
        let tail = (-x.abs()).exp();
        let exponential = Bounded::exact(tail).within_ulps(LIBRARY_ULPS, arithmetic);
        let logarithm = Bounded {
            value: tail.ln_1p(),
            error: exponential.error,
        }
        .within_ulps(LIBRARY_ULPS, arithmetic);
        let product = Bounded::exact(x).times(Bounded::exact(target), arithmetic);
        Bounded::exact(x.max(0.0))
            .minus(product, arithmetic)
            .plus(logarithm, arithmetic)
    });
    arithmetic
        .sum(terms)
        .divided_by(Bounded::exact(logits.len() as f64), arithmetic)
}

/// dx = dloss·(σ(x) − t)/count.
pub fn gradient(x: f64, target: f64, count: usize, dloss: f64, arithmetic: &Arithmetic) -> Bounded {
    // σ through e^−|x|, which cannot overflow: 1/(1 + e) or e/(1 + e).
    let tail = Bounded::exact((-x.abs()).exp()).within_ulps(LIBRARY_ULPS, arithmetic);
    let denominator = Bounded::exact(1.0).plus(tail, arithmetic);
    let numerator = if x >= 0.0 { Bounded::exact(1.0) } else { tail };
    numerator
        .divided_by(denominator, arithmetic)
        .minus(Bounded::exact(target), arithmetic)
        .times(Bounded::exact(dloss), arithmetic)
        .divided_by(Bounded::exact(count as f64), arithmetic)
}
