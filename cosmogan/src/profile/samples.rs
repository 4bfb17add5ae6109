//! Statistics of repeated measurements: median, noise, and the number of disturbed samples.

/// Ratio to the median above which a sample counts as throttled or disturbed.
pub(super) const DISTURBED: f64 = 1.25;

/// The median; NaN without samples.
pub(crate) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[middle],
        _ => 0.5 * (sorted[middle - 1] + sorted[middle]),
    }
}

/// The noise relative to the median: 1.4826 times the median absolute deviation.
///
/// That is the standard deviation of normal samples, and is robust against a few disturbed ones.
pub(crate) fn noise(samples: &[f64]) -> f64 {
    let middle = median(samples);
    let deviations: Vec<f64> = samples
        .iter()
        .map(|sample| (sample - middle).abs())
        .collect();
    if middle > 0.0 {
        1.4826 * median(&deviations) / middle
    } else {
        0.0
    }
}

/// The number of samples far above the median, by more than `least` seconds. The absolute limit ignores short
/// interruptions, which change the relative time of a short operator by much.
pub(super) fn disturbed(samples: &[f64], least: f64) -> usize {
    let middle = median(samples);
    let far = |sample: &&f64| **sample > DISTURBED * middle && **sample - middle > least;
    samples.iter().filter(far).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlier_is_flagged_and_moves_nothing() {
        let calm = [1.0, 1.02, 0.98, 1.01, 0.99];
        let mut disturbed_once = calm.to_vec();
        disturbed_once.push(60.0);
        assert_eq!(median(&calm), 1.0);
        assert!((median(&disturbed_once) - 1.005).abs() < 1e-12);
        assert!((noise(&calm) - 1.4826 * 0.01).abs() < 1e-12);
        assert!(noise(&disturbed_once) < 0.03);
        assert_eq!(disturbed(&calm, 0.0), 0);
        assert_eq!(disturbed(&disturbed_once, 0.0), 1);
        assert_eq!(disturbed(&disturbed_once, 100.0), 0);
        assert!(median(&[]).is_nan());
    }
}
