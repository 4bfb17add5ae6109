//! What matrix products multiply.

use std::fmt;
use std::str::FromStr;

/// What matrix products multiply; they add in f32, and everything else computes in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 24 significant bits: operands as they are.
    #[default]
    F32,
    /// 11 significant bits.
    Tf32,
    /// 8 significant bits.
    Bf16,
}

impl Precision {
    /// The operand that stands for `value`, as `round_operand` of `operand.cuh` makes it: the nearest number of the format,
    /// of two the even one (bf16) or the one away from zero (tf32).
    pub fn round(self, value: f32) -> f32 {
        const EXPONENT: u32 = 0x7f80_0000;
        let bits = value.to_bits();
        match self {
            Self::F32 => value,
            Self::Tf32 if bits & EXPONENT == EXPONENT => value,
            // A carry out of the significand is the next power of two, and behind the largest one infinity.
            Self::Tf32 => f32::from_bits((bits + 0x1000) & !0x1fff),
            // A carry would make a zero or an infinity of some NaN.
            Self::Bf16 if bits & !(1 << 31) > EXPONENT => f32::from_bits(0x7fc0_0000),
            Self::Bf16 => f32::from_bits((bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff_0000),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        })
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "f32" => Ok(Self::F32),
            "tf32" => Ok(Self::Tf32),
            "bf16" => Ok(Self::Bf16),
            _ => Err("say f32, tf32 or bf16".to_owned()),
        }
    }
}
