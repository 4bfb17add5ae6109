//! Real maps against generated ones: everything that is measured and tested.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::digits::significant;
use super::metrics::{Correlations, CovarianceNumbers, Metrics};
use super::numbers::{Content, Distances, PixelNumbers};
use super::plots::{
    Band, DistributionPanel, Distributions, PixelHistograms, SpectrumBands, ThresholdBands,
    ThresholdPanel, TrainingCurve,
};
use super::significance::{Measured, Tests, paper_rows};
use super::summary::{SampleSummary, Summary};
use super::write;
use crate::error::{Error, Result};
use crate::provenance::Provenance;
use crate::stats::two_sample::Bootstrap;
use crate::stats::{
    CorrelationMatrix, CovarianceRatios, Distribution, Edges, Estimators, Moments, PixelBins,
    linear_edges, middles,
};

/// Bins of the histogram of κ that is drawn and tested.
pub(super) const HISTOGRAM_BINS: usize = 50;

/// Maps of one origin.
#[derive(Debug, Clone)]
pub struct Sample<'a> {
    /// What tables and legends call it.
    pub name: String,
    /// The maps: κ in row order, all of the size that the comparison gives.
    pub maps: Vec<&'a [f32]>,
}

/// Maps to be shown beside the comparison, on its colour scale: nearest neighbours, interpolations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MapFigure {
    /// Heading above the figure.
    pub heading: String,
    /// Name of the picture's file, without its ending.
    pub file_name: String,
    /// What the rows show.
    pub caption: String,
    /// Maps in a row.
    pub columns: usize,
    /// κ in row order, row by row of the figure.
    #[serde(skip)]
    pub maps: Vec<Vec<f32>>,
}

/// What is compared, and what is to be said about where it came from.
#[derive(Debug, Clone)]
pub struct Comparison<'a> {
    /// Title of the page.
    pub title: String,
    /// Height and width of every map in pixels.
    pub pixels: usize,
    /// Side of every map in degrees.
    pub side_degrees: f64,
    /// Bin edges; where they are left open, those of [`Estimators::new`].
    pub edges: Edges,
    /// Resamples of the tests.
    pub bootstrap: Bootstrap,
    /// The reference.
    pub real: Sample<'a>,
    /// What is to be judged.
    pub generated: Sample<'a>,
    /// Real maps from independent simulations: how far apart equals are. Without them, two halves of the reference
    /// are the yardstick.
    pub auxiliary: Option<Sample<'a>>,
    /// The same generator before training: what no learning at all looks like.
    pub untrained: Option<Sample<'a>>,
    /// The losses of the training.
    pub training: Option<TrainingCurve>,
    /// More maps to show.
    pub figures: Vec<MapFigure>,
    /// What manifests say of the boxes behind the maps, by what the maps are.
    pub origins: BTreeMap<String, Provenance>,
    /// Command, seed, weights, cosmology …: pairs of what and which.
    pub provenance: Vec<(String, String)>,
}

/// A sample with all that was measured of it.
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

    /// Mean and standard deviation of some of a statistic's columns.
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
    /// Measures, tests, draws and writes `report.html`, `metrics.json`, the pictures and the plots into `folder`,
    /// replacing what stands there under those names.
    ///
    /// # Errors
    /// Where maps do not fit together, are too few, constant or not finite, or the folder cannot be written.
    pub fn write(&self, folder: impl AsRef<Path>) -> Result<Summary> {
        let metrics = self.measure()?;
        write::write(self, &metrics, folder.as_ref())?;
        Ok(metrics.summary)
    }

    /// Real, generated, untrained: the samples that are drawn, in this order.
    pub(super) fn samples(&self) -> impl Iterator<Item = &Sample<'_>> {
        [&self.real, &self.generated]
            .into_iter()
            .chain(&self.untrained)
    }

    fn measure(&self) -> Result<Metrics> {
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
        let all: Vec<Prepared<'_>> = self
            .samples()
            .chain(&self.auxiliary)
            .zip(distributions)
            .map(|(sample, distribution)| Prepared {
                sample,
                pixels: Moments::of_all(&sample.maps).into(),
                distribution,
                measured: Measured {
                    statistics: estimators.measure(&sample.maps),
                    pixel_counts: bins.count_all(&sample.maps),
                },
            })
            .collect();
        let (drawn, auxiliary) = all.split_at(self.samples().count());
        Ok(self.metrics(&estimators, &bins, drawn, auxiliary.first()))
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
                "give at least two maps: statistics are compared over an ensemble",
            );
        }
        if sample.maps.len() > Bootstrap::MOST_MAPS {
            return refuse(
                format!("there are {}", sample.maps.len()),
                &format!("compare at most {} at once", Bootstrap::MOST_MAPS),
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
                    format!("map {index} holds a value that is not finite"),
                    "leave this map out, or train again with a lower learning rate if a generator made it",
                );
            }
            if map.iter().all(|value| *value == map[0]) {
                return refuse(
                    format!("map {index} is constant, so that its functionals are undefined"),
                    "leave this map out, or train the generator anew if it made it",
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
    ) -> Metrics {
        let (real, generated) = (&drawn[0], &drawn[1]);
        let summary = self.summary(estimators, drawn);
        let tests = Tests::of(&real.measured, &generated.measured, &self.bootstrap);
        let yardstick = Yardstick::of(real, auxiliary);
        let yardstick_tests = yardstick
            .as_ref()
            .map(|pair| Tests::of(&pair.first, &pair.second, &self.bootstrap));

        let between = |first: &Measured, second: &Measured| CovarianceNumbers {
            power: CovarianceRatios::of(
                &rows(&first.statistics.power),
                &rows(&second.statistics.power),
                &self.bootstrap,
            ),
            functionals: CovarianceRatios::of(
                &rows(&first.statistics.functionals),
                &rows(&second.statistics.functionals),
                &self.bootstrap,
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

/// Maps that two halves of a sample need to say anything.
const FEWEST_FOR_HALVES: usize = 4;

/// Two samples of real maps: how far apart equals are.
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

/// Bins from the smallest to the largest κ that occurs in a share of 10⁻⁵ of the samples; κ beyond them is counted in
/// the norm, not drawn.
fn histogram_edges(leading: &[Distribution]) -> Vec<f64> {
    let quantile = |share: f64| leading.iter().map(move |sample| sample.quantile(share));
    let low = quantile(1e-5).fold(f64::INFINITY, f64::min);
    let high = quantile(1.0 - 1e-5).fold(f64::NEG_INFINITY, f64::max);
    // Samples that hardly vary still get bins of a finite width.
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

/// Three of `count` places, evenly spaced.
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
const FUNCTIONALS: [&str; 3] = [
    "V₀ (share of the area)",
    "V₁ (1/pixel/κ)",
    "V₂ (1/pixel²/κ)",
];

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
