//! Real maps against generated ones: everything measured, drawn and written to one folder.

use std::path::Path;

use super::colour::ColourRange;
use super::html::{Page, Table};
use super::metrics::Metrics;
use super::numbers::{self, Distances};
use super::picture::{Zoom, bare_map_grid_png, map_grid_png};
use super::plots::{self, Band, PixelHistograms, Plot, ScaleBar, SpectrumBands, TrainingCurve};
use super::summary::{DISTANCES_TITLE, SampleSummary, Summary};
use crate::error::{Error, Result};
use crate::files::{create_folder, write_atomically};

const HISTOGRAM_BINS: usize = 50;

/// Maps of one origin, with their power spectra.
#[derive(Debug, Clone)]
pub struct Sample<'a> {
    /// What tables and legends call it.
    pub name: String,
    /// The maps: κ in row order, all of the size that the comparison gives.
    pub maps: Vec<&'a [f32]>,
    /// One power spectrum C_ℓ per map, in steradian, at the multipoles of the comparison.
    pub spectra: Vec<Vec<f64>>,
}

/// What is compared, and what is to be said about where it came from.
#[derive(Debug, Clone)]
pub struct Comparison<'a> {
    /// Title of the page.
    pub title: String,
    /// Height of every map in pixels.
    pub height: usize,
    /// Width of every map in pixels.
    pub width: usize,
    /// Side of every map in degrees.
    pub side_degrees: f64,
    /// The multipoles ℓ of the spectra, ascending.
    pub multipoles: Vec<f64>,
    /// The reference.
    pub real: Sample<'a>,
    /// What is to be judged.
    pub generated: Sample<'a>,
    /// The same generator before training: what no learning at all looks like.
    pub untrained: Option<Sample<'a>>,
    /// The losses of the training.
    pub training: Option<TrainingCurve>,
    /// Command, seed, weights, cosmology …: pairs of what and which.
    pub provenance: Vec<(String, String)>,
}

/// A sample prepared for measuring.
struct Prepared<'a> {
    sample: &'a Sample<'a>,
    sorted: Vec<f32>,
    spectra: Vec<&'a [f64]>,
}

