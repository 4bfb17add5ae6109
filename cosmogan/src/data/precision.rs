//! How exactly training maps are kept.

use clap::ValueEnum;
use half::f16;
use serde::{Deserialize, Serialize};

use super::survey::Survey;
use crate::error::{Error, Result};

/// What the values of training maps are rounded to, once, before anything is learned from them. Which it is decides the bits
/// of a run, wherever the maps lie: what a device has room for does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataPrecision {
    /// Single precision: as they are.
    #[default]
    F32,
    /// Half precision: 11 significant bits, a relative error of 2⁻¹¹ at most; values below 2⁻¹⁴ are off by 2⁻²⁵ at most.
    F16,
}

impl DataPrecision {
    /// Whether values stay as they are.
    pub(crate) fn is_single(&self) -> bool {
        *self == Self::F32
    }

    /// Refuses maps with values that the format does not reach.
    ///
    /// # Errors
    /// Naming the flag and the largest value.
    pub fn require_range(self, survey: &Survey) -> Result<()> {
        if self.is_single() || survey.largest <= f16::MAX.to_f32() {
            return Ok(());
        }
        Err(Error::usage(
            "--data-precision",
            format!(
                "the maps have a value of {}, half precision reaches {}",
                survey.largest,
                f16::MAX
            ),
            "leave it out",
        ))
    }

    /// Rounds values to the nearest, ties to even.
    pub fn round(self, values: &mut [f32]) {
        match self {
            Self::F32 => {}
            Self::F16 => values
                .iter_mut()
                .for_each(|value| *value = f16::from_f32(*value).to_f32()),
        }
    }

    /// Values per element of memory in which they are [stored](Self::stored).
    pub(crate) fn per_element(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::F16 => 2,
        }
    }

    /// Values as a device keeps them: of half precision two in the bits of each element, the first in the lower half.
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
