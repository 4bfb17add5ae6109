//! Anderson–Darling k-sample test for two samples.
//!
//! F. W. Scholz and M. A. Stephens (1987), *K-Sample Anderson–Darling Tests*, J. Am. Stat. Assoc. 82, 918.

/// Returns A²_{akN} of two samples of `sizes` values.
///
/// Equation (7), the midrank version for ties. Each of `groups` holds how often one value occurs in the first and in
/// the second sample, in ascending order of the value.
pub(super) fn midrank_sum(sizes: [u32; 2], groups: impl Iterator<Item = [u32; 2]>) -> f64 {
    let mut sum = MidrankSum::new(sizes);
    groups.for_each(|group| sum.add(group));
    sum.finish()
}

/// Accumulator for [`midrank_sum`], one group of ties at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct MidrankSum {
    first: f64,
    second: f64,
    total: f64,
    before_first: f64,
    before: f64,
    sum: f64,
}

impl MidrankSum {
    pub(super) fn new([first, second]: [u32; 2]) -> Self {
        let (first, second) = (f64::from(first), f64::from(second));
        Self {
            first,
            second,
            total: first + second,
            before_first: 0.0,
            before: 0.0,
            sum: 0.0,
        }
    }

    #[inline(always)]
    pub(super) fn add(&mut self, [in_first, in_second]: [u32; 2]) {
        let in_first = f64::from(in_first);
        let ties = in_first + f64::from(in_second);
        // Twice M and twice B of the paper, which are integers.
        let rank_in_first = 2.0 * self.before_first + in_first;
        let rank = 2.0 * self.before + ties;
        let gap = self.total * rank_in_first - rank * self.first;
        let spread = rank * (2.0 * self.total - rank) - self.total * ties;
        // If all values are equal, spread and gap are both 0.
        if spread > 0.0 {
            self.sum += ties * (gap * gap / spread);
        }
        self.before_first += in_first;
        self.before += ties;
    }

    pub(super) fn finish(self) -> f64 {
        // With two samples, the gap of the second is minus that of the first.
        let both = 1.0 / self.first + 1.0 / self.second;
        self.sum / self.total * both * (self.total - 1.0) / self.total
    }
}

/// Standardised statistic (A² − mean)/σ under the null hypothesis.
///
/// This is what SciPy's `anderson_ksamp` returns.
pub fn standardised(sizes: [u32; 2], statistic: f64) -> f64 {
    let count = f64::from(sizes[0] + sizes[1]);
    let reciprocals = 1.0 / f64::from(sizes[0]) + 1.0 / f64::from(sizes[1]);
    // h = Σ 1/i and g = Σ_{i<j} 1/((N − i) j), summed from the last term.
    let (mut harmonic, mut nested) = (0.0, 0.0);
    let last = sizes[0] + sizes[1] - 1;
    for step in 0..last.saturating_sub(1) {
        harmonic += 1.0 / f64::from(last - step);
        nested += harmonic / f64::from(step + 2);
    }
    let harmonic = harmonic + 1.0;
    let groups = 2.0;
    let a = (4.0 * nested - 6.0) * (groups - 1.0) + (10.0 - 6.0 * nested) * reciprocals;
    let b = (2.0 * nested - 4.0) * groups * groups
        + 8.0 * harmonic * groups
        + (2.0 * nested - 14.0 * harmonic - 4.0) * reciprocals
        - 8.0 * harmonic
        + 4.0 * nested
        - 6.0;
    let c = (6.0 * harmonic + 2.0 * nested - 2.0) * groups * groups
        + (4.0 * harmonic - 4.0 * nested + 6.0) * groups
        + (2.0 * harmonic - 6.0) * reciprocals
        + 4.0 * harmonic;
    let d = (2.0 * harmonic + 6.0) * groups * groups - 4.0 * harmonic * groups;
    let variance = (((a * count + b) * count + c) * count + d)
        / ((count - 1.0) * (count - 2.0) * (count - 3.0));
    (statistic - (groups - 1.0)) / variance.sqrt()
}

/// Standardised Anderson–Darling statistic of two unsorted samples.
pub fn anderson_darling(first: &[f64], second: &[f64]) -> f64 {
    let sizes = [first.len() as u32, second.len() as u32];
    let groups = super::pooled::groups(first, second);
    standardised(sizes, midrank_sum(sizes, groups.into_iter()))
}
