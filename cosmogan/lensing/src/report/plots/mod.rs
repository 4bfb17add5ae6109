//! Plots as SVG, for web pages, and as PNG, for slides and image viewers.

mod axis;
mod distributions;
mod functionals;
mod histogram;
mod labels;
mod matrices;
mod roofline;
mod scale_bar;
mod selection;
mod spectrum;
mod training;

use std::sync::OnceLock;

use plotters::coord::{CoordTranslate, Shift};
use plotters::drawing::DrawingAreaErrorKind;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};

use axis::Axis;
use cosmogan_base::{Error, Result};

pub use distributions::{DistributionPanel, Distributions};
pub use functionals::{ThresholdBands, ThresholdPanel};
pub use histogram::{Histogram, PixelHistograms};
pub(super) use matrices::{Matrices, MatrixPanel};
pub use roofline::{Roof, Roofline, RooflinePoint};
pub(super) use scale_bar::ScaleBar;
pub use selection::SelectionCurve;
pub use spectrum::{Band, SpectrumBands};
pub use training::{TrainingCurve, TrainingPoint};

/// Canvas pixels per page pixel.
/// The SVG backend rounds to whole canvas pixels, so a finer canvas gives smooth curves; the PNG is averaged down from
/// it.
const FINE: u32 = 4;
/// PNG pixels per page pixel, for high-resolution screens and print.
const PNG_SCALE: u32 = 2;

const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
const FAINT_GRID: RGBColor = RGBColor(0xf0, 0xf0, 0xf0);
const FONT: &str = "sans-serif";
const FONT_SIZE: f64 = 15.0;

/// A finished plot.
#[derive(Debug, Clone)]
pub struct Plot {
    /// Stand-alone SVG document; its text uses the viewer's sans-serif font.
    pub svg: String,
    /// PNG image at twice the nominal size.
    pub png: Vec<u8>,
}

type Area<B> = DrawingArea<B, Shift>;
type Drawn<B> = std::result::Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

/// A figure that can be drawn on any plotters backend.
pub(super) trait Figure {
    /// Width and height on the page, in CSS pixels.
    fn size(&self) -> (u32, u32);

    /// Draws on an area that is [`FINE`] times as large as [`Figure::size`].
    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B>;
}

/// Converts page pixels to canvas pixels.
fn fine(pixels: f64) -> u32 {
    (pixels * f64::from(FINE)).round() as u32
}

/// Draws `figure` as SVG.
pub(super) fn svg(figure: &impl Figure) -> Result<String> {
    load_font()?;
    let (width, height) = figure.size();
    let mut text = String::new();
    {
        let area =
            SVGBackend::with_string(&mut text, (width * FINE, height * FINE)).into_drawing_area();
        area.fill(&WHITE).map_err(cannot_draw)?;
        figure.draw(&area).map_err(cannot_draw)?;
        area.present().map_err(cannot_draw)?;
    }
    // Set the size on the page; the canvas is larger.
    let fine_size = format!("width=\"{}\" height=\"{}\"", width * FINE, height * FINE);
    Ok(text.replacen(
        &fine_size,
        &format!("width=\"{width}\" height=\"{height}\""),
        1,
    ))
}

/// Draws `figure` as RGB pixels at [`PNG_SCALE`] times its size.
/// Returns pixels, width and height.
pub(super) fn pixels(figure: &impl Figure) -> Result<(Vec<u8>, u32, u32)> {
    load_font()?;
    let (width, height) = figure.size();
    let (fine_width, fine_height) = (width * FINE, height * FINE);
    let mut canvas = vec![255; (fine_width * fine_height * 3) as usize];
    {
        let area =
            BitMapBackend::with_buffer(&mut canvas, (fine_width, fine_height)).into_drawing_area();
        figure.draw(&area).map_err(cannot_draw)?;
        area.present().map_err(cannot_draw)?;
    }
    let block = (FINE / PNG_SCALE) as usize;
    let (out_width, out_height) = (width * PNG_SCALE, height * PNG_SCALE);
    let mut out = Vec::with_capacity((out_width * out_height * 3) as usize);
    let per_block = (block * block) as u32;
    for row in 0..out_height as usize {
        for column in 0..out_width as usize {
            for channel in 0..3 {
                let mut sum = per_block / 2;
                for y in row * block..(row + 1) * block {
                    for x in column * block..(column + 1) * block {
                        sum += u32::from(canvas[(y * fine_width as usize + x) * 3 + channel]);
                    }
                }
                out.push((sum / per_block) as u8);
            }
        }
    }
    Ok((out, out_width, out_height))
}

