//! Roofline plot: rate against arithmetic intensity of operators.
//!
//! S. Williams, A. Waterman and D. Patterson 2009.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::labels::{Labels, small};
use super::{
    Area, Axis, Chart, Drawn, Figure, INK, Look, Marker, Plot, Stroke, fine, line, panel, plot,
};
use cosmogan_base::Result;

/// A horizontal limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Roof {
    /// Label of the limit.
    pub name: String,
    /// Rate in operations per second.
    pub rate: f64,
}

/// One operator.
#[derive(Debug, Clone, PartialEq)]
pub struct RooflinePoint {
    /// Name such as `dgrad 256→128 at 64²`; the first word determines the colour.
    pub name: String,
    /// Arithmetic intensity in operations per byte.
    pub intensity: f64,
    /// Rate in operations per second, counted by the operator's definition.
    pub rate: f64,
    /// Operations per second actually executed, if fewer than by the definition.
    pub multiplied: Option<f64>,
    /// Share of the whole time: the area of the point.
    pub share: f64,
}

/// Roofline limits and the operators below them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Roofline {
    /// Title: the workload and the machine.
    pub title: String,
    /// Memory bandwidth in bytes per second.
    pub bandwidth: f64,
    /// Label of the bandwidth slope.
    pub bandwidth_name: String,
    /// Rate limits, in ascending order.
    pub roofs: Vec<Roof>,
    /// Operators, in descending order of time.
    pub points: Vec<RooflinePoint>,
    /// Whether the legend explains the rings.
    ///
    /// A ring marks the rate by the definition of an operator that executes fewer operations.
    pub exceeds: bool,
}

/// Maximum number of points with a number and a line in the list beside the panel.
const LISTED: usize = 20;
/// Points with a smaller share of the time are not listed.
const LEAST: f64 = 0.002;
/// Points with a smaller share of the time are not drawn: they would only crowd the edges.
const DUST: f64 = 0.0005;

/// Colours by kind of operator.
/// They are distinguishable with red-green colour blindness (after M. Okabe and K. Ito).
const FAMILIES: [(&str, RGBColor); 4] = [
    ("convolutions", RGBColor(0xd5, 0x4e, 0x00)),
    ("linear layers", RGBColor(0x00, 0x72, 0xb2)),
    ("batch normalisation", RGBColor(0x00, 0x9e, 0x73)),
    ("everything else", RGBColor(0x77, 0x77, 0x77)),
];

fn family(name: &str) -> usize {
    let word = name.split_whitespace().next().unwrap_or_default();
    match word {
        "fprop" | "dgrad" | "wgrad" => 0,
        "linear" | "linear_dgrad" | "linear_wgrad" => 1,
        "batch_statistics" | "normalise" | "normalise_gradient" | "update_running" => 2,
        _ => 3,
    }
}

impl Roofline {
    /// Draws the plot.
    ///
    /// # Errors
    /// If the plotting library fails.
    pub fn plot(&self) -> Result<Plot> {
        plot(self)
    }

    /// Intensity at which the slope meets the highest roof.
    fn ridge(&self) -> f64 {
        self.highest() / self.bandwidth
    }

    fn highest(&self) -> f64 {
        self.roofs.iter().map(|roof| roof.rate).fold(0.0, f64::max)
    }

    /// Points that are drawn.
    fn drawn(&self) -> impl Iterator<Item = &RooflinePoint> + Clone {
        self.points.iter().filter(|point| point.share >= DUST)
    }

    /// Points that are listed with a number.
    fn listed(&self) -> impl Iterator<Item = &RooflinePoint> {
        let large = self.points.iter().filter(|point| point.share >= LEAST);
        large.take(LISTED)
    }

    fn axes(&self) -> (Axis, Axis) {
        let intensities = self.drawn().map(|point| point.intensity);
        let low = intensities.clone().fold(0.1, f64::min);
        let high = intensities.fold(10.0 * self.ridge(), f64::max);
        let rates = self
            .drawn()
            .map(|point| point.rate.min(point.multiplied.unwrap_or(f64::INFINITY)));
        let bottom = rates.fold(self.bandwidth * low, f64::min);
        let top = self
            .drawn()
            .map(|point| point.rate)
            .fold(self.highest(), f64::max);
        let (unit, name) = self.unit();
        (
            Axis::logarithmic(
                "arithmetic intensity, operations per byte",
                0.8 * low,
                2.0 * high,
            ),
            Axis::logarithmic(name, 0.6 * bottom / unit, 2.2 * top / unit),
        )
    }

    fn unit(&self) -> (f64, &'static str) {
        if self.highest() > 5e12 {
            (1e12, "10¹² operations per second")
        } else {
            (1e9, "10⁹ operations per second")
        }
    }

