//! χ² distance between two sets of power spectra, by which the paper selects its generator.

use rayon::prelude::*;

/// Bins per histogram: few enough that each holds about ten of a hundred maps.
pub const CHI_SQUARED_BINS: usize = 10;

/// Histograms of a reference set, one per mode, to be compared with those of other sets.
///
/// Each bin of a mode holds an equal share of the reference maps. The first and the last bin extend to infinity, so
/// that an outlier has no effect beyond its bin.
#[derive(Clone, Debug)]
pub struct ChiSquared {
    /// Inner edges of the bins, one list per mode.
    edges: Vec<Vec<f64>>,
    /// Fraction of the reference maps in each bin.
    shares: Vec<[f64; CHI_SQUARED_BINS]>,
}

impl ChiSquared {
    /// Builds the histograms from `reference`: one row (spectrum) per map.
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

    /// Returns the χ² distance of `rows` from the reference, 0 to 1.
    ///
    /// ½·Σ (p − q)²/(p + q) over the bins with p + q > 0, averaged over the modes, where p and q are the histograms of
    /// the reference and of `rows`. 0 means equal histograms, 1 means no overlap.
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
