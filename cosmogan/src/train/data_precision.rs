//! Storage precision of training maps.

use clap::ValueEnum;
use half::f16;
use serde::{Deserialize, Serialize};

/// Precision to which training maps are rounded once, before training starts.
///
/// It determines the results of a run bit for bit; where the maps are kept (on the host or the device) does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataPrecision {
    /// Single precision: values are not rounded.
    #[default]
    F32,
    /// Half precision: 11 significant bits, a relative error of at most 2⁻¹¹.
    ///
    /// Values below 2⁻¹⁴ have an absolute error of at most 2⁻²⁵.
    F16,
}

impl DataPrecision {
    /// Whether values are kept in single precision, that is, unchanged.
    pub(crate) fn is_single(&self) -> bool {
        *self == Self::F32
    }

    /// Rounds values to the nearest representable one, ties to even.
    pub fn round(self, values: &mut [f32]) {
        match self {
            Self::F32 => {}
            Self::F16 => values
                .iter_mut()
                .for_each(|value| *value = f16::from_f32(*value).to_f32()),
        }
    }

    /// Number of values per `f32` element of the [stored](Self::stored) form.
    pub(crate) fn per_element(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::F16 => 2,
        }
    }

    /// Packs values for device memory.
    ///
    /// In half precision an element holds two values, the first in the lower 16 bits.
    pub(crate) fn stored(self, values: Vec<f32>) -> Vec<f32> {
        match self {
            Self::F32 => values,
            Self::F16 => values
                .chunks(2)
                .map(|pair| {
                    let bits = |at: usize| {
                        pair.get(at)
                            .map_or(0, |&value| u32::from(f16::from_f32(value).to_bits()))
                    };
                    f32::from_bits(bits(0) | bits(1) << 16)
                })
                .collect(),
        }
    }
}
