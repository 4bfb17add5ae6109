//! Histograms of pixel values of up to three samples, and their ratios to the first.

use plotters::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    Area, Axis, Drawn, Figure, Plot, back_to_front, curve, fine, legend, look, panel, plot,
    shortened,
};
use cosmogan_base::Result;

/// Probability density of κ in one sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Name of the sample in the legend.
    pub name: String,
    /// Probability density per unit of κ in each bin.
    ///
    /// Normalised over all pixels, including those outside the bins.
    pub density: Vec<f64>,
}

/// Histograms over common bins. The first sample is the reference for the ratios.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PixelHistograms {
    /// Bin edges in κ, ascending and evenly spaced; one more than there are bins.
    pub edges: Vec<f64>,
    /// One histogram per sample.
    pub samples: Vec<Histogram>,
}

impl PixelHistograms {
    /// Builds histograms from pixel counts summed over the maps of each sample.
    ///
    /// Counts are those below, in and above the bins between `edges`.
    pub(in crate::report) fn of_counts(edges: Vec<f64>, samples: &[(&str, Vec<u64>)]) -> Self {
        let width = edges.get(1).zip(edges.first()).map_or(1.0, |(b, a)| b - a);
        let samples = samples
            .iter()
            .map(|(name, counts)| {
                let norm = counts.iter().sum::<u64>() as f64 * width;
                let inside = &counts[1..counts.len() - 1];
                Histogram {
                    name: (*name).to_owned(),
                    density: inside.iter().map(|&count| count as f64 / norm).collect(),
                }
            })
            .collect();
        Self { edges, samples }
    }

    /// Draws the histograms with a panel of ratios below.
    ///
    /// # Errors
    /// If the plotting library fails.
    pub fn plot(&self) -> Result<Plot> {
        plot(self)
    }

    /// Points at the bin midpoints; bins for which `value` returns `None` are omitted.
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
        let counts = |all: [u64; 4]| all.to_vec();
        let histograms = PixelHistograms::of_counts(
            vec![0.0, 0.5, 1.0],
            &[("a", counts([0, 3, 1, 0])), ("b", counts([1, 2, 1, 0]))],
        );
        assert_eq!(histograms.samples[0].density, [1.5, 0.5]);
        assert_eq!(histograms.samples[1].density, [1.0, 0.5]);
        assert!(histograms.plot().is_ok());
    }
}
