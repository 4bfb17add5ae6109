//! Placement of text in a plot without overlapping other text, points or lines.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Drawn, FINE, FONT, INK, fine, text_style};

/// Text style for a font size in page pixels.
pub(super) fn small<'a>(pixels: f64) -> TextStyle<'a> {
    let size = pixels * f64::from(FINE);
    (FONT, size).into_font().color(&INK)
}

/// Labels placed so far in one panel, and the areas they occupy.
pub(super) struct Labels<'a, B: DrawingBackend> {
    area: &'a DrawingArea<B, Shift>,
    /// Left, top, right and bottom of the panel.
    bounds: [i32; 4],
    taken: Vec<[i32; 4]>,
    /// The subset of `taken` that is text, which no line may cross.
    texts: Vec<[i32; 4]>,
}

impl<'a, B: DrawingBackend> Labels<'a, B> {
    pub(super) fn new(area: &'a DrawingArea<B, Shift>, bounds: [i32; 4]) -> Self {
        Self {
            area,
            bounds,
            taken: Vec::new(),
            texts: Vec::new(),
        }
    }

    pub(super) fn keep_free(&mut self, (x, y): (i32, i32), r: i32) {
        self.taken.push([x - r, y - r, x + r, y + r]);
    }

    pub(super) fn keep_line_free(&mut self, from: (i32, i32), to: (i32, i32)) {
        for place in along(from, to) {
            self.keep_free(place, fine(1.0) as i32);
        }
    }

    fn crosses_text(&self, from: (i32, i32), to: (i32, i32)) -> bool {
        let inside = |text: &[i32; 4], (x, y): (i32, i32)| {
            (text[0]..text[2]).contains(&x) && (text[1]..text[3]).contains(&y)
        };
        let mut texts = self.texts.iter();
        texts.any(|text| along(from, to).any(|place| inside(text, place)))
    }

    fn write(&mut self, text: &str, cover: [i32; 4], style: &TextStyle<'_>) -> Drawn<B> {
        self.taken.push(cover);
        self.texts.push(cover);
        let base = self.area.get_base_pixel();
        let at = (
            (cover[0] + cover[2]) / 2 - base.0,
            (cover[1] + cover[3]) / 2 - base.1,
        );
        let style = style.pos(Pos::new(HPos::Center, VPos::Center));
        self.area.draw(&Text::new(text.to_owned(), at, style))
    }

    fn is_free(&self, [left, top, right, bottom]: [i32; 4]) -> bool {
        let inside = left >= self.bounds[0]
            && top >= self.bounds[1]
            && right <= self.bounds[2]
            && bottom <= self.bounds[3];
        let apart = |other: &[i32; 4]| {
            right <= other[0] || other[2] <= left || bottom <= other[1] || other[3] <= top
        };
        inside && self.taken.iter().all(apart)
    }

    /// Places `text` beside the point at `(x, y)` of radius `r`.
    ///
    /// A line connects them if they are not close. If no place is free, the text is on the point.
    pub(super) fn place(&mut self, text: &str, (x, y): (i32, i32), r: i32) -> Drawn<B> {
        let style = small(12.5);
        let (width, height) = self.area.estimate_text_size(text, &style)?;
        let (width, height) = (
            width as i32 + fine(4.0) as i32,
            fine(13.0).max(height * 3 / 4) as i32,
        );
        let gap = fine(4.0) as i32;
        for distance in [0, 1, 2, 3, 4, 6, 8, 11, 14, 18] {
            let far = r + gap + distance * height / 2;
            let middles = [
                (x + r + gap + width / 2, y),
                (x - r - gap - width / 2, y),
                (x, y - far - height / 2),
                (x, y + far + height / 2),
                (x + width / 2, y - far - height / 2),
                (x - width / 2, y - far - height / 2),
                (x + width / 2, y + far + height / 2),
                (x - width / 2, y + far + height / 2),
            ];
            for (middle, baseline) in middles {
                let place = [
                    middle - width / 2,
                    baseline - height / 2,
                    middle + width / 2,
                    baseline + height / 2,
                ];
                let near = (
                    middle.clamp(x - r / 2, x + r / 2),
                    if baseline < y { y - r } else { y + r },
                );
                let edge = (middle, if baseline < y { place[3] } else { place[1] });
                let needs_line = distance > 0;
                if !self.is_free(place) || needs_line && self.crosses_text(near, edge) {
                    continue;
                }
                if needs_line {
                    self.keep_line_free(near, edge);
                    let base = self.area.get_base_pixel();
                    let ends = [near, edge].map(|(x, y)| (x - base.0, y - base.1));
                    let grey = RGBColor(0x99, 0x99, 0x99).stroke_width(fine(0.6));
                    self.area.draw(&PathElement::new(ends.to_vec(), grey))?;
                }
                return self.write(text, place, &style);
            }
        }
        // No free place: on the point itself.
        let (across, up) = (width / 2, height / 2);
        self.write(text, [x - across, y - up, x + across, y + up], &style)
    }

    /// Writes `text` at the first free place, or at the first place if none is free.
    /// Places are the right end of the text.
    pub(super) fn somewhere(&mut self, text: &str, places: &[(i32, i32)]) -> Drawn<B> {
        let style = text_style();
        let (width, height) = self.area.estimate_text_size(text, &style)?;
        let (width, height) = (width as i32, height as i32);
        let cover = |&(x, y): &(i32, i32)| [x - width, y - height / 2, x, y + height / 2];
        let free = places.iter().find(|place| self.is_free(cover(place)));
        let Some(place) = free.or(places.first()) else {
            return Ok(());
        };
        let cover = cover(place);
        self.write(text, cover, &style)
    }
}

/// Points along a line, dense enough to detect overlaps.
fn along(from: (i32, i32), to: (i32, i32)) -> impl Iterator<Item = (i32, i32)> {
    const PIECES: i32 = 120;
    let between = |from: i32, to: i32, piece: i32| from + (to - from) * piece / PIECES;
    (0..=PIECES).map(move |piece| (between(from.0, to.0, piece), between(from.1, to.1, piece)))
}
