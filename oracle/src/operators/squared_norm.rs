//! Σx² over all elements, in any order, summed in blocks or pairwise like batch statistics.

use crate::{Arithmetic, Bounded};

/// The sum.
pub fn forward(values: &[f64], arithmetic: &Arithmetic) -> Bounded {
    let squares = values.iter().map(|&x| {
        let x = Bounded::exact(x);
        x.times(x, arithmetic)
    });
    arithmetic.reduction(squares)
}
