//! Power spectra: bands of mean ± standard deviation, and ratios of means.

use plotters::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    Area, Axis, Drawn, Figure, INK, Plot, back_to_front, band, curve, fine, legend, look, panel,
    plot,
};
use crate::stats::Columns;
use cosmogan_base::Result;

/// Mean and standard deviation over maps of a binned statistic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Band {
    /// Name of the sample in the legend.
    pub name: String,
    /// Number of maps.
    pub maps: usize,
    /// Mean over maps; for power spectra C_ℓ in each ℓ bin, in steradian.
    pub mean: Vec<f64>,
    /// Standard deviation over maps; absent for a single map.
    pub sigma: Option<Vec<f64>>,
}

impl Band {
    /// Computes the band from `rows`, which has one row of values per map.
    pub fn of(name: impl Into<String>, rows: &[&[f64]]) -> Self {
        let columns = Columns::of(rows);
        Self {
            name: name.into(),
            maps: rows.len(),
            sigma: (rows.len() > 1).then(|| columns.deviations()),
            mean: columns.mean,
        }
    }
}

/// Power spectra at common multipoles.
///
/// The first sample is the reference for the ratios.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpectrumBands {
    /// Multipoles ℓ, ascending.
    pub multipoles: Vec<f64>,
    /// One band per sample.
    pub samples: Vec<Band>,
}

impl SpectrumBands {
    /// Draws the bands with a panel of ratios below.
    ///
    /// # Errors
    /// If the plotting library fails.
    pub fn plot(&self) -> Result<Plot> {
        plot(self)
    }

    /// Points (ℓ, ℓ(ℓ+1)/2π · `value`) of the bins in which the reference has power.
    /// Bins without modes have none.
    fn points(&self, value: impl Fn(usize) -> Option<f64>) -> Vec<(f64, f64)> {
        self.used()
            .filter_map(|(k, multipole)| {
                let factor = multipole * (multipole + 1.0) / std::f64::consts::TAU;
                Some((multipole, factor * value(k)?))
            })
            .collect()
    }

    fn used(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        self.multipoles
            .iter()
            .copied()
            .enumerate()
            .filter(|(k, multipole)| {
                let power = self.samples.first().and_then(|sample| sample.mean.get(*k));
                *multipole > 0.0 && power.is_some_and(|power| *power > 0.0)
            })
    }
}

impl Figure for SpectrumBands {
    fn size(&self) -> (u32, u32) {
        (720, 500)
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        let names = self.samples.iter().enumerate();
        legend(area, names.map(|(i, s)| (s.name.as_str(), look(i), true)))?;
        let (_, below) = area.split_vertically(fine(26.0));
        let (upper, lower) = below.split_vertically(fine(310.0));

        let first = self.used().next().map_or(1.0, |(_, multipole)| multipole);
        let last = self.used().last().map_or(1.0, |(_, multipole)| multipole);
        let x = Axis::logarithmic("multipole ℓ", 0.93 * first, 1.07 * last);
        let every = self.used().count().div_ceil(14).max(1);
        let (low, high) = self.vertical_range();
        let y = Axis::logarithmic("ℓ(ℓ+1) C(ℓ) / 2π", low, high);
        let chart = panel(&upper, &x, &y, false)?;
        for (index, sample) in back_to_front(&self.samples) {
            if let Some(sigma) = &sample.sigma {
                let edge =
                    |sign: f64| self.points(|k| Some(sample.mean.get(k)? + sign * sigma.get(k)?));
                let fill = look(index).colour.mix(0.22);
                band(&chart, &edge(-1.0), &edge(1.0), fill)?;
            }
        }
        for (index, sample) in back_to_front(&self.samples) {
            let points = self.points(|k| sample.mean.get(k).copied());
            curve(&chart, points, look(index), every)?;
        }

        let ratio = Axis::logarithmic("ratio of means", 0.5, 2.0);
        let chart = panel(&lower, &x, &ratio, true)?;
        let Some(reference) = self.samples.first() else {
            return Ok(());
        };
        if let Some(sigma) = &reference.sigma {
            let error = |sign: f64| -> Vec<(f64, f64)> {
                let scale = sign / (reference.maps as f64).sqrt();
                self.used()
                    .map(|(k, l)| (l, 1.0 + scale * sigma[k] / reference.mean[k]))
                    .collect()
            };
            band(&chart, &error(-1.0), &error(1.0), INK.mix(0.22))?;
        }
        for (index, sample) in back_to_front(&self.samples) {
            let points: Vec<(f64, f64)> = self
                .used()
                .filter_map(|(k, l)| Some((l, sample.mean.get(k)? / reference.mean[k])))
                .collect();
            let every = if index == 0 { 0 } else { every };
            curve(&chart, points, look(index), every)?;
        }
        Ok(())
    }
}

impl SpectrumBands {
    /// Vertical range of the plot.
    /// It holds the bands of the first two samples, and those of a third within four decades.
    fn vertical_range(&self) -> (f64, f64) {
        let extremes = |sample: &Band| {
            let sigma = |k: usize| sample.sigma.as_ref().and_then(|s| s.get(k).copied());
            let upper = self.points(|k| Some(sample.mean.get(k)? + sigma(k).unwrap_or(0.0)));
            let lower = self.points(|k| {
                let mean = *sample.mean.get(k)?;
                // A band that reaches zero has no lower edge on a logarithmic axis: half the mean is used instead.
                Some((mean - sigma(k).unwrap_or(0.0)).max(0.5 * mean)).filter(|v| *v > 0.0)
            });
            let high = upper.iter().map(|p| p.1).fold(0.0, f64::max);
            let low = lower.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
            (low, high)
        };
        let (mut low, mut high) = (f64::INFINITY, 0.0f64);
        for sample in self.samples.iter().take(2) {
            let (lowest, highest) = extremes(sample);
            low = low.min(lowest);
            high = high.max(highest);
        }
        for sample in self.samples.iter().skip(2) {
            let (lowest, highest) = extremes(sample);
            low = low.min(lowest.max(1e-4 * high));
            high = high.max(highest.min(1e4 * low));
        }
        (0.7 * low, 1.5 * high)
    }
}
