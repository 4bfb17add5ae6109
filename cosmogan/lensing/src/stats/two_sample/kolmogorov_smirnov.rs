//! Two-sample Kolmogorov–Smirnov test with exact and asymptotic p-values.

use super::pooled::groups;

/// Kolmogorov–Smirnov statistic of two samples, with their sizes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KolmogorovSmirnov {
    sizes: [u32; 2],
    /// Largest difference between the cumulative distributions times both sizes, an integer.
    gap: u64,
}

impl KolmogorovSmirnov {
    /// Compares two unsorted, non-empty samples.
    pub fn of(first: &[f64], second: &[f64]) -> Self {
        let sizes = [first.len() as u32, second.len() as u32];
        let mut gap = Gap::new(sizes);
        for group in groups(first, second) {
            gap.add(group);
        }
        Self {
            sizes,
            gap: gap.largest,
        }
    }

    /// Statistic D: the largest difference between the cumulative distributions, 0 to 1.
    pub fn statistic(&self) -> f64 {
        self.gap as f64 / (f64::from(self.sizes[0]) * f64::from(self.sizes[1]))
    }

    /// Exact p-value for samples of a continuous distribution.
    ///
    /// The fraction of lattice paths from (0, 0) to (n, m) that leave the band |i/n − j/m| < D (J. L. Hodges, 1958).
    /// Takes O(n·m) time.
    pub fn exact_p(&self) -> f64 {
        let [rows, columns] = self.sizes.map(|size| size as usize);
        let leaves =
            |row: usize, column: usize| (row * columns).abs_diff(column * rows) as u64 >= self.gap;
        // Probability that a random path to (row, column) has already left the band.
        let mut has_left = vec![0.0_f64; columns + 1];
        for row in 0..=rows {
            for column in 0..=columns {
                has_left[column] = if leaves(row, column) {
                    1.0
                } else {
                    let (row, column_steps) = (row as f64, column as f64);
                    let from_above = if row > 0.0 { has_left[column] } else { 0.0 };
                    let from_left = if column > 0 {
                        has_left[column - 1]
                    } else {
                        0.0
                    };
                    match row + column_steps {
                        0.0 => 0.0,
                        steps => (row * from_above + column_steps * from_left) / steps,
                    }
                };
            }
        }
        has_left[columns]
    }

    /// Asymptotic p-value as in SciPy.
    ///
    /// That of the same statistic for one sample of nm/(n + m) values (rounded half to even) against a known
    /// distribution.
    pub fn asymptotic_p(&self) -> f64 {
        let [first, second] = self.sizes.map(f64::from);
        let effective = (first * second / (first + second)).round_ties_even();
        one_sample_p(effective as usize, self.statistic())
    }
}

/// Running maximum of the difference between two cumulative distributions.
/// It advances one group of ties at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    sizes: [i64; 2],
    lead: i64,
    /// Times both sizes.
    pub(super) largest: u64,
}

impl Gap {
    pub(super) fn new(sizes: [u32; 2]) -> Self {
        Self {
            sizes: sizes.map(i64::from),
            lead: 0,
            largest: 0,
        }
    }

    #[inline(always)]
    pub(super) fn add(&mut self, [in_first, in_second]: [u32; 2]) {
        self.lead += i64::from(in_first) * self.sizes[1] - i64::from(in_second) * self.sizes[0];
        self.largest = self.largest.max(self.lead.unsigned_abs());
    }
}

/// Two-sided P(D_n ≥ `distance`) for one sample of `count` values.
///
/// Each region of (n, d) has its own method (R. Simard and P. L'Ecuyer, 2011, J. Stat. Softw. 39, 11).
fn one_sample_p(count: usize, distance: f64) -> f64 {
    /// Largest size for the matrix method.
    /// Above it the matrices become large, and the asymptotic series is accurate to 1e-7.
    const EXACT_UP_TO: usize = 4500;
    let n = count as f64;
    if count == 0 || distance <= 0.5 / n {
        return 1.0;
    }
    if distance >= 1.0 {
        return 0.0;
    }
    // Exceeding the distance on both sides has a probability below 2·exp(−8·n·d²), 5e-8 here.
    let p = if n * distance * distance >= 2.2 {
        2.0 * one_sided_p(count, distance)
    } else if count <= EXACT_UP_TO {
        1.0 - matrix_power_cdf(count, distance)
    } else {
        1.0 - pelz_good_cdf(n, distance)
    };
    p.clamp(0.0, 1.0)
}

