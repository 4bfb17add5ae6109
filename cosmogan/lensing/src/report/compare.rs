//! Comparison of generated maps with real ones: all measurements and tests.

use super::comparison::{Comparison, Sample, Stage, Work};
use super::digits::significant;
use super::metrics::{Correlations, CovarianceNumbers, Metrics};
use super::numbers::{Content, Distances, PixelNumbers};
use super::plots::{
    Band, DistributionPanel, Distributions, PixelHistograms, SpectrumBands, ThresholdBands,
    ThresholdPanel, TrainingCurve,
};
use super::significance::{Measured, Tests, paper_rows};
use super::summary::{SampleSummary, Summary};
use crate::stats::two_sample::Bootstrap;
use crate::stats::{
    CorrelationMatrix, CovarianceRatios, Distribution, Estimators, Measurements, Moments,
    PixelBins, linear_edges, middles,
};
use cosmogan_base::{Error, Result};

/// Number of bins of the κ histogram that is drawn and tested.
pub(super) const HISTOGRAM_BINS: usize = 50;

/// Maps measured between reports of progress.
const MAPS_AT_ONCE: usize = 256;

/// A sample with all its measurements.
struct Prepared<'a> {
    sample: &'a Sample<'a>,
    pixels: PixelNumbers,
    distribution: Distribution,
    measured: Measured,
}

impl Prepared<'_> {
    fn spectra(&self) -> Vec<&[f64]> {
        rows(&self.measured.statistics.power)
    }

    fn content<'a>(&'a self, spectra: &'a [&'a [f64]]) -> Content<'a> {
        Content {
            pixels: &self.distribution,
            spectra,
        }
    }

    /// Mean and standard deviation of a range of a statistic's columns.
    fn band(&self, rows: &[&[f64]], columns: std::ops::Range<usize>) -> Band {
        let all = Band::of(self.sample.name.as_str(), rows);
        Band {
            mean: all.mean[columns.clone()].to_vec(),
            sigma: all.sigma.map(|sigma| sigma[columns].to_vec()),
            ..all
        }
    }
}

fn rows(rows: &[Vec<f64>]) -> Vec<&[f64]> {
    rows.iter().map(Vec::as_slice).collect()
}