impl Comparison<'_> {
    /// Measures, draws and writes `report.html`, `metrics.json`, the pictures and the plots into `folder`, replacing
    /// what stands there under those names.
    ///
    /// # Errors
    /// Where maps or spectra do not fit together or are not finite, or the folder cannot be written.
    pub fn write(&self, folder: impl AsRef<Path>) -> Result<Summary> {
        let folder = folder.as_ref();
        let prepared = self.prepare()?;
        let metrics = self.metrics(&prepared);
        create_folder(folder)?;

        let mut page = Page::new(&self.title);
        page.paragraph(&self.introduction(&metrics.summary));
        page.paragraph(&metrics.summary.verdict());
        page.heading("Numbers");
        add_table(&mut page, &metrics.summary);
        page.heading("Maps");
        self.add_maps(&mut page, folder)?;
        page.heading("Pixel values");
        add_plot(
            &mut page,
            folder,
            "pixel_histogram",
            &metrics.histograms.plot()?,
            &format!(
                "How often each κ occurs, in {HISTOGRAM_BINS} bins, and the ratio of each density to that of the real maps. \
                 Values beyond a panel are drawn at its edge; empty bins are left out."
            ),
        )?;
        page.heading("Power spectrum");
        add_plot(
            &mut page,
            folder,
            "power_spectrum",
            &metrics.spectra.plot()?,
            "Lines: mean over maps. Bands: ± one standard deviation between maps. Lower panel: ratio of each mean to that \
             of the real maps; the grey band is the standard error of the real mean. Values beyond a panel are drawn at its \
             edge.",
        )?;
        if let Some(training) = &self.training {
            page.heading("Training");
            let caption = training_caption(training);
            add_plot(&mut page, folder, "training", &training.plot()?, &caption)?;
        }
        page.heading("Where this came from");
        page.pairs(&metrics.provenance);

        let mut json = serde_json::to_vec_pretty(&metrics).map_err(|error| {
            Error::file(folder.join("metrics.json"), error, "report this as a bug")
        })?;
        json.push(b'\n');
        write_atomically(folder.join("metrics.json"), &json)?;
        write_atomically(folder.join("report.html"), page.finish().as_bytes())?;
        Ok(metrics.summary)
    }

    fn samples(&self) -> impl Iterator<Item = &Sample<'_>> {
        [&self.real, &self.generated]
            .into_iter()
            .chain(&self.untrained)
    }

    fn prepare(&self) -> Result<Vec<Prepared<'_>>> {
        if !(self.side_degrees.is_finite() && self.side_degrees > 0.0) {
            return Err(Error::usage(
                "--side-degrees",
                format!("{} is not an angle", self.side_degrees),
                "give the side of a map in degrees, e.g. 0.866",
            ));
        }
        self.samples()
            .map(|sample| {
                self.check(sample)?;
                Ok(Prepared {
                    sample,
                    sorted: numbers::sorted_pixels(&sample.maps),
                    spectra: sample.spectra.iter().map(Vec::as_slice).collect(),
                })
            })
            .collect()
    }

    fn check(&self, sample: &Sample<'_>) -> Result<()> {
        let refuse = |problem: String, remedy: &str| {
            let name = &sample.name;
            Err(Error::CheckFailed(format!(
                "{name} maps: {problem}; {remedy}"
            )))
        };
        let size = self.height * self.width;
        if sample.maps.is_empty() || size == 0 {
            return refuse("there are none".to_owned(), "give at least one map");
        }
        for (index, map) in sample.maps.iter().enumerate() {
            if map.len() != size {
                return refuse(
                    format!(
                        "map {index} has {} pixels, not {} × {}",
                        map.len(),
                        self.height,
                        self.width
                    ),
                    "compare maps of one size",
                );
            }
            if map.iter().any(|value| !value.is_finite()) {
                return refuse(
                    format!("map {index} holds a value that is not finite"),
                    "leave this map out, or train again with a lower learning rate if a generator made it",
                );
            }
        }
        let expected = self.multipoles.len();
        if sample.spectra.len() != sample.maps.len()
            || sample.spectra.iter().any(|row| row.len() != expected)
        {
            return refuse(
                format!("there is not one spectrum of {expected} multipoles for each map"),
                "measure all maps with the same multipole edges",
            );
        }
        if sample
            .spectra
            .iter()
            .flatten()
            .any(|power| !power.is_finite())
        {
            return refuse(
                "a spectrum is not finite".to_owned(),
                "report this as a bug",
            );
        }
        Ok(())
    }

    fn metrics(&self, prepared: &[Prepared<'_>]) -> Metrics {
        let summary = self.summary(prepared);
        let named: Vec<(&str, &[f32])> = prepared
            .iter()
            .map(|p| (p.sample.name.as_str(), p.sorted.as_slice()))
            .collect();
        let bands = prepared.iter().map(|p| {
            let (mean, variance) = numbers::columns(&p.spectra);
            let root = |variance: Vec<f64>| variance.into_iter().map(f64::sqrt).collect();
            Band {
                name: p.sample.name.clone(),
                maps: p.sample.maps.len(),
                mean,
                sigma: variance.map(root),
            }
        });
        let program = format!("cosmogan {}", env!("CARGO_PKG_VERSION"));
        let mut provenance = self.provenance.clone();
        provenance.push(("Program".to_owned(), program.clone()));
        Metrics {
            format: 1,
            title: self.title.clone(),
            program,
            height: self.height,
            width: self.width,
            side_degrees: self.side_degrees,
            verdict: summary.verdict(),
            summary,
            histograms: PixelHistograms::of_sorted(&named, HISTOGRAM_BINS),
            spectra: SpectrumBands {
                multipoles: self.multipoles.clone(),
                samples: bands.collect(),
            },
            training: self.training.as_ref().map(TrainingCurve::averaged),
            provenance,
        }
    }

    fn summary(&self, prepared: &[Prepared<'_>]) -> Summary {
        let describe = |p: &Prepared<'_>, distances: Option<Distances>| SampleSummary {
            name: p.sample.name.clone(),
            maps: p.sample.maps.len(),
            pixels: numbers::pixel_numbers(&p.sorted),
            distances,
        };
        let distances = |a: (&[f32], &[&[f64]]), b: (&[f32], &[&[f64]])| Distances {
            pixel_ks: numbers::kolmogorov_smirnov(a.0, b.0),
            spectrum_deviation: numbers::spectrum_deviation(a.1, b.1),
            spectrum_variance_ratio: numbers::spectrum_variance_ratio(a.1, b.1),
            spectrum_chi_squared: numbers::spectrum_chi_squared(a.1, b.1),
        };
        let real = &prepared[0];
        let from_real = |p: &Prepared<'_>| {
            Some(distances(
                (&real.sorted, &real.spectra),
                (&p.sorted, &p.spectra),
            ))
        };
        let halves = (real.spectra.len() >= 4).then(|| {
            let half = |start: usize| {
                let maps: Vec<&[f32]> = every_second(&real.sample.maps, start);
                (
                    numbers::sorted_pixels(&maps),
                    every_second(&real.spectra, start),
                )
            };
            let (even, odd) = (half(0), half(1));
            distances((&even.0, &even.1), (&odd.0, &odd.1))
        });
        let first = self.multipoles.first().copied().unwrap_or(0.0);
        let last = self.multipoles.last().copied().unwrap_or(0.0);
        Summary {
            real: describe(real, halves),
            generated: describe(&prepared[1], from_real(&prepared[1])),
            untrained: prepared.get(2).map(|p| describe(p, from_real(p))),
            multipole_range: (first, last),
        }
    }

    fn introduction(&self, summary: &Summary) -> String {
        let mut text = format!(
            "{} generated maps of the convergence κ are compared with {} real ones",
            summary.generated.maps, summary.real.maps
        );
        if let Some(untrained) = &summary.untrained {
            text += &format!(
                " and, to show what was learned, with {} of the generator before training",
                untrained.maps
            );
        }
        text + &format!(
            ". A map has {} × {} pixels and a side of {}°. κ has no unit.",
            self.height, self.width, self.side_degrees
        )
    }

    /// One grid per sample on one colour scale, taken from the real maps.
    fn add_maps(&self, page: &mut Page, folder: &Path) -> Result<()> {
        let range = ColourRange::spanning(&self.real.maps);
        let zoom = Zoom::for_maps(self.height, self.width);
        let side = zoom.picture_side(self.width);
        let (columns, rows) = match side {
            0..=200 => (6, 2),
            201..=330 => (4, 2),
            _ => (3, 1),
        };
        let file_names = ["maps_real.png", "maps_generated.png", "maps_untrained.png"];
        let mut grids = Vec::new();
        for (sample, file_name) in self.samples().zip(file_names) {
            let chosen = evenly(&sample.maps, columns * rows);
            let size = (self.height, self.width);
            let png = map_grid_png(&chosen, size.0, size.1, columns, range)?;
            write_atomically(folder.join(file_name), &png)?;
            let bare = bare_map_grid_png(&chosen, size.0, size.1, columns, range)?;
            grids.push((sample.name.clone(), bare));
        }
        let scale = match zoom {
            Zoom::Enlarged(1) => String::new(),
            Zoom::Enlarged(factor) => format!(" Each pixel is enlarged {factor} times."),
            Zoom::Averaged(factor) => {
                format!(" Each picture pixel is the mean of {factor} × {factor} map pixels.")
            }
        };
        let bar = plots::svg(&ScaleBar { range, width: 520 })?;
        page.map_figure(
            &grids,
            &bar,
            &format!(
                "Maps taken at even intervals from each sample, not chosen by eye, on one colour scale: linear in κ near \
                 zero, logarithmic for peaks, from the 0.1 % to the 99.9 % quantile of the real maps.{scale}"
            ),
        );
        Ok(())
    }
}

