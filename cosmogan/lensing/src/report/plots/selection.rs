//! Generator scores against the training step.

use plotters::prelude::*;

use super::{Area, Axis, Drawn, Figure, INK, Plot, curve, fine, look, panel, plot};
use cosmogan_base::Result;

/// Scores of the generators of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct SelectionCurve {
    /// Training step and χ² distance, ascending in steps.
    pub points: Vec<(u64, f64)>,
    /// Step with the best score.
    pub best_step: u64,
}

impl SelectionCurve {
    /// Draws the scores with a vertical line at the best one.
    ///
    /// # Errors
    /// If the plotting library fails.
    pub fn plot(&self) -> Result<Plot> {
        plot(self)
    }
}

impl Figure for SelectionCurve {
    fn size(&self) -> (u32, u32) {
        (720, 320)
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        let points: Vec<(f64, f64)> = self
            .points
            .iter()
            .map(|(step, score)| (*step as f64, *score))
            .collect();
        let first = points.first().map_or(0.0, |point| point.0);
        let last = points.last().map_or(1.0, |point| point.0);
        let high = points
            .iter()
            .fold(0.0, |high, point| f64::max(high, point.1));
        let x = Axis::linear("training step", first - 1.0, last + 1.0, 7);
        let y = Axis::linear("χ² distance of the spectra", 0.0, 1.1 * high, 5);
        let chart = panel(area, &x, &y, true)?;
        let best = self.best_step as f64;
        let ends = vec![(best, 0.0), (best, f64::INFINITY)];
        let rule = PathElement::new(ends, INK.mix(0.5).stroke_width(fine(1.0)));
        chart.plotting_area().draw(&rule)?;
        let every = points.len().div_ceil(60).max(1);
        curve(&chart, points, look(1), every)
    }
}