/// Draws `figure` as SVG and PNG.
fn plot(figure: &impl Figure) -> Result<Plot> {
    let (rgb, width, height) = pixels(figure)?;
    Ok(Plot {
        svg: svg(figure)?,
        png: super::encode::encode_rgb(&rgb, width, height)?,
    })
}

/// Registers the built-in font, so that plots need no installed font.
/// DejaVu Sans is free under the Bitstream Vera licence.
fn load_font() -> Result<()> {
    static LOADED: OnceLock<bool> = OnceLock::new();
    let loaded = LOADED
        .get_or_init(|| register_font(FONT, FontStyle::Normal, dejavu::sans::regular()).is_ok());
    if *loaded {
        Ok(())
    } else {
        Err(cannot_draw("the built-in font cannot be read"))
    }
}

fn cannot_draw(error: impl std::fmt::Display) -> Error {
    Error::CheckFailed(format!(
        "a plot cannot be drawn: {error}; report this as a bug"
    ))
}

/// Line style.
/// Together with the marker it distinguishes curves where colour cannot.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stroke {
    Solid,
    Dashed,
    Dotted,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Marker {
    Square,
    Circle,
    Triangle,
}

/// Style of one sample, used in every plot.
#[derive(Debug, Clone, Copy)]
struct Look {
    colour: RGBColor,
    stroke: Stroke,
    marker: Marker,
}

/// Style of sample number `index`; the reference is black.
/// The colours differ in lightness as well as in hue and are distinguishable with red-green colour blindness (after M.
/// Okabe and K. Ito's palette).
fn look(index: usize) -> Look {
    const LOOKS: [Look; 3] = [
        Look {
            colour: RGBColor(0x11, 0x11, 0x11),
            stroke: Stroke::Solid,
            marker: Marker::Square,
        },
        Look {
            colour: RGBColor(0xd5, 0x4e, 0x00),
            stroke: Stroke::Dashed,
            marker: Marker::Circle,
        },
        Look {
            colour: RGBColor(0x4a, 0xa8, 0xdc),
            stroke: Stroke::Dotted,
            marker: Marker::Triangle,
        },
    ];
    LOOKS[index % LOOKS.len()]
}

/// Iterates over the samples with their numbers in drawing order.
/// The sample under test is drawn over the reference, whose larger markers and solid line remain visible around it.
fn back_to_front<T>(samples: &[T]) -> impl Iterator<Item = (usize, &T)> {
    let order = (2..samples.len()).rev().chain([0, 1]);
    order.filter_map(|index| samples.get(index).map(|sample| (index, sample)))
}

fn text_style<'a>() -> TextStyle<'a> {
    (FONT, FONT_SIZE * f64::from(FINE)).into_font().color(&INK)
}

type Chart<'a, B> = ChartContext<'a, B, axis::Plane>;

/// Draws the axes of one panel into `area`.
/// Without `label_x`, the panel shares the x axis of the panel below.
fn panel<'a, B: DrawingBackend + 'a>(
    area: &Area<B>,
    x: &Axis,
    y: &Axis,
    label_x: bool,
) -> std::result::Result<Chart<'a, B>, DrawingAreaErrorKind<B::ErrorType>> {
    let mut chart = ChartBuilder::on(area)
        .margin_right(fine(18.0))
        .margin_top(fine(8.0))
        .set_label_area_size(LabelAreaPosition::Left, fine(82.0))
        .set_label_area_size(
            LabelAreaPosition::Bottom,
            fine(if label_x { 46.0 } else { 6.0 }),
        )
        .build_cartesian_2d(x.clone(), y.clone())?;
    let axis_line = INK.stroke_width(fine(1.0));
    let format_x = |value: &f64| {
        if label_x {
            x.format(*value)
        } else {
            String::new()
        }
    };
    let format_y = |value: &f64| y.format(*value);
    let mut mesh = chart.configure_mesh();
    mesh.axis_style(axis_line)
        .bold_line_style(GRID.stroke_width(fine(0.75)))
        .light_line_style(FAINT_GRID.stroke_width(fine(0.5)))
        .set_all_tick_mark_size(fine(4.0))
        .label_style(text_style())
        .axis_desc_style(text_style())
        .x_label_formatter(&format_x)
        .y_label_formatter(&format_y);
    if label_x {
        mesh.x_desc(x.label.clone());
    }
    mesh.draw()?;
    // plotters would anchor this label at its upper edge, which its backends place differently.
    let (_, vertical) = chart.plotting_area().get_pixel_range();
    let (_, top) = area.get_base_pixel();
    let at = (fine(14.0) as i32, (vertical.start + vertical.end) / 2 - top);
    let upright = text_style()
        .transform(FontTransform::Rotate270)
        .pos(Pos::new(HPos::Center, VPos::Center));
    area.draw(&Text::new(y.label.clone(), at, upright))?;
    Ok(chart)
}