/// Smirnov's exact one-sided probability.
/// d·Σ_j C(n, j)·(d + j/n)^(j−1)·(1 − d − j/n)^(n−j).
fn one_sided_p(count: usize, distance: f64) -> f64 {
    let n = count as f64;
    let last = (n * (1.0 - distance)).floor() as usize;
    let mut log_choose = 0.0;
    let mut sum = 0.0;
    for j in 0..=last.min(count) {
        let share = j as f64 / n;
        if j > 0 {
            log_choose += ((n - j as f64 + 1.0) / j as f64).ln();
        }
        let rest = 1.0 - distance - share;
        if rest > 0.0 {
            let below = (j as f64 - 1.0) * (distance + share).ln();
            sum += (log_choose + below + (n - j as f64) * rest.ln()).exp();
        } else if j == count {
            sum += ((n - 1.0) * (distance + share).ln()).exp();
        }
    }
    distance * sum
}

/// P(D_n < d) by Durbin's matrix.
/// G. Marsaglia, W. W. Tsang and J. Wang, 2003, J. Stat. Softw. 8, 18.
fn matrix_power_cdf(count: usize, distance: f64) -> f64 {
    let scaled = count as f64 * distance;
    let k = scaled.floor() as usize + 1;
    let size = 2 * k - 1;
    let h = k as f64 - scaled;
    let mut matrix = vec![0.0; size * size];
    for row in 0..size {
        for column in 0..size.min(row + 2) {
            matrix[row * size + column] = 1.0;
        }
    }
    let mut power = h;
    for index in 0..size {
        matrix[index * size] -= power;
        matrix[(size - 1) * size + size - 1 - index] -= power;
        power *= h;
    }
    if 2.0 * h > 1.0 {
        matrix[(size - 1) * size] += (2.0 * h - 1.0).powi(size as i32);
    }
    for row in 0..size {
        for column in 0..size.min(row + 2) {
            let mut factorial = 1.0;
            for factor in 2..=(row + 1).saturating_sub(column) {
                factorial *= factor as f64;
            }
            matrix[row * size + column] /= factorial;
        }
    }
    let (powered, mut exponent) = matrix_power(&matrix, size, count);
    let mut p = powered[(k - 1) * size + k - 1];
    for factor in 1..=count {
        p *= factor as f64 / count as f64;
        if p < 1e-140 {
            p *= 1e140;
            exponent -= 140;
        }
    }
    p * 10_f64.powi(exponent)
}

/// Raises a matrix to a power.
/// The second result is a decimal exponent that has been factored out.
fn matrix_power(matrix: &[f64], size: usize, power: usize) -> (Vec<f64>, i32) {
    let normalised = |mut matrix: Vec<f64>, mut exponent: i32| {
        if matrix[(size / 2) * size + size / 2] > 1e140 {
            matrix.iter_mut().for_each(|value| *value *= 1e-140);
            exponent += 140;
        }
        (matrix, exponent)
    };
    if power == 1 {
        return (matrix.to_vec(), 0);
    }
    let (half, exponent) = matrix_power(matrix, size, power / 2);
    let square = product(&half, &half, size);
    if power.is_multiple_of(2) {
        normalised(square, 2 * exponent)
    } else {
        normalised(product(matrix, &square, size), 2 * exponent)
    }
}