impl Comparison<'_> {
    /// Samples that are drawn, in order: real, generated, untrained.
    pub(super) fn samples(&self) -> impl Iterator<Item = &Sample<'_>> {
        [&self.real, &self.generated]
            .into_iter()
            .chain(&self.untrained)
    }

    pub(super) fn measure(&self, observe: &(dyn Fn(Work) + Sync)) -> Result<Metrics> {
        if !(self.side_degrees.is_finite() && self.side_degrees > 0.0) {
            return Err(Error::usage(
                "--side-degrees",
                format!("{} is not an angle", self.side_degrees),
                "give the side of a map in degrees, e.g. 0.866",
            ));
        }
        self.samples()
            .chain(&self.auxiliary)
            .try_for_each(|sample| self.check(sample))?;
        let reference = Moments::of_all(&self.real.maps);
        let estimators = Estimators::new(self.pixels, self.side_degrees, &self.edges, &reference)?;
        let distributions: Vec<Distribution> = self
            .samples()
            .chain(&self.auxiliary)
            .map(|sample| Distribution::of(&sample.maps))
            .collect();
        let bins = PixelBins::new(histogram_edges(&distributions[..2]))?;
        let total = self.samples().chain(&self.auxiliary);
        let total = total.map(|sample| sample.maps.len() as u64).sum();
        let measured = |maps: &[&[f32]]| {
            let mut statistics = Measurements::default();
            for maps in maps.chunks(MAPS_AT_ONCE) {
                statistics.append(estimators.measure(maps));
                observe(Work {
                    stage: Stage::Measuring,
                    units: maps.len() as u64,
                    total,
                });
            }
            statistics
        };
        let all: Vec<Prepared<'_>> = self
            .samples()
            .chain(&self.auxiliary)
            .zip(distributions)
            .map(|(sample, distribution)| Prepared {
                sample,
                pixels: Moments::of_all(&sample.maps).into(),
                distribution,
                measured: Measured {
                    statistics: measured(&sample.maps),
                    pixel_counts: bins.count_all(&sample.maps),
                },
            })
            .collect();
        let (drawn, auxiliary) = all.split_at(self.samples().count());
        Ok(self.metrics(&estimators, &bins, drawn, auxiliary.first(), observe))
    }

    fn check(&self, sample: &Sample<'_>) -> Result<()> {
        let refuse = |problem: String, remedy: &str| {
            let name = &sample.name;
            Err(Error::CheckFailed(format!(
                "{name} maps: {problem}; {remedy}"
            )))
        };
        let size = self.pixels * self.pixels;
        if sample.maps.len() < 2 {
            return refuse(
                match sample.maps.len() {
                    0 => "there are none".to_owned(),
                    _ => "there is only one".to_owned(),
                },
                "give at least two maps: statistics are computed over an ensemble",
            );
        }
        if sample.maps.len() > Bootstrap::MOST_MAPS {
            return refuse(
                format!("there are {}", sample.maps.len()),
                &format!("compare at most {} maps", Bootstrap::MOST_MAPS),
            );
        }
        for (index, map) in sample.maps.iter().enumerate() {
            if map.len() != size {
                return refuse(
                    format!(
                        "map {index} has {} pixels, not {} × {}",
                        map.len(),
                        self.pixels,
                        self.pixels
                    ),
                    "compare maps of one size",
                );
            }
            if map.iter().any(|value| !value.is_finite()) {
                return refuse(
                    format!("map {index} has a value that is not finite"),
                    "leave this map out, or train again with a lower learning rate if a generator made it",
                );
            }
            if map.iter().all(|value| *value == map[0]) {
                return refuse(
                    format!("map {index} is constant, so that its functionals are undefined"),
                    "leave this map out, or train again if a generator made it",
                );
            }
        }
        Ok(())
    }

    fn metrics(
        &self,
        estimators: &Estimators,
        bins: &PixelBins,
        drawn: &[Prepared<'_>],
        auxiliary: Option<&Prepared<'_>>,
        observe: &(dyn Fn(Work) + Sync),
    ) -> Metrics {
        let (real, generated) = (&drawn[0], &drawn[1]);
        let summary = self.summary(estimators, drawn);
        let yardstick = Yardstick::of(real, auxiliary);
        let pairs = 1 + u64::from(yardstick.is_some());
        let [of_power, of_functionals, of_peaks] = real.measured.statistics.columns();
        // Spectra and functionals are resampled once for the tests and once for the covariances.
        let quantities = (2 * (of_power + of_functionals) + of_peaks) as u64;
        let total = pairs * u64::from(self.bootstrap.resamples) * quantities;
        let advance = |units| {
            observe(Work {
                stage: Stage::Resampling,
                units,
                total,
            });
        };
        let test = |first: &Measured, second: &Measured| {
            Tests::of(first, second, &self.bootstrap, &advance)
        };
        let tests = test(&real.measured, &generated.measured);
        let yardstick_tests = yardstick
            .as_ref()
            .map(|pair| test(&pair.first, &pair.second));

        let ratios = |first: &[Vec<f64>], second: &[Vec<f64>]| {
            let columns = first[0].len() as u64;
            let advance_by = |resamples: u64| advance(resamples * columns);
            let (first, second) = (rows(first), rows(second));
            let found =
                CovarianceRatios::of_with(&first, &second, &self.bootstrap, &|| advance_by(1));
            if found.is_none() {
                advance_by(self.bootstrap.resamples.into());
            }
            found
        };
        let between = |first: &Measured, second: &Measured| CovarianceNumbers {
            power: ratios(&first.statistics.power, &second.statistics.power),
            functionals: ratios(
                &first.statistics.functionals,
                &second.statistics.functionals,
            ),
        };
        let covariance = between(&real.measured, &generated.measured);
        let yardstick_covariance = yardstick
            .as_ref()
            .map(|pair| between(&pair.first, &pair.second));

        let matrix = |measured: &Measured| CorrelationMatrix::of(&rows(&measured.statistics.power));
        let correlations = Correlations {
            real: matrix(&real.measured),
            generated: matrix(&generated.measured),
            yardstick_difference: yardstick
                .as_ref()
                .map(|pair| matrix(&pair.second).minus(&matrix(&pair.first))),
        };
        let yardstick_name = yardstick.map_or("–", |pair| pair.name);
        let mut paper = paper_rows(&tests, yardstick_tests.as_ref());
        paper.push(correlations.row());
        paper.extend(covariance.rows(yardstick_covariance.as_ref()));

        let program = format!("cosmogan {}", env!("CARGO_PKG_VERSION"));
        let mut provenance = self.provenance.clone();
        provenance.push(("Program".to_owned(), program.clone()));
        provenance.push((
            "Bootstrap".to_owned(),
            format!(
                "{} resamples, seed {}",
                self.bootstrap.resamples, self.bootstrap.seed
            ),
        ));
        Metrics {
            format: 2,
            title: self.title.clone(),
            program,
            pixels: self.pixels,
            side_degrees: self.side_degrees,
            l_edges: estimators.power.edges().to_vec(),
            nu_edges: estimators.minkowski.edges().to_vec(),
            verdict: summary.verdict(),
            summary,
            paper,
            yardstick: yardstick_name.to_owned(),
            tests,
            yardstick_tests,
            covariance,
            yardstick_covariance,
            correlations,
            histograms: histograms(bins, drawn),
            spectra: SpectrumBands {
                multipoles: estimators.power.multipoles(),
                samples: drawn
                    .iter()
                    .map(|p| p.band(&p.spectra(), 0..p.spectra()[0].len()))
                    .collect(),
            },
            modes: modes(estimators, drawn),
            functionals: functionals(estimators, drawn),
            thresholds: thresholds(estimators, drawn),
            training: self.training.as_ref().map(TrainingCurve::averaged),
            figures: self.figures.clone(),
            origins: self.origins.clone(),
            provenance,
        }
    }

    fn summary(&self, estimators: &Estimators, drawn: &[Prepared<'_>]) -> Summary {
        let describe = |p: &Prepared<'_>, distances: Option<Distances>| SampleSummary {
            name: p.sample.name.clone(),
            maps: p.sample.maps.len(),
            pixels: p.pixels.clone(),
            distances,
        };
        let real = &drawn[0];
        let real_spectra = real.spectra();
        let reference = real.content(&real_spectra);
        let from_real =
            |p: &Prepared<'_>| Some(Distances::between(&reference, &p.content(&p.spectra())));
        let halves = (real_spectra.len() >= FEWEST_FOR_HALVES).then(|| {
            let [even, odd] = [0, 1].map(|start| {
                let maps: Vec<&[f32]> = every_second(&real.sample.maps, start);
                (Distribution::of(&maps), every_second(&real_spectra, start))
            });
            let [even, odd] = [&even, &odd].map(|(pixels, spectra)| Content { pixels, spectra });
            Distances::between(&even, &odd)
        });
        let multipoles = estimators.power.multipoles();
        let first = multipoles.first().copied().unwrap_or(0.0);
        let last = multipoles.last().copied().unwrap_or(0.0);
        Summary {
            real: describe(real, halves),
            generated: describe(&drawn[1], from_real(&drawn[1])),
            untrained: drawn.get(2).map(|p| describe(p, from_real(p))),
            multipole_range: (first, last),
        }
    }
}

