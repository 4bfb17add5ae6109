//! Means and variances over an ensemble of maps.

use serde::{Deserialize, Serialize};

/// Mean and variance over maps of several quantities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Columns {
    /// Mean over maps.
    pub mean: Vec<f64>,
    /// Variance over maps, with n − 1 in the denominator; 0 for a single map.
    pub variance: Vec<f64>,
}

impl Columns {
    /// Computes mean and variance of each column of `rows`.
    ///
    /// `rows` has one row of quantities per map.
    pub fn of(rows: &[&[f64]]) -> Self {
        Self::of_weighted(rows, |_| 1)
    }

    /// Computes weighted mean and variance: row i counts `weight`(i) times.
    pub(super) fn of_weighted(rows: &[&[f64]], weight: impl Fn(usize) -> u32) -> Self {
        let width = rows.first().map_or(0, |row| row.len());
        let (mut mean, mut variance) = (vec![0.0; width], vec![0.0; width]);
        let mut count = 0.0;
        for (index, row) in rows.iter().enumerate() {
            let weight = f64::from(weight(index));
            if weight > 0.0 {
                count += weight;
                for (mean, value) in mean.iter_mut().zip(*row) {
                    *mean += weight * value;
                }
            }
        }
        mean.iter_mut().for_each(|mean| *mean /= count);
        for (index, row) in rows.iter().enumerate() {
            let weight = f64::from(weight(index));
            if weight > 0.0 {
                for ((variance, value), mean) in variance.iter_mut().zip(*row).zip(&mean) {
                    *variance += weight * (value - mean).powi(2);
                }
            }
        }
        let freedom = f64::max(count - 1.0, 1.0);
        variance.iter_mut().for_each(|sum| *sum /= freedom);
        Self { mean, variance }
    }

    /// Standard deviations over maps.
    pub fn deviations(&self) -> Vec<f64> {
        self.variance
            .iter()
            .map(|variance| variance.sqrt())
            .collect()
    }
}

/// Median of `values`: for an even number of them, the mean of the middle two.
///
/// `None` if there are none.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some(0.5 * (values[middle - 1] + values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_repeat_rows() {
        let rows = [[1.0, 5.0], [2.0, 5.0], [4.0, 8.0]];
        let rows: Vec<&[f64]> = rows.iter().map(|row| &row[..]).collect();
        let repeated: Vec<&[f64]> = vec![rows[0], rows[0], rows[2]];
        let weighted = Columns::of_weighted(&rows, |row| [2, 0, 1][row]);
        assert_eq!(weighted, Columns::of(&repeated));
        assert_eq!(weighted.mean, [2.0, 6.0]);
        assert_eq!(weighted.variance, [3.0, 3.0]);
        assert_eq!(Columns::of(&rows[..1]).variance, [0.0, 0.0]);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![3.0, 1.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
    }
}
