//! tanh without branches, so that compilers vectorise it.

/// Coefficients of x³, x⁵ … in the Taylor series of tanh.
const TAYLOR: [f32; 7] = [
    -1.0 / 3.0,
    2.0 / 15.0,
    -17.0 / 315.0,
    62.0 / 2835.0,
    -1382.0 / 155_925.0,
    21_844.0 / 6_081_075.0,
    -929_569.0 / 638_512_875.0,
];

/// Coefficients of f, f² … in the Taylor series of 2^f: powers of ln 2 over factorials.
const POWER_OF_TWO: [f32; 7] = [
    std::f32::consts::LN_2,
    0.240_226_5,
    0.055_504_11,
    0.009_618_129,
    0.001_333_355_8,
    0.000_154_035_3,
    0.000_015_252_734,
];

/// tanh x, within four units in the last place; NaN for NaN.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    // Near zero, use the series, whose first omitted term is below 1e-8 of the sum; (1 − e)/(1 + e) would cancel
    // there.
    const SERIES_BELOW: f32 = 0.5;
    // Beyond this value, tanh is 1 in single precision.
    const LARGEST: f32 = 10.0;
    // Adding this rounds to an integer, which is then in the lowest bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    let magnitude = x.abs();
    let square = x * x;
    let series = TAYLOR
        .iter()
        .rev()
        .fold(0.0, |sum, coefficient| sum * square + coefficient);
    let near = x + x * square * series;

    let clamped = if magnitude > LARGEST {
        LARGEST
    } else {
        magnitude
    };
    let exponent = clamped * (-2.0 * std::f32::consts::LOG2_E);
    let rounded = exponent + ROUND;
    let fraction = exponent - (rounded - ROUND);
    let power = POWER_OF_TWO
        .iter()
        .rev()
        .fold(0.0, |sum, coefficient| (sum + coefficient) * fraction);
    // e^(−2|x|) = 2^integer · 2^fraction; the integer is added to the exponent bits.
    let decay = f32::from_bits(
        (1.0 + power)
            .to_bits()
            .wrapping_add(rounded.to_bits() << 23),
    );
    let far = ((1.0 - decay) / (1.0 + decay)).copysign(x);
    // Comparisons with NaN are false, which selects the series; it propagates NaN.
    if magnitude >= SERIES_BELOW { far } else { near }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_within_four_units_in_the_last_place_everywhere() {
        let mut worst: f64 = 0.0;
        for bits in (0..0x7f80_0000_u32).step_by(997) {
            let x = f32::from_bits(bits);
            let exact = f64::from(x).tanh();
            let unit = f64::from((exact as f32).next_up()) - f64::from(exact as f32);
            worst = worst.max((f64::from(tanh(x)) - exact).abs() / unit);
            assert_eq!(tanh(-x), -tanh(x));
        }
        assert!(worst < 4.0, "{worst}");
        assert!(tanh(f32::NAN).is_nan());
        assert_eq!(tanh(f32::INFINITY), 1.0);
        assert_eq!(tanh(f32::NEG_INFINITY), -1.0);
    }
}
