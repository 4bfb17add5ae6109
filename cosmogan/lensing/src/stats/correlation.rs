//! Correlation matrices of summary statistics over an ensemble of maps.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::columns::Columns;

/// Pearson correlation matrix of several quantities over an ensemble of maps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CorrelationMatrix {
    /// Rows of the matrix, values from −1 to 1.
    ///
    /// A quantity with zero variance has correlation 0 with all others and 1 with itself.
    pub rows: Vec<Vec<f32>>,
}

impl CorrelationMatrix {
    /// Computes the correlations between the columns of `rows`.
    ///
    /// `rows` has one row of quantities per map.
    pub fn of(rows: &[&[f64]]) -> Self {
        let Columns { mean, variance } = Columns::of(rows);
        // Standardised columns, stored contiguously so that each dot product reads memory in order.
        let standardised: Vec<Vec<f64>> = (0..mean.len())
            .into_par_iter()
            .map(|quantity| {
                let squares = variance[quantity] * (rows.len() as f64 - 1.0);
                let scale = if squares > 0.0 {
                    squares.sqrt().recip()
                } else {
                    0.0
                };
                let column = rows
                    .iter()
                    .map(|row| (row[quantity] - mean[quantity]) * scale);
                column.collect()
            })
            .collect();
        let rows = (0..mean.len())
            .into_par_iter()
            .map(|row| {
                (0..mean.len())
                    .map(|column| match row == column {
                        true => 1.0,
                        false => dot(&standardised[row], &standardised[column]) as f32,
                    })
                    .collect()
            })
            .collect();
        Self { rows }
    }

    /// Returns `self` − `other`.
    pub fn minus(&self, other: &Self) -> Self {
        let difference = |a: &Vec<f32>, b: &Vec<f32>| a.iter().zip(b).map(|(a, b)| a - b).collect();
        let rows = self.rows.iter().zip(&other.rows);
        Self {
            rows: rows.map(|(a, b)| difference(a, b)).collect(),
        }
    }

    /// Largest absolute value of all entries.
    pub fn largest(&self) -> f32 {
        let entries = self.rows.iter().flatten();
        entries.fold(0.0, |largest, entry| largest.max(entry.abs()))
    }
}

/// Dot product in eight independent partial sums.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlations_by_hand() {
        // The second quantity falls as the first rises, the third is constant, the fourth is uncorrelated.
        let rows: Vec<Vec<f64>> = (0..12)
            .map(|i| {
                let x = f64::from(i);
                vec![
                    x,
                    5.0 - 2.0 * x,
                    3.0,
                    [1.0, -1.0, -1.0, 1.0][i as usize % 4],
                ]
            })
            .collect();
        let rows: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
        let found = CorrelationMatrix::of(&rows);
        let expected = [
            [1.0, -1.0, 0.0, 0.0],
            [-1.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0],
            [0.0, 0.0, 0.0, 1.0],
        ];
        for (found, expected) in found.rows.iter().flatten().zip(expected.iter().flatten()) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        assert_eq!(found.minus(&found).largest(), 0.0);
    }
}
