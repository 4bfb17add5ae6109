//! Summary of a comparison: one table and up to three sentences, all computed.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::digits::significant;
use super::numbers::{Distances, PixelNumbers};

/// One column of the summary table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleSummary {
    /// The sample's name.
    pub name: String,
    /// Number of maps.
    pub maps: usize,
    /// Moments of the pixels.
    pub pixels: PixelNumbers,
    /// Distances from the real sample.
    ///
    /// For the real sample itself: between its odd and even maps, as a baseline; absent for fewer than four maps.
    pub distances: Option<Distances>,
}

/// Numbers of a comparison. [`fmt::Display`] formats the table for a terminal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Reference maps.
    pub real: SampleSummary,
    /// Maps under test.
    pub generated: SampleSummary,
    /// Maps of the generator before training, if given.
    pub untrained: Option<SampleSummary>,
    /// First and last multipole ℓ that are included.
    pub multipole_range: (f64, f64),
}

/// Title above the distance rows.
pub(super) const DISTANCES_TITLE: &str =
    "Distance from the real maps (first column: between two halves of the real maps)";

/// One row of a table: a quantity, its unit, and one value per sample.
pub(super) struct Row {
    pub(super) quantity: String,
    pub(super) unit: &'static str,
    pub(super) values: Vec<String>,
}

impl Summary {
    /// Samples in column order.
    pub fn samples(&self) -> impl Iterator<Item = &SampleSummary> {
        [&self.real, &self.generated]
            .into_iter()
            .chain(&self.untrained)
    }

    /// Rows with the moments of each sample's pixels.
    pub(super) fn pixel_rows(&self) -> Vec<Row> {
        let row = |quantity: &str, unit, value: fn(&SampleSummary) -> String| Row {
            quantity: quantity.to_owned(),
            unit,
            values: self.samples().map(value).collect(),
        };
        vec![
            row("maps", "", |s| s.maps.to_string()),
            row("mean", "κ", |s| number(s.pixels.mean)),
            row("standard deviation", "κ", |s| number(s.pixels.sigma)),
            row("skewness", "", |s| number(s.pixels.skewness)),
            row("kurtosis", "", |s| number(s.pixels.kurtosis)),
            row("smallest pixel", "κ", |s| number(s.pixels.minimum)),
            row("largest pixel", "κ", |s| number(s.pixels.maximum)),
        ]
    }

    /// Rows with the distances from the real sample.
    pub(super) fn distance_rows(&self) -> Vec<Row> {
        type Value = fn(&Distances) -> Option<String>;
        let row = |quantity: &str, unit, value: Value| Row {
            quantity: quantity.to_owned(),
            unit,
            values: self
                .samples()
                .map(|s| {
                    s.distances
                        .as_ref()
                        .and_then(value)
                        .unwrap_or("–".to_owned())
                })
                .collect(),
        };
        vec![
            row("pixel values, KS distance", "0 to 1", |d| {
                Some(number(d.pixel_ks))
            }),
            row("mean spectrum, |ratio − 1|", "%", |d| {
                Some(number(100.0 * d.spectrum_deviation))
            }),
            row("spectra per ℓ, χ² distance", "0 to 1", |d| {
                Some(number(d.spectrum_chi_squared))
            }),
            row("spectrum variance, ratio", "1 = equal", |d| {
                d.spectrum_variance_ratio.map(number)
            }),
        ]
    }

    /// States the results in words.
    pub fn verdict(&self) -> String {
        let Some(generated) = &self.generated.distances else {
            return String::new();
        };
        let three = |d: &Distances| [d.pixel_ks, d.spectrum_deviation, d.spectrum_chi_squared];
        let closer = |other: &Distances| {
            let pairs = three(generated).into_iter().zip(three(other));
            pairs.filter(|(mine, theirs)| mine <= theirs).count()
        };
        let (first, last) = self.multipole_range;
        let mut text = format!(
            "The mean power spectrum of the generated maps differs from the real one by {} % on average over ℓ = {first:.0} \
             to {last:.0}; the standard deviation of κ is {} times the real one; the KS distance of the pixel values is {}.",
            significant(100.0 * generated.spectrum_deviation, 2),
            if self.real.pixels.sigma > 0.0 {
                significant(self.generated.pixels.sigma / self.real.pixels.sigma, 3)
            } else {
                "?".to_owned()
            },
            significant(generated.pixel_ks, 2),
        );
        let untrained = self
            .untrained
            .as_ref()
            .and_then(|sample| sample.distances.as_ref())
            .map(|other| {
                let count = closer(other);
                format!(
                    "closer to the real ones than maps of the untrained generator in {count} of 3"
                )
            });
        let halves = self.real.distances.as_ref().map(|other| {
            let count = closer(other);
            format!("as close as one half of the real maps is to the other in {count} of 3")
        });
        let findings: Vec<String> = untrained.into_iter().chain(halves).collect();
        if !findings.is_empty() {
            text += &format!(
                " Measured by three distances (pixel values, mean spectrum, spectra per ℓ), the generated maps are {}.",
                findings.join(", and ")
            );
        }
        text
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<36}", "")?;
        for sample in self.samples() {
            write!(f, "{:>16}", clipped(&sample.name, 15))?;
        }
        writeln!(f)?;
        let write_rows = |f: &mut fmt::Formatter<'_>, rows: Vec<Row>| {
            for row in rows {
                let label = match row.unit {
                    "" => row.quantity,
                    unit => format!("{} [{unit}]", row.quantity),
                };
                write!(f, "{label:<36}")?;
                for value in row.values {
                    write!(f, "{value:>16}")?;
                }
                writeln!(f)?;
            }
            Ok(())
        };
        write_rows(f, self.pixel_rows())?;
        writeln!(
            f,
            "Distance from the real maps (column 1: between two halves of the real maps)"
        )?;
        write_rows(f, self.distance_rows())?;
        write!(f, "{}", self.verdict())
    }
}

fn clipped(name: &str, length: usize) -> String {
    name.chars().take(length).collect()
}

fn number(value: f64) -> String {
    significant(value, 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str, distance: Option<f64>) -> SampleSummary {
        SampleSummary {
            name: name.to_owned(),
            maps: 8,
            pixels: PixelNumbers {
                mean: 0.0,
                sigma: 0.02,
                skewness: 2.0,
                kurtosis: 9.0,
                minimum: -0.03,
                maximum: 0.2,
            },
            distances: distance.map(|distance| Distances {
                pixel_ks: distance,
                spectrum_deviation: distance,
                spectrum_variance_ratio: Some(1.0),
                spectrum_chi_squared: distance,
            }),
        }
    }

    #[test]
    fn the_verdict_follows_the_numbers() {
        let mut summary = Summary {
            real: sample("real", Some(0.1)),
            generated: sample("generated", Some(0.2)),
            untrained: Some(sample("untrained", Some(0.9))),
            multipole_range: (400.0, 20_000.0),
        };
        let verdict = summary.verdict();
        assert!(verdict.contains("by 20 % on average over ℓ = 400 to 20000"));
        assert!(verdict.contains("untrained generator in 3 of 3"));
        assert!(verdict.contains("is to the other in 0 of 3"));
        summary.generated = sample("generated", Some(0.95));
        assert!(summary.verdict().contains("untrained generator in 0 of 3"));
        assert!(summary.to_string().contains("KS distance"));
    }
}
