//! Precision of GEMM operands, and their format in memory.

use std::fmt;
use std::str::FromStr;

/// Precision of GEMM operands. Accumulation and all other operations are in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 24 significant bits, 4 bytes: operands are not rounded.
    #[default]
    F32,
    /// 11 significant bits, 4 bytes.
    Tf32,
    /// 8 significant bits, 2 bytes.
    Bf16,
}

impl Precision {
    /// Rounds `value` to the nearest number of the format.
    ///
    /// This matches `round_operand` of `operand.cuh`. Ties go to the even number (bf16) or away from zero (tf32).
    pub fn round(self, value: f32) -> f32 {
        const EXPONENT: u32 = 0x7f80_0000;
        let bits = value.to_bits();
        match self {
            Self::F32 => value,
            Self::Tf32 if bits & EXPONENT == EXPONENT => value,
            // A carry out of the significand gives the next power of two, and infinity after the largest one.
            Self::Tf32 => f32::from_bits((bits + 0x1000) & !0x1fff),
            // A carry would turn some NaNs into zero or infinity.
            Self::Bf16 if bits & !(1 << 31) > EXPONENT => f32::from_bits(0x7fc0_0000),
            Self::Bf16 => f32::from_bits((bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff_0000),
        }
    }

    /// Bytes of one value in memory.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Bf16 => 2,
            Self::Tf32 | Self::F32 => 4,
        }
    }

    /// `channels` rounded up to whole chunks of 16 bytes.
    pub const fn padded(self, channels: usize) -> usize {
        channels.next_multiple_of(16 / self.bytes())
    }

    /// Distance between rows of a tensor with `channels` channels, in values.
    ///
    /// Rows of packed operands are padded, rows of f32 are not.
    pub const fn row(self, channels: usize) -> usize {
        match self {
            Self::F32 => channels,
            Self::Bf16 | Self::Tf32 => self.padded(channels),
        }
    }

    /// `OPERAND_BITS` and similar constants of the kernels.
    pub(crate) const fn bits(self) -> u32 {
        match self {
            Self::Bf16 => 16,
            Self::Tf32 => 19,
            Self::F32 => 32,
        }
    }

    pub(crate) fn constant(self) -> (&'static str, u32) {
        ("OPERAND_BITS", self.bits())
    }

    /// Bytes of a tensor of `rows` by `channels` in this format.
    pub const fn image_bytes(self, rows: usize, channels: usize) -> usize {
        self.bytes() * rows * self.row(channels)
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
            _ => Err("expected f32, tf32 or bf16".to_owned()),
        }
    }
}
