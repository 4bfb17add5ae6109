//! Training curves: both losses against the step.

use plotters::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Area, Axis, Drawn, Figure, INK, Plot, curve, fine, legend, look, panel, plot};
use cosmogan_base::Result;

/// Maximum number of drawn points; longer runs are averaged in blocks.
const MOST_POINTS: usize = 360;

/// Losses of one step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TrainingPoint {
    /// Step number, starting at 1.
    pub step: u64,
    /// Discriminator loss: binary cross-entropy in nats, real plus generated.
    pub discriminator_loss: f64,
    /// Generator loss: binary cross-entropy, non-saturating, in nats.
    pub generator_loss: f64,
}

/// Losses over a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainingCurve {
    /// One point per recorded step, ascending.
    pub points: Vec<TrainingPoint>,
    /// Step whose weights were kept, if not the last.
    pub selected_step: Option<u64>,
}

impl TrainingCurve {
    /// Draws the losses.
    ///
    /// # Errors
    /// If the plotting library fails.
    pub fn plot(&self) -> Result<Plot> {
        plot(self)
    }

    /// Number of points with finite losses.
    /// Only these can be drawn and written as JSON.
    pub(in crate::report) fn finite_points(&self) -> usize {
        self.points.iter().filter(|point| point.is_finite()).count()
    }

    /// Number of recorded steps averaged per drawn point.
    pub(in crate::report) fn steps_per_point(&self) -> usize {
        self.finite_points().div_ceil(MOST_POINTS).max(1)
    }

    /// Returns the curve as drawn.
    /// Points are means over blocks of finite points, each at the last step of its block.
    pub(in crate::report) fn averaged(&self) -> Self {
        let finite: Vec<TrainingPoint> = self
            .points
            .iter()
            .filter(|point| point.is_finite())
            .copied()
            .collect();
        let mean = |block: &[TrainingPoint], loss: fn(&TrainingPoint) -> f64| {
            block.iter().map(loss).sum::<f64>() / block.len() as f64
        };
        let points = finite
            .chunks(self.steps_per_point())
            .map(|block| TrainingPoint {
                step: block.last().map_or(0, |point| point.step),
                discriminator_loss: mean(block, |point| point.discriminator_loss),
                generator_loss: mean(block, |point| point.generator_loss),
            })
            .collect();
        Self {
            points,
            selected_step: self.selected_step,
        }
    }
}

impl TrainingPoint {
    fn is_finite(&self) -> bool {
        self.discriminator_loss.is_finite() && self.generator_loss.is_finite()
    }
}

impl Figure for TrainingCurve {
    fn size(&self) -> (u32, u32) {
        (720, 320)
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        let drawn = self.averaged().points;
        let points = |loss: fn(&TrainingPoint) -> f64| -> Vec<(f64, f64)> {
            drawn
                .iter()
                .map(|point| (point.step as f64, loss(point)))
                .collect()
        };
        let discriminator = points(|point| point.discriminator_loss);
        let generator = points(|point| point.generator_loss);
        let keys = [
            ("discriminator", look(0), true),
            ("generator", look(1), true),
        ];
        legend(area, keys.into_iter())?;
        let (_, below) = area.split_vertically(fine(26.0));

        let steps = |of: fn(f64, f64) -> f64, start: f64| {
            self.points
                .iter()
                .fold(start, |far, point| of(far, point.step as f64))
        };
        let (first, last) = (steps(f64::min, f64::INFINITY), steps(f64::max, 0.0));
        let x = Axis::linear("training step", first - 1.0, last, 7);
        // The axis covers 99.5 % of the points, so that a spike at the start does not flatten the rest.
        let mut losses: Vec<f64> = discriminator
            .iter()
            .chain(&generator)
            .map(|point| point.1)
            .collect();
        losses.sort_unstable_by(f64::total_cmp);
        let high = losses
            .get(((losses.len() as f64 * 0.995) as usize).min(losses.len().saturating_sub(1)))
            .copied()
            .unwrap_or(1.0);
        let y = Axis::linear("loss (nat)", 0.0, 1.1 * high, 5);
        let chart = panel(&below, &x, &y, true)?;
        if let Some(step) = self.selected_step {
            let ends = vec![(step as f64, 0.0), (step as f64, f64::INFINITY)];
            let rule = PathElement::new(ends, INK.mix(0.5).stroke_width(fine(1.0)));
            chart.plotting_area().draw(&rule)?;
        }
        for (index, points) in [(1, generator), (0, discriminator)] {
            let every = points.len().div_ceil(12).max(1);
            curve(&chart, points, look(index), every)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_runs_are_averaged_in_blocks() {
        let curve = TrainingCurve {
            points: (1..=1000)
                .map(|step| TrainingPoint {
                    step,
                    discriminator_loss: step as f64,
                    generator_loss: 1.0,
                })
                .collect(),
            selected_step: None,
        };
        assert_eq!(curve.steps_per_point(), 3);
        let averaged = curve.averaged();
        assert_eq!(averaged.points.len(), 334);
        assert_eq!(averaged.points[0].step, 3);
        assert_eq!(averaged.points[0].discriminator_loss, 2.0);
        assert_eq!(averaged.averaged(), averaged);
    }

    #[test]
    fn an_empty_run_can_be_drawn() {
        assert!(TrainingCurve::default().plot().is_ok());
    }
}
