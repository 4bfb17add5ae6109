//! Half precision (IEEE 754 binary16), in which weights and training maps may be stored.

/// The number that `bits` stand for; single precision holds every one of them exactly.
pub fn widened(bits: u16) -> f32 {
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
