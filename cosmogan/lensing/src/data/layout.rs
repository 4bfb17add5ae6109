//! Layout of the numbers in a map file.

/// Type of the numbers in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// IEEE binary16.
    F16,
    /// IEEE binary32.
    F32,
    /// IEEE binary64.
    F64,
    /// Unsigned, 8 bits.
    U8,
    /// Two's complement, 16 bits.
    I16,
    /// Two's complement, 32 bits.
    I32,
    /// Two's complement, 64 bits.
    I64,
}

impl Number {
    /// Bytes per number.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F16 | Self::I16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }
}

/// Layout of a file, read from its header.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    /// Number of maps, rows, columns.
    pub(super) dims: [usize; 3],
    pub(super) number: Number,
    /// Whether numbers are big-endian.
    pub(super) big_endian: bool,
    /// Byte offset of the first number.
    pub(super) offset: u64,
    /// FITS scaling (BSCALE, BZERO): physical = stored·scale + zero.
    pub(super) scale: f64,
    pub(super) zero: f64,
    /// The integer that stands for a missing pixel (BLANK).
    pub(super) blank: Option<i64>,
    /// Side of a map in degrees, if the header gives it; the reason if what it gives is unclear.
    pub(super) side: Result<Option<f64>, String>,
}

impl Layout {
    /// Converts stored numbers to pixels; missing ones become NaN.
    pub(super) fn decode(&self, stored: &[u8], pixels: &mut [f32]) {
        let swap = self.big_endian;
        match self.number {
            Number::F32 if self.scale == 1.0 && self.zero == 0.0 => {
                for (pixel, bytes) in pixels.iter_mut().zip(stored.as_chunks().0) {
                    *pixel = f32::from_le_bytes(ordered(*bytes, swap));
                }
            }
            Number::F16 => self.scaled(stored, pixels, |bytes: [u8; 2]| {
                half::f16::from_le_bytes(ordered(bytes, swap)).to_f64()
            }),
            Number::F32 => self.scaled(stored, pixels, |bytes: [u8; 4]| {
                f64::from(f32::from_le_bytes(ordered(bytes, swap)))
            }),
            Number::F64 => self.scaled(stored, pixels, |bytes: [u8; 8]| {
                f64::from_le_bytes(ordered(bytes, swap))
            }),
            Number::U8 => self.scaled(stored, pixels, |bytes: [u8; 1]| {
                self.integer(bytes[0].into())
            }),
            Number::I16 => self.scaled(stored, pixels, |bytes: [u8; 2]| {
                self.integer(i16::from_le_bytes(ordered(bytes, swap)).into())
            }),
            Number::I32 => self.scaled(stored, pixels, |bytes: [u8; 4]| {
                self.integer(i32::from_le_bytes(ordered(bytes, swap)).into())
            }),
            Number::I64 => self.scaled(stored, pixels, |bytes: [u8; 8]| {
                self.integer(i64::from_le_bytes(ordered(bytes, swap)))
            }),
        }
    }

    fn scaled<const N: usize>(
        &self,
        stored: &[u8],
        pixels: &mut [f32],
        value: impl Fn([u8; N]) -> f64,
    ) {
        for (pixel, bytes) in pixels.iter_mut().zip(stored.as_chunks().0) {
            *pixel = (value(*bytes) * self.scale + self.zero) as f32;
        }
    }

    fn integer(&self, stored: i64) -> f64 {
        match self.blank {
            Some(blank) if blank == stored => f64::NAN,
            _ => stored as f64,
        }
    }
}

/// The bytes in little-endian order.
fn ordered<const N: usize>(mut bytes: [u8; N], swap: bool) -> [u8; N] {
    if swap {
        bytes.reverse();
    }
    bytes
}
