//! Two-sample tests, and the table that compares them with the paper.

use serde::{Deserialize, Serialize};

use crate::stats::Measurements;
use crate::stats::two_sample::{Bootstrap, PixelTest, Significance, TwoSampleTest};

/// Measurements of a sample, one row per map.
#[derive(Debug)]
pub(super) struct Measured {
    /// Summary statistics.
    pub(super) statistics: Measurements,
    /// Pixels below, in and above the bins of κ.
    pub(super) pixel_counts: Vec<Vec<u32>>,
}

impl Measured {
    /// Returns every second map, starting at map `start`.
    pub(super) fn half(&self, start: usize) -> Self {
        fn every_second<T: Clone>(rows: &[T], start: usize) -> Vec<T> {
            rows.iter().skip(start).step_by(2).cloned().collect()
        }
        Self {
            statistics: Measurements {
                power: every_second(&self.statistics.power, start),
                functionals: every_second(&self.statistics.functionals, start),
                peaks: every_second(&self.statistics.peaks, start),
            },
            pixel_counts: every_second(&self.pixel_counts, start),
        }
    }
}

/// Bootstrap two-sample tests, one per quantity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tests {
    /// Kolmogorov–Smirnov test of the pixel values at the histogram edges.
    ///
    /// Whole maps are resampled.
    pub pixels: Significance,
    /// Power spectrum, one test per ℓ bin.
    pub power: Vec<TwoSampleTest>,
    /// Minkowski functionals: V0 at each threshold, then V1, then V2.
    pub functionals: Vec<TwoSampleTest>,
    /// Peak counts at each threshold.
    pub peaks: Vec<TwoSampleTest>,
}

impl Tests {
    /// Tests two samples.
    ///
    /// `advance` is called from several threads, with the number of quantities tested on a resample.
    pub(super) fn of(
        first: &Measured,
        second: &Measured,
        bootstrap: &Bootstrap,
        advance: &(dyn Fn(u64) + Sync),
    ) -> Self {
        let (a, b) = (&first.statistics, &second.statistics);
        Self {
            pixels: PixelTest {
                first: &first.pixel_counts,
                second: &second.pixel_counts,
            }
            .run(bootstrap),
            power: bootstrap.test_with(&a.power, &b.power, advance),
            functionals: bootstrap.test_with(&a.functionals, &b.functionals, advance),
            peaks: bootstrap.test_with(&a.peaks, &b.peaks, advance),
        }
    }
}

/// A row of the table of statistics for which the paper's text gives numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PaperRow {
    /// Statistic, e.g. the power spectrum.
    pub statistic: String,
    /// Quantity derived from the tests, e.g. the number of bins with p > 0.95.
    pub quantity: String,
    /// Value in the paper; empty if it gives none.
    pub paper: String,
    /// Value for the generated maps.
    pub generated: String,
    /// Value for the baseline, two samples of real maps.
    pub yardstick: String,
    /// Expected value for two samples of one distribution.
    pub expected: String,
}

/// A statistic that is tested bin by bin, with the paper's counts for both tests.
struct PaperCounts {
    statistic: &'static str,
    of: fn(&Tests) -> &[TwoSampleTest],
    /// For each of [`P_VALUES`]: pairs of a p-value and the paper's count above it.
    above: [&'static [(f64, &'static str)]; 2],
    smallest: &'static str,
}

/// Selects the p-value of one of the two tests.
type Which = fn(&TwoSampleTest) -> f64;

/// Name and p-value of the two tests of a statistic.
const P_VALUES: [(&str, Which); 2] = [("KS", |test| test.ks.p), ("AD", |test| test.ad.p)];

const PAPER: [PaperCounts; 3] = [
    PaperCounts {
        statistic: "Power spectrum, mode by mode",
        of: |tests| &tests.power,
        above: [
            &[(0.99, "236 of 248"), (0.95, "246 of 248")],
            &[(0.99, "205 of 248"), (0.95, "231 of 248")],
        ],
        smallest: "> 0.8",
    },
    PaperCounts {
        statistic: "Minkowski functionals, threshold by threshold",
        of: |tests| &tests.functionals,
        above: [
            &[(0.95, "40 of 57"), (0.9, "47 of 57")],
            &[(0.95, "32 of 57"), (0.9, "38 of 57")],
        ],
        smallest: "> 0.6",
    },
    PaperCounts {
        statistic: "Peak counts, threshold by threshold",
        of: |tests| &tests.peaks,
        above: [&[], &[]],
        smallest: "",
    },
];

/// Significance level: one in twenty tests of samples of one distribution falls below it.
const LEVEL: f64 = 0.05;

/// Builds the rows of the tests.
/// `yardstick` holds the tests of two samples of real maps.
pub(super) fn paper_rows(generated: &Tests, yardstick: Option<&Tests>) -> Vec<PaperRow> {
    let mut rows = Vec::new();
    let mut add = |statistic: &str,
                   quantity: String,
                   paper: &str,
                   expected: String,
                   of: &dyn Fn(&Tests) -> String| {
        rows.push(PaperRow {
            statistic: statistic.to_owned(),
            quantity,
            paper: paper.to_owned(),
            generated: of(generated),
            yardstick: yardstick.map_or("–".to_owned(), of),
            expected,
        });
    };
    add(
        "Pixel values",
        "KS: p".to_owned(),
        "> 0.999",
        "0.5".to_owned(),
        &|tests| p_value(tests.pixels.p),
    );
    for counts in PAPER {
        for ((test, p), above) in P_VALUES.into_iter().zip(counts.above) {
            let all = |tests: &Tests| -> Vec<f64> { (counts.of)(tests).iter().map(p).collect() };
            for (limit, paper) in above.iter().copied().chain([(LEVEL, "")]) {
                add(
                    counts.statistic,
                    format!("{test}: p > {limit}"),
                    paper,
                    format!("{:.0} %", 100.0 * (1.0 - limit)),
                    &|tests| {
                        let all = all(tests);
                        let above = all.iter().filter(|p| **p > limit).count();
                        format!("{above} of {}", all.len())
                    },
                );
            }
            add(
                counts.statistic,
                format!("{test}: smallest p"),
                counts.smallest,
                String::new(),
                &|tests| p_value(all(tests).into_iter().fold(1.0, f64::min)),
            );
        }
    }
    rows
}

/// p-values are multiples of about 0.001.
fn p_value(p: f64) -> String {
    format!("{p:.3}")
}