fn product(left: &[f64], right: &[f64], size: usize) -> Vec<f64> {
    let mut out = vec![0.0; size * size];
    for (out, left) in out.chunks_exact_mut(size).zip(left.chunks_exact(size)) {
        for (factor, right) in left.iter().zip(right.chunks_exact(size)) {
            for (out, value) in out.iter_mut().zip(right) {
                *out += factor * value;
            }
        }
    }
    out
}

/// P(D_n < d) for large n: expansion up to n^(−3/2).
/// W. Pelz and I. J. Good, 1976, J. R. Stat. Soc. B 38, 152.
fn pelz_good_cdf(n: f64, distance: f64) -> f64 {
    use std::f64::consts::PI;
    let z = n.sqrt() * distance;
    let (z2, z4, z6) = (z.powi(2), z.powi(4), z.powi(6));
    let (pi2, pi4, pi6) = (PI.powi(2), PI.powi(4), PI.powi(6));
    let q = |halves: f64| (-pi2 * halves * halves / (2.0 * z2)).exp();
    let mut sums = [0.0; 4];
    for k in 0..20 {
        let odd = f64::from(k) + 0.5;
        let (o2, o4, o6) = (odd.powi(2), odd.powi(4), odd.powi(6));
        let weight = q(odd);
        sums[0] += weight;
        sums[1] += (pi2 * o2 - z2) * weight;
        sums[2] +=
            (6.0 * z6 + 2.0 * z4 + pi2 * (2.0 * z4 - 5.0 * z2) * o2 + pi4 * (1.0 - 2.0 * z2) * o4)
                * weight;
        sums[3] += (-30.0 * z6 - 90.0 * z6 * z2
            + pi2 * (135.0 * z4 - 96.0 * z6) * o2
            + pi4 * (212.0 * z4 - 60.0 * z2) * o4
            + pi6 * o6 * (5.0 - 30.0 * z2))
            * weight;
    }
    let (mut even_2, mut even_3) = (0.0, 0.0);
    for k in 1..20 {
        let k = f64::from(k);
        let weight = q(k);
        even_2 += pi2 * k * k * weight;
        even_3 += (3.0 * pi2 * k * k * z2 - pi4 * k.powi(4)) * weight;
    }
    let root = (2.0 * PI).sqrt();
    let half_root = (PI / 2.0).sqrt();
    let terms = [
        root / z * sums[0],
        half_root / (3.0 * z4) * sums[1],
        half_root / (36.0 * z.powi(7)) * sums[2] - half_root / (18.0 * z.powi(3)) * even_2,
        half_root / (3240.0 * z.powi(10)) * sums[3] + half_root / (108.0 * z6) * even_3,
    ];
    terms[0] + terms[1] / n.sqrt() + terms[2] / n + terms[3] / n.powf(1.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_methods_meet() {
        // Methods agree where their regions of validity overlap.
        for (n, d) in [(4000, 0.02), (4400, 0.015), (3000, 0.01)] {
            let (exact, series) = (matrix_power_cdf(n, d), pelz_good_cdf(n as f64, d));
            assert!((exact - series).abs() < 1e-7, "{n} {d}: {exact} {series}");
        }
        for n in [20, 222, 1000] {
            let d = (2.3 / n as f64).sqrt();
            let (exact, tail) = (1.0 - matrix_power_cdf(n, d), 2.0 * one_sided_p(n, d));
            assert!((exact - tail).abs() < 1e-7, "{n}: {exact} {tail}");
        }
    }

    #[test]
    fn certain_and_impossible_gaps() {
        let same = KolmogorovSmirnov::of(&[1.0, 2.0], &[1.0, 2.0]);
        assert_eq!(
            (same.statistic(), same.exact_p(), same.asymptotic_p()),
            (0.0, 1.0, 1.0)
        );
        let apart = KolmogorovSmirnov::of(&[1.0, 2.0], &[3.0, 4.0]);
        assert_eq!(apart.statistic(), 1.0);
        // Two of the six orderings of two and two values give this statistic.
        assert!((apart.exact_p() - 1.0 / 3.0).abs() < 1e-15);
    }
}
