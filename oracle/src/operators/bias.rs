//! The gradient of a bias added along the last axis.

use crate::{Arithmetic, Bounded};

/// `dbias[c]` = Σ over all other axes of dy, for dy of `[…, channels]`.
pub fn gradient(dy: &[f64], channels: usize, channel: usize, arithmetic: &Arithmetic) -> Bounded {
    let column = dy.iter().skip(channel).step_by(channels);
    arithmetic.sum(column.map(|&value| Bounded::exact(value)))
}