    /// Endpoints of all lines between two intensities: roofs, slope, and lines from rings to discs.
    fn lines(&self, [low, high]: [f64; 2]) -> Vec<[(f64, f64); 2]> {
        let start = |roof: &Roof| (roof.rate / self.bandwidth).clamp(low, high);
        let roofs = self.roofs.iter();
        let mut lines: Vec<_> = roofs
            .map(|roof| [(start(roof), roof.rate), (high, roof.rate)])
            .collect();
        let ridge = self.ridge().clamp(low, high);
        lines.push([(low, self.bandwidth * low), (ridge, self.bandwidth * ridge)]);
        let joined = self.drawn().filter(|point| point.multiplied.is_some());
        lines.extend(joined.map(|point| [point.shown(), (point.intensity, point.rate)]));
        lines
    }

    /// Roofline limit at an intensity, in operations per second.
    fn limit(&self, intensity: f64) -> f64 {
        (self.bandwidth * intensity).min(self.highest())
    }
}

impl Figure for Roofline {
    fn size(&self) -> (u32, u32) {
        (1060, 600)
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        let left = fine(82.0) as i32;
        let title = small(16.0).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(
            self.title.clone(),
            (left, fine(16.0) as i32),
            title,
        ))?;
        self.legend(area, left, fine(42.0) as i32)?;
        let (_, below) = area.split_vertically(fine(54.0));
        let (below, beside) = below.split_horizontally(fine(760.0));
        self.list(&beside)?;
        let (x, y) = self.axes();
        let (unit, _) = self.unit();
        let chart = panel(&below, &x, &y, true)?;
        let (low, high) = {
            use plotters::coord::ranged1d::Ranged;
            (x.range().start, x.range().end)
        };
        self.draw_roofs(&chart, unit, [low, high])?;
        self.draw_points(&chart, unit)?;
        let (x_pixels, y_pixels) = chart.plotting_area().get_pixel_range();
        let bounds = [x_pixels.start, y_pixels.start, x_pixels.end, y_pixels.end];
        let mut labels = Labels::new(&below, bounds);
        for point in self.drawn() {
            let place = chart
                .plotting_area()
                .map_coordinate(&(point.shown().0, point.shown().1 / unit));
            labels.keep_free(place, radius(point.share));
        }
        for ends in self.lines([low, high]) {
            let [from, to] =
                ends.map(|(x, y)| chart.plotting_area().map_coordinate(&(x, y / unit)));
            labels.keep_line_free(from, to);
        }
        self.draw_roof_names(&chart, unit, [low, high], &mut labels)?;
        for (index, point) in self.listed().enumerate() {
            let (intensity, rate) = point.shown();
            let place = chart
                .plotting_area()
                .map_coordinate(&(intensity, rate / unit));
            labels.place(&(index + 1).to_string(), place, radius(point.share))?;
        }
        Ok(())
    }
}

impl RooflinePoint {
    /// Position of the disc: intensity and rate of the operations actually executed.
    fn shown(&self) -> (f64, f64) {
        match self.multiplied {
            Some(multiplied) => (self.intensity * multiplied / self.rate, multiplied),
            None => (self.intensity, self.rate),
        }
    }
}

impl Roofline {
    fn draw_roofs<'a, B: DrawingBackend + 'a>(
        &self,
        chart: &Chart<'a, B>,
        unit: f64,
        [low, high]: [f64; 2],
    ) -> Drawn<B> {
        let area = chart.plotting_area();
        // The area under the roofline has a faint grey background.
        let (_, bottom) = {
            use plotters::coord::ranged1d::Ranged;
            let range = chart.as_coord_spec().y_spec().range();
            (range.end, range.start)
        };
        let ridge = self.ridge().clamp(low, high);
        let outline = vec![
            (low, bottom),
            (low, self.limit(low) / unit),
            (ridge, self.limit(ridge) / unit),
            (high, self.limit(high) / unit),
            (high, bottom),
        ];
        area.draw(&Polygon::new(outline, INK.mix(0.035)))?;
        for roof in &self.roofs {
            let start = (roof.rate / self.bandwidth).clamp(low, high);
            let points = vec![(start, roof.rate / unit), (high, roof.rate / unit)];
            area.draw(&PathElement::new(points, INK.stroke_width(fine(1.6))))?;
        }
        let slope = vec![
            (low, self.bandwidth * low / unit),
            (ridge, self.bandwidth * ridge / unit),
        ];
        area.draw(&PathElement::new(slope, INK.stroke_width(fine(1.6))))?;
        let look = Look {
            colour: RGBColor(0x99, 0x99, 0x99),
            stroke: Stroke::Dotted,
            marker: Marker::Circle,
        };
        line(
            area,
            vec![(ridge, bottom), (ridge, self.highest() / unit)],
            look,
        )
    }

