//! Minkowski functionals and peak counts against the threshold.

use plotters::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    Area, Axis, Band, Drawn, Figure, Plot, back_to_front, band, curve, fine, legend, look, panel,
    plot,
};
use cosmogan_base::Result;

/// Bands of one statistic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThresholdPanel {
    /// Name of the statistic, with its unit.
    pub quantity: String,
    /// One band per sample; the first is the reference.
    pub samples: Vec<Band>,
}

/// Several statistics at common thresholds, two panels per row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThresholdBands {
    /// Label of the threshold axis, with the unit.
    pub threshold: String,
    /// Bin midpoints, ascending.
    pub thresholds: Vec<f64>,
    /// One panel per statistic.
    pub panels: Vec<ThresholdPanel>,
}

impl ThresholdBands {
    /// Draws one panel for each statistic.
    ///
    /// # Errors
    /// If the plotting library fails.
    pub fn plot(&self) -> Result<Plot> {
        plot(self)
    }

    fn points(&self, value: impl Fn(usize) -> Option<f64>) -> Vec<(f64, f64)> {
        let places = self.thresholds.iter().enumerate();
        places
            .filter_map(|(index, threshold)| Some((*threshold, value(index)?)))
            .collect()
    }
}

impl Figure for ThresholdBands {
    fn size(&self) -> (u32, u32) {
        (860, 30 + 270 * self.panels.len().div_ceil(2) as u32)
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        let Some(first) = self.panels.first() else {
            return Ok(());
        };
        let names = first.samples.iter().enumerate();
        legend(area, names.map(|(i, s)| (s.name.as_str(), look(i), true)))?;
        let (_, below) = area.split_vertically(fine(26.0));
        let cells = below.split_evenly((self.panels.len().div_ceil(2), 2));
        let ends = self.thresholds.first().zip(self.thresholds.last());
        let (low, high) = ends.map_or((0.0, 1.0), |(low, high)| (*low, *high));
        let margin = 0.03 * (high - low);
        for (cell, content) in cells.iter().zip(&self.panels) {
            // The scale follows the first two samples; a third may leave it.
            let edge = |sample: &Band, sign: f64| {
                self.points(|index| {
                    let sigma = sample.sigma.as_ref().map_or(0.0, |sigma| sigma[index]);
                    Some(sample.mean.get(index)? + sign * sigma)
                })
            };
            let leading = content.samples.iter().take(2);
            let values: Vec<f64> = leading
                .flat_map(|sample| edge(sample, -1.0).into_iter().chain(edge(sample, 1.0)))
                .map(|point| point.1)
                .collect();
            let bottom = values.iter().copied().fold(f64::INFINITY, f64::min);
            let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let room = 0.06 * (top - bottom);
            let x = Axis::linear(self.threshold.as_str(), low - margin, high + margin, 6);
            let y = Axis::linear(content.quantity.as_str(), bottom - room, top + room, 5);
            let chart = panel(cell, &x, &y, true)?;
            for (index, sample) in back_to_front(&content.samples) {
                if sample.sigma.is_some() {
                    let fill = look(index).colour.mix(0.22);
                    band(&chart, &edge(sample, -1.0), &edge(sample, 1.0), fill)?;
                }
            }
            for (index, sample) in back_to_front(&content.samples) {
                curve(&chart, edge(sample, 0.0), look(index), 2)?;
            }
        }
        Ok(())
    }
}
