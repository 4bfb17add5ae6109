//! Distributions of single quantities over maps: small histograms side by side.

use plotters::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    Area, Axis, Drawn, Figure, Plot, back_to_front, curve, fine, legend, look, panel, plot,
    text_style,
};
use crate::stats::linear_edges;
use cosmogan_base::Result;

const BINS: usize = 24;

/// Distribution of one quantity over the maps of each sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DistributionPanel {
    /// Multipole or threshold of the quantity.
    pub title: String,
    /// Label of the horizontal axis, with the unit.
    pub quantity: String,
    /// Bin edges, evenly spaced.
    pub edges: Vec<f64>,
    /// Fraction of the maps in each bin, one list per sample.
    ///
    /// The first and last bin include the values beyond them.
    pub shares: Vec<Vec<f64>>,
}

impl DistributionPanel {
    /// Builds histograms of the values in `samples`, over the range of the first two samples.
    pub(in crate::report) fn of(title: String, quantity: &str, samples: &[Vec<f64>]) -> Self {
        let leading = || samples.iter().take(2).flatten().copied();
        let low = leading().fold(f64::INFINITY, f64::min);
        let high = leading().fold(f64::NEG_INFINITY, f64::max);
        // A constant quantity still gets bins of finite width.
        let high = high.max(low + 1e-6 * low.abs().max(1e-30));
        let edges = linear_edges(low, high, BINS + 1);
        let shares = samples
            .iter()
            .map(|values| {
                let mut shares = vec![0.0; BINS];
                for value in values {
                    let above = edges.partition_point(|edge| edge <= value);
                    shares[above.clamp(1, BINS) - 1] += 1.0 / values.len() as f64;
                }
                shares
            })
            .collect();
        Self {
            title,
            quantity: quantity.to_owned(),
            edges,
            shares,
        }
    }
}

/// Panels in rows of three.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Distributions {
    /// Names of the samples.
    pub names: Vec<String>,
    /// The panels, row by row.
    pub panels: Vec<DistributionPanel>,
}

const COLUMNS: usize = 3;

impl Distributions {
    /// Draws the panels.
    ///
    /// # Errors
    /// If the plotting library fails.
    pub fn plot(&self) -> Result<Plot> {
        plot(self)
    }
}

impl Figure for Distributions {
    fn size(&self) -> (u32, u32) {
        (960, 30 + 240 * self.panels.len().div_ceil(COLUMNS) as u32)
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        let names = self.names.iter().enumerate();
        legend(area, names.map(|(i, name)| (name.as_str(), look(i), true)))?;
        let (_, below) = area.split_vertically(fine(26.0));
        let cells = below.split_evenly((self.panels.len().div_ceil(COLUMNS), COLUMNS));
        for (cell, content) in cells.iter().zip(&self.panels) {
            let (title, plot) = cell.split_vertically(fine(20.0));
            let at = (fine(80.0) as i32, fine(4.0) as i32);
            title.draw(&Text::new(content.title.clone(), at, text_style()))?;
            let (low, high) = (content.edges[0], content.edges[BINS]);
            let leading = content.shares.iter().take(2).flatten();
            let top = leading.fold(0.0, |top, share| f64::max(top, *share));
            let x = Axis::linear(content.quantity.as_str(), low, high, 4);
            let y = Axis::linear("share of maps", 0.0, 1.1 * top, 4);
            let chart = panel(&plot, &x, &y, true)?;
            for (index, shares) in back_to_front(&content.shares) {
                let middles = content
                    .edges
                    .windows(2)
                    .map(|pair| 0.5 * (pair[0] + pair[1]));
                let points = middles.zip(shares.iter().copied()).collect();
                curve(&chart, points, look(index), 3)?;
            }
        }
        Ok(())
    }
}
