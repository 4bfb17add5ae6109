//! How often each pixel value occurs: histograms of up to three samples, and their ratio to the first.

use plotters::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    Area, Axis, Drawn, Figure, Plot, back_to_front, curve, fine, legend, look, panel, plot,
    shortened,
};
use crate::error::Result;

/// The probability density of κ in one sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// What the legend calls the sample.
    pub name: String,
    /// Density per unit of κ in each bin; over all κ, inside the edges and outside, it integrates to 1.
    pub density: Vec<f64>,
}

/// Histograms over common bins. The first sample is the reference of the ratios.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PixelHistograms {
    /// Edges of the bins in κ, one more than there are bins, ascending and evenly spaced.
    pub edges: Vec<f64>,
    /// One histogram per sample.
    pub samples: Vec<Histogram>,
}

impl PixelHistograms {
    /// Bins from the smallest to the largest κ that occurs in a share of 10⁻⁵ of the first two samples; κ beyond them is
    /// counted in the norm, not drawn. `samples` are names with sorted values.
    pub(in crate::report) fn of_sorted(samples: &[(&str, &[f32])], bins: usize) -> Self {
        let quantile = |sorted: &[f32], share: f64| {
            let last = sorted.len().saturating_sub(1);
            sorted
                .get((share * last as f64).round() as usize)
                .map_or(0.0, |&value| f64::from(value))
        };
        let leading = || samples.iter().take(2);
        let low = leading()
            .map(|(_, sorted)| quantile(sorted, 1e-5))
            .fold(f64::INFINITY, f64::min);
        let high = leading()
            .map(|(_, sorted)| quantile(sorted, 1.0 - 1e-5))
            .fold(f64::NEG_INFINITY, f64::max);
        // A constant sample still gets bins of a finite width.
        let high = high.max(low + 1e-6 * low.abs().max(1e-3));
        let width = (high - low) / bins as f64;
        let edges: Vec<f64> = (0..=bins).map(|edge| low + width * edge as f64).collect();
        let samples = samples
            .iter()
            .map(|(name, sorted)| {
                let below: Vec<usize> = edges
                    .iter()
                    .enumerate()
                    .map(|(edge, limit)| {
                        // The last bin includes its upper edge.
                        sorted.partition_point(|&value| {
                            f64::from(value) < *limit
                                || (edge == bins && f64::from(value) <= *limit)
                        })
                    })
                    .collect();
                let norm = sorted.len() as f64 * width;
                Histogram {
                    name: (*name).to_owned(),
                    density: below
                        .windows(2)
                        .map(|pair| (pair[1] - pair[0]) as f64 / norm)
                        .collect(),
                }
            })
            .collect();
        Self { edges, samples }
    }

    /// Draws the histograms with a panel of ratios below.
    ///
    /// # Errors
    /// Only where the plotting library fails.
    pub fn plot(&self) -> Result<Plot> {
        plot(self)
    }

    /// Points at the middles of the bins, without those where `value` has nothing to show.
    fn points(&self, value: impl Fn(usize) -> Option<f64>) -> Vec<(f64, f64)> {
        (0..self.edges.len().saturating_sub(1))
            .filter_map(|bin| {
                let middle = 0.5 * (self.edges[bin] + self.edges[bin + 1]);
                value(bin).map(|value| (middle, value))
            })
            .collect()
    }
}

impl Figure for PixelHistograms {
    fn size(&self) -> (u32, u32) {
        (720, 470)
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        let names = self.samples.iter().enumerate();
        legend(area, names.map(|(i, s)| (s.name.as_str(), look(i), true)))?;
        let (_, below) = area.split_vertically(fine(26.0));
        let (upper, lower) = below.split_vertically(fine(290.0));

        let (first, last) = (self.edges.first(), self.edges.last());
        let (low, high) = (first.copied().unwrap_or(0.0), last.copied().unwrap_or(1.0));
        let margin = 0.015 * (high - low);
        let x = Axis::linear("convergence κ", low - margin, high + margin, 8);
        let leading = || {
            let both = self.samples.iter().take(2);
            both.flat_map(|sample| sample.density.iter().copied())
                .filter(|density| *density > 0.0)
        };
        let lowest = leading().fold(f64::INFINITY, f64::min);
        let highest = leading().fold(0.0, f64::max);
        let y = Axis::logarithmic("probability density of κ", 0.5 * lowest, 3.0 * highest);
        let chart = panel(&upper, &x, &y, false)?;
        for (index, sample) in back_to_front(&self.samples) {
            let points = self.points(|bin| sample.density.get(bin).copied().filter(|d| *d > 0.0));
            curve(&chart, points, look(index), 1)?;
        }

        let name = self
            .samples
            .first()
            .map_or("", |sample| sample.name.as_str());
        let ratio = Axis::logarithmic(format!("ratio to {}", shortened(name)), 0.5, 2.0);
        let chart = panel(&lower, &x, &ratio, true)?;
        curve(
            &chart,
            vec![(low - margin, 1.0), (high + margin, 1.0)],
            look(0),
            0,
        )?;
        let Some(reference) = self.samples.first() else {
            return Ok(());
        };
        for (index, sample) in back_to_front(&self.samples) {
            if index == 0 {
                continue;
            }
            let points = self.points(|bin| {
                let under = reference.density.get(bin).copied().filter(|d| *d > 0.0)?;
                let over = sample.density.get(bin).copied().filter(|d| *d > 0.0)?;
                Some(over / under)
            });
            curve(&chart, points, look(index), 1)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn densities_integrate_to_the_share_inside() {
        let values: Vec<f32> = (0..1000).map(|i| i as f32 / 1000.0).collect();
        let far = [-5.0f32, 0.25, 0.25, 0.75];
        let both = PixelHistograms::of_sorted(&[("a", &values), ("b", &values), ("c", &far)], 10);
        assert_eq!(both.edges.len(), 11);
        let width = both.edges[1] - both.edges[0];
        let inside = |i: usize| both.samples[i].density.iter().sum::<f64>() * width;
        assert!((inside(0) - 1.0).abs() < 1e-9);
        assert!((inside(2) - 0.75).abs() < 1e-9);
    }

    #[test]
    fn a_constant_sample_can_be_drawn() {
        let values = [0.5f32; 64];
        let histograms = PixelHistograms::of_sorted(&[("a", &values), ("b", &values)], 10);
        assert!(histograms.plot().is_ok());
    }
}
