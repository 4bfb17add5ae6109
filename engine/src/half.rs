//! Half precision (IEEE 754 binary16), a storage format for weights and training maps.

/// Converts half-precision bits to f32, exactly.
pub fn widened(bits: u16) -> f32 {
    const INFINITE: u16 = 0x7c00;
    /// 2¹¹², the difference of the exponent biases 15 and 127.
    const EXPONENTS: f32 = f32::from_bits((112 + 127) << 23);
    let [sign, magnitude] = [0x8000, 0x7fff].map(|mask| u32::from(bits & mask));
    let magnitude = if bits & INFINITE == INFINITE {
        f32::from_bits(magnitude << 13 | 0xff << 23)
    } else {
        // The multiplication also normalises subnormals, which are subnormal in both formats before it.
        f32::from_bits(magnitude << 13) * EXPONENTS
    };
    f32::from_bits(magnitude.to_bits() | sign << 16)
}
