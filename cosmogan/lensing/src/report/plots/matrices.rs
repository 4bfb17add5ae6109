//! Correlation matrices as images, with the multipole along both axes.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Area, Axis, Drawn, FINE, Figure, fine, panel, pixels, text_style};
use crate::report::colour::inferno;
use crate::stats::CorrelationMatrix;
use cosmogan_base::Result;

/// One matrix with its title and colour range.
#[derive(Debug)]
pub(in crate::report) struct MatrixPanel<'a> {
    pub(in crate::report) title: String,
    pub(in crate::report) matrix: &'a CorrelationMatrix,
    /// Value at the dark end of the colour map.
    pub(in crate::report) low: f64,
    /// Value at the bright end of the colour map.
    pub(in crate::report) high: f64,
}

/// Matrices in rows of two, each with its own colour bar.
#[derive(Debug)]
pub(in crate::report) struct Matrices<'a> {
    /// Bin edges in ℓ.
    pub(in crate::report) edges: &'a [f64],
    pub(in crate::report) panels: Vec<MatrixPanel<'a>>,
}

impl Matrices<'_> {
    /// Draws a PNG. As SVG, every matrix entry would be a separate shape.
    ///
    /// # Errors
    /// If drawing or encoding fails.
    pub(in crate::report) fn png(&self) -> Result<Vec<u8>> {
        let (rgb, width, height) = pixels(self)?;
        crate::report::encode::encode_rgb(&rgb, width, height)
    }
}

impl Figure for Matrices<'_> {
    fn size(&self) -> (u32, u32) {
        (860, 420 * self.panels.len().div_ceil(2) as u32)
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        let cells = area.split_evenly((self.panels.len().div_ceil(2), 2));
        let ends = self.edges.first().zip(self.edges.last());
        let (low, high) = ends.map_or((0.0, 1.0), |(low, high)| (*low, *high));
        for (cell, content) in cells.iter().zip(&self.panels) {
            let (title, below) = cell.split_vertically(fine(24.0));
            let at = (fine(80.0) as i32, fine(6.0) as i32);
            title.draw(&Text::new(content.title.clone(), at, text_style()))?;
            let (plot, bar) = below.split_vertically(fine(344.0));
            let x = Axis::linear("multipole ℓ", low, high, 4);
            let y = Axis::linear("multipole ℓ", low, high, 4);
            let chart = panel(&plot, &x, &y, true)?;
            let colour = |value: f64| {
                let [r, g, b] = inferno((value - content.low) / (content.high - content.low));
                RGBColor(r, g, b).filled()
            };
            for (row, values) in content.matrix.rows.iter().enumerate() {
                for (column, value) in values.iter().enumerate() {
                    let corners = [
                        (self.edges[column], self.edges[row]),
                        (self.edges[column + 1], self.edges[row + 1]),
                    ];
                    let cell = Rectangle::new(corners, colour(f64::from(*value)));
                    chart.plotting_area().draw(&cell)?;
                }
            }
            draw_bar(&bar, content, colour)?;
        }
        Ok(())
    }
}

fn draw_bar<B: DrawingBackend>(
    area: &Area<B>,
    content: &MatrixPanel<'_>,
    colour: impl Fn(f64) -> ShapeStyle,
) -> Drawn<B> {
    const STEPS: i32 = 128;
    let (left, right) = (fine(80.0) as i32, fine(400.0) as i32);
    let (top, bottom) = (fine(4.0) as i32, fine(16.0) as i32);
    let width = content.high - content.low;
    for step in 0..STEPS {
        let share = (f64::from(step) + 0.5) / f64::from(STEPS);
        let at = |step: i32| left + (right - left) * step / STEPS;
        let corners = [(at(step), top), (at(step + 1) + FINE as i32 / 2, bottom)];
        area.draw(&Rectangle::new(
            corners,
            colour(content.low + share * width),
        ))?;
    }
    let axis = Axis::linear("", content.low, content.high, 4);
    let centred = text_style().pos(Pos::new(HPos::Center, VPos::Top));
    for value in axis.labelled_places() {
        let share = (value - content.low) / width;
        let at = left + (share * f64::from(right - left)).round() as i32;
        let place = (at, bottom + fine(4.0) as i32);
        area.draw(&Text::new(axis.format(value), place, centred.clone()))?;
    }
    Ok(())
}
