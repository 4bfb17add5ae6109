//! GEMM operands, rounded as a GPU rounds them for its tensor cores.
//!
//! On a CPU this gains no speed; it shows the effect of a precision on results.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::backend::Precision;

/// Values rounded per task.
const CHUNK: usize = 1 << 14;

/// Precision of a GEMM between `channels` channels.
///
/// With one channel on either side it is a matrix-vector product, which GPUs compute in f32 at every precision
/// (`launch/convolution.rs`).
pub(super) fn precision_of(precision: Precision, channels: [usize; 2]) -> Precision {
    if channels.iter().all(|&channels| channels > 1) {
        precision
    } else {
        Precision::F32
    }
}

/// Rounds values in place.
pub(super) fn round(precision: Precision, values: &mut [f32]) {
    values.par_chunks_mut(CHUNK).for_each(|values| {
        for value in values {
            *value = precision.round(*value);
        }
    });
}

/// Returns the rounded operand; borrows it if no rounding is needed.
pub(super) fn rounded(precision: Precision, values: &[f32]) -> Cow<'_, [f32]> {
    if precision == Precision::F32 {
        return Cow::Borrowed(values);
    }
    let mut operand = values.to_vec();
    round(precision, &mut operand);
    Cow::Owned(operand)
}
