//! Number formatting for reports: 0.0167, −0.036, 3.2×10⁻⁷.

/// Formats `value` with `digits` significant digits.
pub(super) fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let decimals = digits.saturating_sub(1);
    let written = format!("{value:.decimals$e}");
    // Exponent after rounding: 9.9996 becomes 1.000e1.
    let (factor, exponent) = written.split_once('e').unwrap_or((&written, "0"));
    let power: i64 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&power) {
        let decimals = (decimals as i64 - power).max(0) as usize;
        minus(&format!("{value:.decimals$}"))
    } else {
        format!("{}×10{}", minus(factor), superscript(power))
    }
}

/// Replaces hyphens with minus signs.
pub(super) fn minus(number: &str) -> String {
    number.replace('-', "−")
}

/// Formats a number in superscript digits.
pub(super) fn superscript(number: i64) -> String {
    number
        .to_string()
        .chars()
        .map(|digit| match digit {
            '-' => '⁻',
            '0' => '⁰',
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            '4' => '⁴',
            '5' => '⁵',
            '6' => '⁶',
            '7' => '⁷',
            '8' => '⁸',
            '9' => '⁹',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_asked_for() {
        for (value, text) in [
            (0.0, "0"),
            (0.016_712_3, "0.01671"),
            (-0.036, "−0.03600"),
            (9.99996, "10.00"),
            (12_345.6, "12346"),
            (-3.2e-7, "−3.200×10⁻⁷"),
            (1.5e12, "1.500×10¹²"),
        ] {
            assert_eq!(significant(value, 4), text);
        }
        assert_eq!(significant(4.249, 2), "4.2");
        assert_eq!(significant(f64::INFINITY, 2), "inf");
    }
}
