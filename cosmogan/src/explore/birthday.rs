//! Birthday test: the number of distinct maps of a generator.
//!
//! S. Arora and Y. Zhang (2017), arXiv:1706.08224.

use serde::{Deserialize, Serialize};

/// Estimated number of distinct maps, from near duplicates among many.
///
/// If a generator produced K maps with equal frequency, two maps would be equal with probability 1/K, so P pairs with C
/// duplicates give K = P/C. Unequal frequencies make K smaller than the number of distinct maps: K is an effective
/// number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DistinctMaps {
    /// Number of pairs P that were compared.
    pub pairs: u64,
    /// Number of pairs C that count as duplicates.
    pub duplicates: u64,
    /// Estimate P/C; absent without duplicates.
    pub estimate: Option<f64>,
    /// Lower end of the 95 % interval; without duplicates, the one-sided bound P/2.996.
    pub low: f64,
    /// Upper end of the 95 % interval; absent without duplicates.
    pub high: Option<f64>,
}

impl DistinctMaps {
    /// Computes the estimate from `duplicates` among `pairs`.
    ///
    /// Their number follows a Poisson distribution, whose exact interval is from F. Garwood (1936).
    pub fn new(pairs: u64, duplicates: u64) -> Self {
        let among = |mean: f64| pairs as f64 / mean;
        if duplicates == 0 {
            return Self {
                pairs,
                duplicates,
                estimate: None,
                low: among(upper_mean(0, 0.05)),
                high: None,
            };
        }
        Self {
            pairs,
            duplicates,
            estimate: Some(among(duplicates as f64)),
            low: among(upper_mean(duplicates, 0.025)),
            high: Some(among(lower_mean(duplicates, 0.025))),
        }
    }
}

/// Returns the mean at which a Poisson variable is at most `count` with probability `p`.
fn upper_mean(count: u64, p: f64) -> f64 {
    bisect(count, |mean| at_most(count, mean) > p)
}

/// Returns the mean at which P(Poisson variable ≥ `count`) is `p`, for `count` > 0.
fn lower_mean(count: u64, p: f64) -> f64 {
    bisect(count, |mean| 1.0 - at_most(count - 1, mean) < p)
}

/// Returns the mean at which `is_too_small` turns false, by bisection.
fn bisect(count: u64, is_too_small: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 10.0 + 3.0 * count as f64);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if is_too_small(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// P(X ≤ `count`) for a Poisson variable X.
/// The first term is computed from its logarithm, so that nothing underflows.
fn at_most(count: u64, mean: f64) -> f64 {
    if mean == 0.0 {
        return 1.0;
    }
    // Terms more than 25 standard deviations below the mean are below 1e-130 of the largest and are skipped.
    let first = (mean - 25.0 * mean.sqrt() - 25.0).max(0.0) as u64;
    let log_factorial = |n: u64| -> f64 {
        if n < 20 {
            return (1..=n).map(|factor| (factor as f64).ln()).sum();
        }
        let n = n as f64;
        (n + 0.5) * n.ln() - n + 0.5 * std::f64::consts::TAU.ln() + 1.0 / (12.0 * n)
            - 1.0 / (360.0 * n.powi(3))
    };
    if first > count {
        return 0.0;
    }
    let mut term = (first as f64 * mean.ln() - mean - log_factorial(first)).exp();
    let mut sum = term;
    for n in first + 1..=count {
        term *= mean / n as f64;
        sum += term;
        if term < 1e-18 * sum && n as f64 > mean {
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_tables() {
        for (count, low, high) in [(1, 0.0253, 5.572), (5, 1.623, 11.668), (100, 81.36, 121.63)] {
            assert!((lower_mean(count, 0.025) - low).abs() < 1e-3 * high);
            assert!((upper_mean(count, 0.025) - high).abs() < 1e-3 * high);
        }
        assert!((upper_mean(0, 0.025) - 3.689).abs() < 1e-3);
        let none = DistinctMaps::new(1000, 0);
        assert!((none.low - 1000.0 / 2.9957).abs() < 0.01);
        assert_eq!((none.estimate, none.high), (None, None));
        let many = DistinctMaps::new(10_000_000, 100_000);
        assert_eq!(many.estimate, Some(100.0));
        assert!(many.low > 99.0 && many.low < 100.0 && many.high.is_some_and(|high| high < 101.0));
    }
}
