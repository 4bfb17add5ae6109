//! Colour bar below a figure of maps.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Area, Axis, Drawn, FINE, Figure, INK, fine, text_style};
use crate::report::colour::{ColourRange, inferno};

/// Colour bar for κ, `width` CSS pixels wide.
#[derive(Debug, Clone, Copy)]
pub(in crate::report) struct ScaleBar {
    pub(in crate::report) range: ColourRange,
    pub(in crate::report) width: u32,
}

impl Figure for ScaleBar {
    fn size(&self) -> (u32, u32) {
        (self.width, 48)
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        const STEPS: i32 = 128;
        let (left, right) = (fine(22.0) as i32, fine(f64::from(self.width) - 40.0) as i32);
        let (top, bottom) = (fine(6.0) as i32, fine(20.0) as i32);
        let column = |share: f64| left + (share * f64::from(right - left)).round() as i32;
        for step in 0..STEPS {
            let [r, g, b] = inferno((f64::from(step) + 0.5) / f64::from(STEPS));
            let (from, to) = (step as f64 / STEPS as f64, (step + 1) as f64 / STEPS as f64);
            // Neighbouring steps overlap by one page pixel, so that no viewer shows a seam.
            let corners = [
                (column(from), top),
                ((column(to) + FINE as i32).min(right), bottom),
            ];
            area.draw(&Rectangle::new(corners, RGBColor(r, g, b).filled()))?;
        }
        let outline = [(left, top), (right, bottom)];
        area.draw(&Rectangle::new(outline, INK.stroke_width(fine(0.5))))?;

        let centred = text_style().pos(Pos::new(HPos::Center, VPos::Top));
        let axis = Axis::linear("κ", self.range.low(), self.range.high(), 8);
        let mut free_from = 0;
        for kappa in axis.labelled_places() {
            let at = column(self.range.position(kappa));
            let ends = vec![(at, bottom), (at, bottom + fine(4.0) as i32)];
            area.draw(&PathElement::new(ends, INK.stroke_width(fine(1.0))))?;
            // The scale is not linear: labels that would overlap near the bright end are omitted.
            let label = axis.format(kappa);
            let half = area.estimate_text_size(&label, &centred)?.0 as i32 / 2;
            if at - half >= free_from {
                area.draw(&Text::new(
                    label,
                    (at, bottom + fine(7.0) as i32),
                    centred.clone(),
                ))?;
                free_from = at + half + fine(4.0) as i32;
            }
        }
        let name = text_style().pos(Pos::new(HPos::Left, VPos::Center));
        let beside = (right + fine(10.0) as i32, (top + bottom) / 2);
        area.draw(&Text::new("κ", beside, name))?;
        Ok(())
    }
}
