//! Operands of products, rounded as a GPU rounds them for its tensor cores. A processor gains nothing by it: it shows what
//! a precision does to results.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::backend::Precision;

/// Values that are rounded as one piece of work.
const CHUNK: usize = 1 << 14;

/// What a product between so many channels multiplies. With one channel on either side it is a product with a vector, which
/// GPUs compute in f32 at every precision (`launch/convolution.rs`).
pub(super) fn precision_of(precision: Precision, channels: [usize; 2]) -> Precision {
    if channels.iter().all(|&channels| channels > 1) {
        precision
    } else {
        Precision::F32
    }
}

/// Rounds values where they lie.
pub(super) fn round(precision: Precision, values: &mut [f32]) {
    values.par_chunks_mut(CHUNK).for_each(|values| {
        for value in values {
            *value = precision.round(*value);
        }
    });
}

/// An operand as it is multiplied: rounded, and where there is nothing to round as it lies.
pub(super) fn rounded(precision: Precision, values: &[f32]) -> Cow<'_, [f32]> {
    if precision == Precision::F32 {
        return Cow::Borrowed(values);
    }
    let mut operand = values.to_vec();
    round(precision, &mut operand);
    Cow::Owned(operand)
}
