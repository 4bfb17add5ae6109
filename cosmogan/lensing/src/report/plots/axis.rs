//! Plot axes: mapping of values, tick positions and tick labels.

use std::ops::Range;

use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

use crate::report::digits::{minus, superscript};

/// Coordinate system of a panel.
pub(super) type Plane = Cartesian2d<Axis, Axis>;

/// An axis with its label.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    /// Axis label, including the unit.
    pub(super) label: String,
    low: f64,
    high: f64,
    logarithmic: bool,
    ticks: usize,
}

impl Axis {
    /// Creates a linear axis with about `ticks` labels.
    pub(super) fn linear(label: impl Into<String>, low: f64, high: f64, ticks: usize) -> Self {
        let (low, high) = if low.is_finite() && high.is_finite() && low < high {
            (low, high)
        } else {
            (0.0, 1.0)
        };
        Self {
            label: label.into(),
            low,
            high,
            logarithmic: false,
            ticks,
        }
    }

    /// Creates a logarithmic axis; an invalid range is replaced by 0.1 to 10.
    pub(super) fn logarithmic(label: impl Into<String>, low: f64, high: f64) -> Self {
        let (low, high) = if low > 0.0 && high.is_finite() && low < high {
            (low, high)
        } else {
            (0.1, 10.0)
        };
        Self {
            label: label.into(),
            low,
            high,
            logarithmic: true,
            ticks: 6,
        }
    }

    /// Position of `value` along the axis, 0 to 1.
    /// Values outside the range are clamped to its ends.
    fn share(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        // Negative values on a logarithmic axis give NaN; they are drawn at its lower end.
        if share.is_nan() {
            0.0
        } else {
            share.clamp(0.0, 1.0)
        }
    }

    /// Values of the labelled ticks.
    pub(super) fn labelled_places(&self) -> Vec<f64> {
        self.tick_places().0
    }

    /// Label of the tick at `value`.
    pub(super) fn format(&self, value: f64) -> String {
        if self.logarithmic {
            // One style for the whole axis.
            return if self.low < 0.009 || self.high > 1.1e5 {
                power(value)
            } else {
                plain(value)
            };
        }
        let step = self.step();
        let decimals = (-step.log10() + 0.01).ceil().clamp(0.0, 9.0) as usize;
        // A step such as 0.25 needs one more decimal than its magnitude suggests.
        let decimals = if is_whole(step * 10f64.powi(decimals as i32)) {
            decimals
        } else {
            decimals + 1
        };
        // Adding zero turns −0 into 0.
        let shown = (value / step).round() * step + 0.0;
        minus(&format!("{shown:.decimals$}"))
    }

    fn step(&self) -> f64 {
        let rough = (self.high - self.low) / self.ticks.max(1) as f64;
        let magnitude = 10f64.powf(rough.log10().floor());
        [1.0, 2.0, 2.5, 5.0, 10.0]
            .map(|factor| factor * magnitude)
            .into_iter()
            .find(|step| *step >= rough * 0.999)
            .unwrap_or(10.0 * magnitude)
    }

    /// Values of the labelled ticks, and of the fainter grid lines between them.
    fn tick_places(&self) -> (Vec<f64>, Vec<f64>) {
        if self.logarithmic {
            return self.logarithmic_tick_places();
        }
        let step = self.step();
        let first = (self.low / step - 1e-9).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        let labelled = (first..=last).map(|tick| tick as f64 * step).collect();
        (labelled, Vec::new())
    }

    fn logarithmic_tick_places(&self) -> (Vec<f64>, Vec<f64>) {
        let (low, high) = (0.999_999 * self.low, 1.000_001 * self.high);
        let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
        let multiples = |factors: &[f64]| -> Vec<f64> {
            decades
                .clone()
                .flat_map(|decade| factors.iter().map(move |f| f * 10f64.powi(decade)))
                .filter(|value| (low..=high).contains(value))
                .collect()
        };
        // Short axes need labels between the powers of ten; long axes have no room for every power.
        let span = (high / low).log10();
        let labelled = if span > 2.2 {
            multiples(&[1.0])
        } else if span > 0.75 {
            multiples(&[1.0, 2.0, 5.0])
        } else {
            multiples(&[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0])
        };
        let every = labelled.len().div_ceil(9).max(1);
        let between = if span > 8.0 {
            Vec::new()
        } else {
            multiples(&[2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0])
        };
        (labelled.into_iter().step_by(every).collect(), between)
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let length = f64::from(limit.1 - limit.0);
        limit.0 + (length * self.share(*value)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        let (labelled, between) = self.tick_places();
        if hint.weight().allow_light_points() {
            between
        } else {
            labelled
        }
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

fn is_whole(value: f64) -> bool {
    (value - value.round()).abs() < 1e-6
}

/// Formats `value` in plain digits: 0.5, 20, 3000.
fn plain(value: f64) -> String {
    let exponent = (value.log10() + 1e-9).floor() as i32;
    let digits = if is_whole(value / 10f64.powi(exponent)) {
        0
    } else {
        1
    };
    format!("{value:.0$}", (digits - exponent).max(0) as usize)
}

/// Formats `value` as a power of ten: 10⁻⁴, 2×10⁻⁵.
fn power(value: f64) -> String {
    let exponent = (value.log10() + 1e-9).floor();
    let factor = value / 10f64.powf(exponent);
    let power = superscript(exponent as i64);
    if is_whole(factor) && factor.round() == 1.0 {
        format!("10{power}")
    } else {
        format!("{}×10{power}", plain(factor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_ticks_are_round_and_inside() {
        let axis = Axis::linear("κ", -0.043, 0.117, 7);
        let (labelled, _) = axis.tick_places();
        let written: Vec<String> = labelled.iter().map(|place| axis.format(*place)).collect();
        assert_eq!(
            written,
            ["−0.025", "0.000", "0.025", "0.050", "0.075", "0.100"]
                .map(str::to_owned)
                .to_vec()
        );
        let steps = Axis::linear("step", 0.0, 12_000.0, 5);
        assert_eq!(steps.format(2500.0), "2500");
    }

    #[test]
    fn powers_are_written_as_people_write_them() {
        for (value, text) in [(0.5, "0.5"), (1.0, "1"), (1.5, "1.5"), (3e3, "3000")] {
            assert_eq!(plain(value), text);
        }
        for (value, text) in [(1e-4, "10⁻⁴"), (2e-5, "2×10⁻⁵"), (1.5e6, "1.5×10⁶")] {
            assert_eq!(power(value), text);
        }
    }

    #[test]
    fn values_outside_are_drawn_at_the_edge() {
        let axis = Axis::logarithmic("ratio", 0.5, 2.0);
        assert_eq!(axis.map(&1.0, (100, 0)), 50);
        assert_eq!(axis.map(&10.0, (100, 0)), 0);
        for below in [0.0, -1.0, f64::NAN] {
            assert_eq!(axis.map(&below, (100, 0)), 100);
        }
    }
}