    fn draw_points<'a, B: DrawingBackend + 'a>(&self, chart: &Chart<'a, B>, unit: f64) -> Drawn<B> {
        let area = chart.plotting_area();
        for point in self.drawn() {
            let colour = FAMILIES[family(&point.name)].1;
            let r = radius(point.share);
            let (intensity, rate) = point.shown();
            if point.multiplied.is_some() {
                let ends = vec![
                    (intensity, rate / unit),
                    (point.intensity, point.rate / unit),
                ];
                area.draw(&PathElement::new(
                    ends,
                    colour.mix(0.6).stroke_width(fine(0.9)),
                ))?;
                let at = EmptyElement::at((point.intensity, point.rate / unit));
                let ring = colour.stroke_width(fine(1.3));
                area.draw(&(at + Circle::new((0, 0), fine(3.5), ring)))?;
            }
            let at = EmptyElement::at((intensity, rate / unit));
            area.draw(&(at + Circle::new((0, 0), r as u32, colour.mix(0.72).filled())))?;
            let at = EmptyElement::at((intensity, rate / unit));
            area.draw(&(at + Circle::new((0, 0), r as u32, WHITE.stroke_width(fine(0.8)))))?;
        }
        Ok(())
    }

    /// Writes the names of the roofs and of the slope, where there is room.
    /// Roof names are above the roofs, towards the right; the slope's name is to its left.
    fn draw_roof_names<'a, B: DrawingBackend + 'a>(
        &self,
        chart: &Chart<'a, B>,
        unit: f64,
        [low, high]: [f64; 2],
        labels: &mut Labels<'_, B>,
    ) -> Drawn<B> {
        const SHARES: [f64; 9] = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2];
        let area = chart.plotting_area();
        let between = |from: f64, to: f64, share: f64| from * (to / from).powf(share);
        let gap = fine(5.0) as i32;
        for roof in &self.roofs {
            let start = (roof.rate / self.bandwidth).clamp(low, high);
            let places = SHARES.map(|share| {
                let at = (between(start, high, share), roof.rate / unit);
                let (x, y) = area.map_coordinate(&at);
                (x - gap, y - 2 * gap - gap / 2)
            });
            labels.somewhere(&roof.name, &places)?;
        }
        let bottom = {
            use plotters::coord::ranged1d::Ranged;
            chart.as_coord_spec().y_spec().range().start
        };
        let from = low.max(bottom * unit / self.bandwidth);
        let to = self.ridge().clamp(from, high);
        let places = SHARES.map(|share| {
            let at = between(from, to, 0.9 * share);
            let (x, y) = area.map_coordinate(&(at, self.bandwidth * at / unit));
            (x - 3 * gap, y - 2 * gap)
        });
        labels.somewhere(&self.bandwidth_name, &places)
    }

    /// Draws the list of numbered operators with their shares of the time.
    fn list<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        let (width, _) = area.dim_in_pixel();
        let style = small(12.5);
        let columns = [
            (fine(20.0) as i32, HPos::Right),
            (fine(30.0) as i32, HPos::Left),
            (width as i32 - fine(16.0) as i32, HPos::Right),
        ];
        let line = |texts: [String; 3], row: usize| {
            let middle = fine(18.0 + 21.0 * row as f64) as i32;
            texts
                .into_iter()
                .zip(columns)
                .try_for_each(|(text, (at, side))| {
                    let style = style.pos(Pos::new(side, VPos::Center));
                    area.draw(&Text::new(text, (at, middle), style))
                })
        };
        line(["", "", "share of the time"].map(str::to_owned), 0)?;
        for (index, point) in self.listed().enumerate() {
            let number = (index + 1).to_string();
            let share = format!("{:.1} %", 100.0 * point.share);
            line([number, point.name.clone(), share], index + 1)?;
        }
        Ok(())
    }

    fn legend<B: DrawingBackend>(&self, area: &Area<B>, left: i32, middle: i32) -> Drawn<B> {
        let style = small(13.0).pos(Pos::new(HPos::Left, VPos::Center));
        let gap = fine(8.0) as i32;
        let mut at = left + gap;
        for (index, (name, colour)) in FAMILIES.into_iter().enumerate() {
            if !self.points.iter().any(|point| family(&point.name) == index) {
                continue;
            }
            area.draw(&Circle::new(
                (at, middle),
                fine(5.0),
                colour.mix(0.72).filled(),
            ))?;
            at += gap + gap / 2;
            area.draw(&Text::new(name, (at, middle), style.clone()))?;
            at += area.estimate_text_size(name, &style)?.0 as i32 + 3 * gap;
        }
        if self.exceeds {
            let ring = FAMILIES[0].1.stroke_width(fine(1.3));
            area.draw(&Circle::new((at, middle), fine(3.5), ring))?;
            at += gap + gap / 2;
            let name = "rate by the definition; disc: operations executed";
            area.draw(&Text::new(name, (at, middle), style))?;
        }
        Ok(())
    }
}

/// Radius in canvas pixels; the area is proportional to the share of the time.
fn radius(share: f64) -> i32 {
    fine((38.0 * share.max(0.0).sqrt()).clamp(2.4, 20.0)) as i32
}
