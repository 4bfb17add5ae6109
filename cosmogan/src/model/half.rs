//! Half precision (IEEE 754 binary16), in which weights may be stored.

/// The number that `bits` stand for; single precision holds every one of them exactly.
pub(super) fn widened(bits: u16) -> f32 {
    const INFINITE: u16 = 0x7c00;
    /// 2¹¹²: the exponents of the two formats are counted from 15 and from 127.
    const EXPONENTS: f32 = f32::from_bits((112 + 127) << 23);
    let [sign, magnitude] = [0x8000, 0x7fff].map(|mask| u32::from(bits & mask));
    let magnitude = if bits & INFINITE == INFINITE {
        f32::from_bits(magnitude << 13 | 0xff << 23)
    } else {
        // What has no leading one in the one format has none in the other either, until it is multiplied.
        f32::from_bits(magnitude << 13) * EXPONENTS
    };
    f32::from_bits(magnitude.to_bits() | sign << 16)
}

#[cfg(all(test, feature = "program"))]
mod tests {
    use super::widened;

    #[test]
    fn every_number_is_widened_exactly() {
        for bits in 0..=u16::MAX {
            let (found, expected) = (widened(bits), half::f16::from_bits(bits).to_f32());
            let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
            assert!(same, "{bits:#06x}: {found} is not {expected}");
        }
    }
}