fn training_caption(training: &TrainingCurve) -> String {
    let mut caption = "Losses during training, in nats; the discriminator's is the sum over its real and its generated \
                       batch, 2\u{a0}ln\u{a0}2\u{a0}=\u{a0}1.39 if it cannot tell them apart."
        .to_owned();
    if training.steps_per_point() > 1 {
        caption += &format!(" Each point averages {} steps.", training.steps_per_point());
    }
    if let Some(step) = training.selected_step {
        caption += &format!(" The vertical line marks step {step}, whose weights were kept.");
    }
    let left_out = training.points.len() - training.finite_points();
    if left_out > 0 {
        caption += &format!(" Steps left out because a loss is not finite: {left_out}.");
    }
    caption
}

fn add_table(page: &mut Page, summary: &Summary) {
    let names: Vec<&str> = summary
        .samples()
        .map(|sample| sample.name.as_str())
        .collect();
    page.table(&Table {
        caption: "All distances are 0 for equal samples, the ratio is 1. KS: largest gap between the cumulative \
                  distributions. Mean spectrum: |ratio − 1|, averaged over ℓ. χ²: half the sum of (p − q)²/(p + q) over ten \
                  bins that hold equal shares of the real maps, averaged over ℓ. Variance: between maps, ratio to the real \
                  one, median over ℓ. The halves are every other map; samples of one origin are about that far apart.",
        names: &names,
        sections: &[
            ("", summary.pixel_rows()),
            (DISTANCES_TITLE, summary.distance_rows()),
        ],
    });
}

fn add_plot(page: &mut Page, folder: &Path, name: &str, plot: &Plot, caption: &str) -> Result<()> {
    write_atomically(folder.join(format!("{name}.svg")), plot.svg.as_bytes())?;
    write_atomically(folder.join(format!("{name}.png")), &plot.png)?;
    page.figure(&plot.svg, caption);
    Ok(())
}

fn every_second<T: Copy>(items: &[T], start: usize) -> Vec<T> {
    items.iter().skip(start).step_by(2).copied().collect()
}

/// At most `count` of `items`, evenly spaced: neighbours are often pieces of the same sky.
fn evenly<T: Copy>(items: &[T], count: usize) -> Vec<T> {
    let count = count.min(items.len());
    (0..count).map(|i| items[i * items.len() / count]).collect()
}
