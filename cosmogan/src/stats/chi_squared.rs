//! The χ² distance of two sets of spectra, by which the paper chooses its generator.

use rayon::prelude::*;

/// Bins of each histogram. Ten hold enough of a hundred maps each to mean something.
pub const CHI_SQUARED_BINS: usize = 10;

/// Histograms of a reference set, one per mode, ready to be compared with those of other sets.
///
/// The bins of each mode hold equal shares of the reference; the first and the last reach to infinity: no outlier can
/// change them.
#[derive(Clone, Debug)]
pub struct ChiSquared {
    /// One list of inner edges per mode.
    edges: Vec<Vec<f64>>,
    /// The reference's share of each bin.
    shares: Vec<[f64; CHI_SQUARED_BINS]>,
}

impl ChiSquared {
    /// From the rows of the reference: one spectrum per map.
    pub fn new(reference: &[&[f64]]) -> Self {
        let modes = reference.first().map_or(0, |row| row.len());
        let edges: Vec<Vec<f64>> = (0..modes)
            .into_par_iter()
            .map(|mode| {
                let mut values: Vec<f64> = reference.iter().map(|row| row[mode]).collect();
                values.sort_unstable_by(f64::total_cmp);
                (1..CHI_SQUARED_BINS)
                    .map(|edge| values[edge * values.len() / CHI_SQUARED_BINS])
                    .collect()
            })
            .collect();
        let shares = edges
            .iter()
            .enumerate()
            .map(|(mode, edges)| histogram(edges, reference, mode))
            .collect();
        Self { edges, shares }
    }

    /// ½·Σ (p − q)²/(p + q) over the bins with p + q > 0 of the histograms p of the reference and q of `rows` at one
    /// mode, averaged over the modes. 0 means equal histograms, 1 means no overlap.
    pub fn distance(&self, rows: &[&[f64]]) -> f64 {
        let each: Vec<f64> = (self.edges.par_iter())
            .zip(&self.shares)
            .enumerate()
            .map(|(mode, (edges, p))| {
                let q = histogram(edges, rows, mode);
                p.iter()
                    .zip(q)
                    .filter(|(p, q)| *p + q > 0.0)
                    .map(|(p, q)| 0.5 * (p - q).powi(2) / (p + q))
                    .sum()
            })
            .collect();
        each.iter().sum::<f64>() / each.len().max(1) as f64
    }
}

fn histogram(edges: &[f64], rows: &[&[f64]], mode: usize) -> [f64; CHI_SQUARED_BINS] {
    let mut shares = [0.0; CHI_SQUARED_BINS];
    for row in rows {
        shares[edges.partition_point(|edge| *edge <= row[mode])] += 1.0 / rows.len() as f64;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_by_hand() {
        let real: Vec<Vec<f64>> = (0..20).map(|i| vec![f64::from(i), 2.0, 0.0]).collect();
        let far: Vec<Vec<f64>> = (0..20).map(|_| vec![-5.0, 1.0, -1.0]).collect();
        let rows = |rows: &'static [Vec<f64>]| rows.iter().map(Vec::as_slice).collect::<Vec<_>>();
        let (real, far) = (rows(real.leak()), rows(far.leak()));
        let reference = ChiSquared::new(&real);
        assert_eq!(reference.distance(&real), 0.0);
        // Column 0: all of `far` in the first bin, a tenth of `real` there: ½(0.81/1.1 + 0.9). Columns 1 and 2: disjoint.
        let expected = (0.5 * (0.81 / 1.1 + 0.9) + 2.0) / 3.0;
        assert!((reference.distance(&far) - expected).abs() < 1e-12);
    }
}