/// Draws a curve through `points`; points outside the axes are drawn at their ends.
/// Every `every`-th point has a marker; 0 means no markers.
fn curve<'a, B: DrawingBackend + 'a>(
    chart: &Chart<'a, B>,
    points: Vec<(f64, f64)>,
    look: Look,
    every: usize,
) -> Drawn<B> {
    let area = chart.plotting_area();
    if every > 0 {
        for point in points.iter().skip(every / 2).step_by(every) {
            marker(area, *point, look)?;
        }
    }
    line(area, points, look)
}

/// Fills the band between two curves with common x values.
fn band<'a, B: DrawingBackend + 'a>(
    chart: &Chart<'a, B>,
    lower: &[(f64, f64)],
    upper: &[(f64, f64)],
    fill: RGBAColor,
) -> Drawn<B> {
    let outline: Vec<(f64, f64)> = upper.iter().chain(lower.iter().rev()).copied().collect();
    chart.plotting_area().draw(&Polygon::new(outline, fill))
}

fn line<B: DrawingBackend, C: CoordTranslate>(
    area: &DrawingArea<B, C>,
    points: Vec<C::From>,
    look: Look,
) -> Drawn<B>
where
    C::From: Clone,
{
    let style = look.colour.stroke_width(fine(1.6));
    let (dash, space) = match look.stroke {
        Stroke::Solid => return area.draw(&PathElement::new(points, style)),
        Stroke::Dashed => (8.0, 4.0),
        Stroke::Dotted => (2.0, 3.0),
    };
    area.draw(&DashedPathElement::new(
        points,
        fine(dash),
        fine(space),
        style,
    ))
}

fn marker<B: DrawingBackend, C: CoordTranslate>(
    area: &DrawingArea<B, C>,
    at: C::From,
    look: Look,
) -> Drawn<B>
where
    C::From: Clone,
{
    let fill = look.colour.filled();
    let r = fine(3.0) as i32;
    let at = EmptyElement::at(at);
    match look.marker {
        Marker::Square => area.draw(&(at + Rectangle::new([(-r, -r), (r, r)], fill))),
        Marker::Circle => area.draw(&(at + Circle::new((0, 0), fine(2.8), fill))),
        Marker::Triangle => {
            let corners = vec![(0, -r - r / 3), (-r - r / 4, r), (r + r / 4, r)];
            area.draw(&(at + Polygon::new(corners, fill)))
        }
    }
}

/// Draws a one-row legend above the panels.
fn legend<'a, B: DrawingBackend>(
    area: &Area<B>,
    entries: impl Iterator<Item = (&'a str, Look, bool)>,
) -> Drawn<B> {
    let (length, gap) = (fine(34.0) as i32, fine(8.0) as i32);
    let mut left = fine(80.0) as i32;
    let middle = fine(16.0) as i32;
    let style = text_style().pos(Pos::new(HPos::Left, VPos::Center));
    for (name, look, marked) in entries {
        let ends = vec![(left, middle), (left + length, middle)];
        line(area, ends, look)?;
        if marked {
            marker(area, (left + length / 2, middle), look)?;
        }
        left += length + gap;
        let name = shortened(name);
        let width = area.estimate_text_size(&name, &style)?.0 as i32;
        area.draw(&Text::new(name, (left, middle), style.clone()))?;
        left += width + 3 * gap;
    }
    Ok(())
}

/// Shortens a name so that it fits into a legend with two others.
fn shortened(name: &str) -> String {
    const LONGEST: usize = 26;
    if name.chars().count() <= LONGEST {
        name.to_owned()
    } else {
        name.chars().take(LONGEST - 1).chain(['…']).collect()
    }
}