/// Minimum number of maps for a comparison of two halves.
const FEWEST_FOR_HALVES: usize = 4;

/// Baseline: two samples of real maps, compared in the same way.
struct Yardstick {
    name: &'static str,
    first: Measured,
    second: Measured,
}

impl Yardstick {
    fn of(real: &Prepared<'_>, auxiliary: Option<&Prepared<'_>>) -> Option<Self> {
        let whole = |prepared: &Prepared<'_>| Measured {
            statistics: prepared.measured.statistics.clone(),
            pixel_counts: prepared.measured.pixel_counts.clone(),
        };
        if let Some(auxiliary) = auxiliary {
            return Some(Self {
                name: "auxiliary",
                first: whole(real),
                second: whole(auxiliary),
            });
        }
        (real.sample.maps.len() >= FEWEST_FOR_HALVES).then(|| Self {
            name: "two halves of the real maps",
            first: real.measured.half(0),
            second: real.measured.half(1),
        })
    }
}

/// Histogram edges from the 10⁻⁵ to the 1 − 10⁻⁵ quantile of the samples.
///
/// κ outside is included in the normalisation but not drawn.
fn histogram_edges(leading: &[Distribution]) -> Vec<f64> {
    let quantile = |share: f64| leading.iter().map(move |sample| sample.quantile(share));
    let low = quantile(1e-5).fold(f64::INFINITY, f64::min);
    let high = quantile(1.0 - 1e-5).fold(f64::NEG_INFINITY, f64::max);
    // Samples with almost no variance still get bins of finite width.
    let high = high.max(low + 1e-6 * low.abs().max(1e-3));
    linear_edges(low, high, HISTOGRAM_BINS + 1)
}

fn histograms(bins: &PixelBins, drawn: &[Prepared<'_>]) -> PixelHistograms {
    let samples: Vec<(&str, Vec<u64>)> = drawn
        .iter()
        .map(|p| {
            let mut sums = vec![0_u64; bins.edges().len() + 1];
            for counts in &p.measured.pixel_counts {
                for (sum, count) in sums.iter_mut().zip(counts) {
                    *sum += u64::from(*count);
                }
            }
            (p.sample.name.as_str(), sums)
        })
        .collect();
    PixelHistograms::of_counts(bins.edges().to_vec(), &samples)
}

/// Returns three evenly spaced indices below `count`.
fn three_places(count: usize) -> [usize; 3] {
    [1, 2, 3].map(|quarter| (quarter * count / 4).min(count - 1))
}

fn names(drawn: &[Prepared<'_>]) -> Vec<String> {
    drawn.iter().map(|p| p.sample.name.clone()).collect()
}

fn column(rows: &[Vec<f64>], index: usize) -> Vec<f64> {
    rows.iter().map(|row| row[index]).collect()
}

fn modes(estimators: &Estimators, drawn: &[Prepared<'_>]) -> Distributions {
    let multipoles = estimators.power.multipoles();
    let panel = |mode: usize| {
        let ell = multipoles[mode];
        let factor = 1e4 * ell * (ell + 1.0) / std::f64::consts::TAU;
        let values: Vec<Vec<f64>> = drawn
            .iter()
            .map(|p| {
                let powers = column(&p.measured.statistics.power, mode);
                powers.into_iter().map(|power| factor * power).collect()
            })
            .collect();
        DistributionPanel::of(format!("ℓ = {ell:.0}"), "10⁴ ℓ(ℓ+1) C(ℓ) / 2π", &values)
    };
    Distributions {
        names: names(drawn),
        panels: three_places(multipoles.len()).map(panel).to_vec(),
    }
}

/// Short names of the functionals with their units.
const FUNCTIONALS: [&str; 3] = ["V₀ (area fraction)", "V₁ (1/pixel/κ)", "V₂ (1/pixel²/κ)"];

fn functionals(estimators: &Estimators, drawn: &[Prepared<'_>]) -> ThresholdBands {
    let bins = estimators.minkowski.edges().len() - 1;
    let functional = |which: usize| ThresholdPanel {
        quantity: FUNCTIONALS[which].to_owned(),
        samples: drawn
            .iter()
            .map(|p| {
                let rows = rows(&p.measured.statistics.functionals);
                p.band(&rows, which * bins..(which + 1) * bins)
            })
            .collect(),
    };
    let peaks = ThresholdPanel {
        quantity: "peaks (1/κ)".to_owned(),
        samples: drawn
            .iter()
            .map(|p| p.band(&rows(&p.measured.statistics.peaks), 0..bins))
            .collect(),
    };
    ThresholdBands {
        threshold: "threshold κ".to_owned(),
        thresholds: middles(estimators.minkowski.edges()),
        panels: (0..3).map(functional).chain([peaks]).collect(),
    }
}

fn thresholds(estimators: &Estimators, drawn: &[Prepared<'_>]) -> Distributions {
    let middles = middles(estimators.minkowski.edges());
    let panels = (0..3).flat_map(|which| {
        three_places(middles.len()).map(|place| {
            let values: Vec<Vec<f64>> = drawn
                .iter()
                .map(|p| {
                    let index = which * middles.len() + place;
                    column(&p.measured.statistics.functionals, index)
                })
                .collect();
            let title = format!("κ = {}", significant(middles[place], 3));
            DistributionPanel::of(title, FUNCTIONALS[which], &values)
        })
    });
    Distributions {
        names: names(drawn),
        panels: panels.collect(),
    }
}

fn every_second<T: Copy>(items: &[T], start: usize) -> Vec<T> {
    items.iter().skip(start).step_by(2).copied().collect()
}
