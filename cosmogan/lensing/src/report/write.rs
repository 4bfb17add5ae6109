//! Writes the HTML page of a comparison and the files beside it.

use std::path::Path;

use super::colour::ColourRange;
use super::compare::HISTOGRAM_BINS;
use super::comparison::{Comparison, Stage, Work};
use super::html::{Page, Table};
use super::metrics::Metrics;
use super::picture::{Zoom, bare_map_grid_png, map_grid_png};
use super::plots::{self, Matrices, MatrixPanel, Plot, ScaleBar, TrainingCurve};
use super::summary::{DISTANCES_TITLE, Row, Summary};
use crate::files::{create_folder, write_atomically};
use cosmogan_base::{Error, Result};

/// Figures of every report: maps, correlations and five plots.
const FIGURES: u64 = 7;

/// Whether a report writes a file of this name.
pub fn is_own_file(name: &str) -> bool {
    /// With either extension, .png or .svg.
    const PICTURES: [&str; 12] = [
        "maps_real",
        "maps_generated",
        "maps_untrained",
        "pixel_histogram",
        "power_spectrum",
        "modes",
        "correlations",
        "functionals",
        "thresholds",
        "nearest_neighbours",
        "interpolations",
        "training",
    ];
    let picture = name.strip_suffix(".png").or(name.strip_suffix(".svg"));
    name == "report.html"
        || name == "metrics.json"
        || picture.is_some_and(|stem| PICTURES.contains(&stem))
}

impl Comparison<'_> {
    /// Runs the comparison and writes the report into `folder`.
    ///
    /// Writes `report.html`, `metrics.json`, images and plots, replacing existing files of those names. Returns the
    /// summary.
    ///
    /// # Errors
    /// If maps have different sizes, are too few, constant or not finite, or the folder cannot be written.
    pub fn write(&self, folder: impl AsRef<Path>) -> Result<Summary> {
        self.write_with(folder, &|_| {})
    }

    /// Runs the comparison as [`write`](Self::write) does, and reports progress to `observe`.
    ///
    /// `observe` is called from several threads.
    ///
    /// # Errors
    /// See [`write`](Self::write).
    pub fn write_with(
        &self,
        folder: impl AsRef<Path>,
        observe: &(dyn Fn(Work) + Sync),
    ) -> Result<Summary> {
        let metrics = self.measure(observe)?;
        write(self, &metrics, folder.as_ref(), observe)?;
        Ok(metrics.summary)
    }
}

/// Draws and writes everything.
/// The page is written last, so that its presence means that the report is complete.
fn write(
    comparison: &Comparison<'_>,
    metrics: &Metrics,
    folder: &Path,
    observe: &dyn Fn(Work),
) -> Result<()> {
    create_folder(folder)?;
    let more = comparison.figures.len() + usize::from(comparison.training.is_some());
    let drawn = || {
        observe(Work {
            stage: Stage::Drawing,
            units: 1,
            total: FIGURES + more as u64,
        });
    };
    let mut page = Page::new(&comparison.title);
    page.paragraph(&introduction(comparison, &metrics.summary));
    page.paragraph(&metrics.summary.verdict());
    page.heading("Numbers");
    add_summary(&mut page, &metrics.summary);
    add_paper_table(&mut page, metrics);
    let range = ColourRange::spanning(&comparison.real.maps);
    page.heading("Maps");
    add_maps(&mut page, comparison, range, folder)?;
    drawn();
    let mut figures = Figures {
        page: &mut page,
        folder,
        drawn: &drawn,
    };
    figures.add(
        "Pixel values",
        ("pixel_histogram", "Histogram of pixel values"),
        &metrics.histograms.plot()?,
        &format!(
            "Probability density of κ in {HISTOGRAM_BINS} bins, and its ratio to that of the real maps. \
             Values outside a panel are drawn at its edge; empty bins are omitted."
        ),
    )?;
    figures.add(
        "Power spectrum",
        ("power_spectrum", "Power spectra"),
        &metrics.spectra.plot()?,
        &format!(
            "Power spectra in {} ℓ bins. Lines: mean over maps. Bands: ± one standard deviation over maps. Lower \
             panel: ratio of each mean to that of the real maps; the grey band is the standard error of the real mean. \
             Values outside a panel are drawn at its edge.",
            metrics.spectra.multipoles.len()
        ),
    )?;
    figures.add(
        "",
        ("modes", "Distributions of the power in three ℓ bins"),
        &metrics.modes.plot()?,
        "Distribution over maps of the power in three equidistant ℓ bins.",
    )?;
    add_correlations(figures.page, metrics, folder)?;
    drawn();
    figures.add(
        "Minkowski functionals and peaks",
        ("functionals", "Minkowski functionals and peak counts"),
        &metrics.functionals.plot()?,
        "Minkowski functionals (area, perimeter and genus of excursion sets) and peak counts by height. Lines: \
         mean over maps. Bands: ± one standard deviation over maps. Lengths are in pixels; derivatives wrap around \
         at the edges of a map.",
    )?;
    figures.add(
        "",
        (
            "thresholds",
            "Distributions of the functionals at three thresholds",
        ),
        &metrics.thresholds.plot()?,
        "Distribution over maps of the functionals at three equidistant thresholds.",
    )?;
    for figure in &comparison.figures {
        let maps: Vec<&[f32]> = figure.maps.iter().map(Vec::as_slice).collect();
        let size = comparison.pixels;
        let png = map_grid_png(&maps, size, size, figure.columns, range)?;
        write_atomically(folder.join(format!("{}.png", figure.file_name)), &png)?;
        figures.page.heading(&figure.heading);
        figures.page.picture(&png, &figure.heading, &figure.caption);
        drawn();
    }
    if let Some(training) = &comparison.training {
        let caption = training_caption(training);
        figures.add(
            "Training",
            ("training", "Losses during training"),
            &training.plot()?,
            &caption,
        )?;
    }
    page.heading("Provenance");
    page.pairs(&metrics.provenance);
    add_origins(&mut page, metrics);

    let mut json = serde_json::to_vec(&metrics)
        .map_err(|error| Error::file(folder.join("metrics.json"), error, "report this as a bug"))?;
    json.push(b'\n');
    write_atomically(folder.join("metrics.json"), &json)?;
    write_atomically(folder.join("report.html"), page.finish().as_bytes())
}

fn introduction(comparison: &Comparison<'_>, summary: &Summary) -> String {
    let mut text = format!(
        "{} generated maps of the convergence κ are compared with {} real ones",
        summary.generated.maps, summary.real.maps
    );
    if let Some(auxiliary) = &comparison.auxiliary {
        text += &format!(
            "; as a baseline, the real maps are compared with {} others from independent simulations",
            auxiliary.maps.len()
        );
    }
    if let Some(untrained) = &summary.untrained {
        text += &format!(
            ". {} maps of the generator before training show the effect of training",
            untrained.maps
        );
    }
    text + &format!(
        ". A map has {0} × {0} pixels and a side of {1}°. κ has no unit.",
        comparison.pixels, comparison.side_degrees
    )
}

/// Adds one grid per sample, on a common colour scale derived from the real maps.
fn add_maps(
    page: &mut Page,
    comparison: &Comparison<'_>,
    range: ColourRange,
    folder: &Path,
) -> Result<()> {
    let size = comparison.pixels;
    let zoom = Zoom::for_maps(size, size);
    let columns = zoom.columns(size);
    let rows = if columns > 3 { 2 } else { 1 };
    let file_names = ["maps_real.png", "maps_generated.png", "maps_untrained.png"];
    let mut grids = Vec::new();
    for (sample, file_name) in comparison.samples().zip(file_names) {
        let chosen = evenly(&sample.maps, columns * rows);
        let png = map_grid_png(&chosen, size, size, columns, range)?;
        write_atomically(folder.join(file_name), &png)?;
        let bare = bare_map_grid_png(&chosen, size, size, columns, range)?;
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
            "Maps at even intervals from each sample, not hand-picked, on one colour scale: linear in κ near \
             zero, logarithmic for peaks, from the 0.1 % to the 99.9 % quantile of the real maps.{scale}"
        ),
    );
    Ok(())
}

fn add_correlations(page: &mut Page, metrics: &Metrics, folder: &Path) -> Result<()> {
    let correlations = &metrics.correlations;
    let difference = correlations.generated.minus(&correlations.real);
    let mut limit = f64::from(difference.largest());
    if let Some(yardstick) = &correlations.yardstick_difference {
        limit = limit.max(yardstick.largest().into());
    }
    let limit = limit.max(1e-3);
    let panel = |title: &str, matrix, low: f64, high: f64| MatrixPanel {
        title: title.to_owned(),
        matrix,
        low,
        high,
    };
    let mut panels = vec![
        panel("real", &correlations.real, -0.2, 1.0),
        panel("generated", &correlations.generated, -0.2, 1.0),
        panel("generated − real", &difference, -limit, limit),
    ];
    if let Some(yardstick) = &correlations.yardstick_difference {
        let title = match metrics.yardstick.as_str() {
            "auxiliary" => "auxiliary − real",
            _ => "odd − even real maps",
        };
        panels.push(panel(title, yardstick, -limit, limit));
    }
    let png = Matrices {
        edges: &metrics.l_edges,
        panels,
    }
    .png()?;
    write_atomically(folder.join("correlations.png"), &png)?;
    page.heading("Correlations between ℓ bins");
    page.picture(
        &png,
        "Correlation matrices of ℓ bins",
        "Correlation matrices of the power spectra over maps, and their differences, with the difference between two \
         samples of real maps as a baseline. Values outside a colour bar have the colour of its end.",
    );
    Ok(())
}

/// Adds plots to the page and writes them as files.
struct Figures<'a> {
    page: &'a mut Page,
    folder: &'a Path,
    /// Called after each plot.
    drawn: &'a dyn Fn(),
}

impl Figures<'_> {
    /// Adds a plot, under a heading unless it is empty. `name` is for screen readers.
    fn add(
        &mut self,
        heading: &str,
        (file_name, name): (&str, &str),
        plot: &Plot,
        caption: &str,
    ) -> Result<()> {
        let file = |ending: &str| self.folder.join(format!("{file_name}.{ending}"));
        write_atomically(file("svg"), plot.svg.as_bytes())?;
        write_atomically(file("png"), &plot.png)?;
        if !heading.is_empty() {
            self.page.heading(heading);
        }
        self.page.figure(&plot.svg, name, caption);
        (self.drawn)();
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

fn add_summary(page: &mut Page, summary: &Summary) {
    let names: Vec<&str> = summary
        .samples()
        .map(|sample| sample.name.as_str())
        .collect();
    page.table(&Table {
        caption: "For equal samples all distances are 0 and the ratio is 1. KS: largest gap between the cumulative \
                  distributions. Mean spectrum: |ratio − 1|, averaged over ℓ. χ²: half the sum of (p − q)²/(p + q) over ten \
                  bins that hold equal shares of the real maps, averaged over ℓ. Variance: over maps, ratio to the real \
                  one, median over ℓ. The halves are the even and the odd maps; their distance is a baseline.",
        names: &names,
        sections: &[
            ("", summary.pixel_rows()),
            (DISTANCES_TITLE, summary.distance_rows()),
        ],
    });
}

fn add_paper_table(page: &mut Page, metrics: &Metrics) {
    let mut sections: Vec<(&str, Vec<Row>)> = Vec::new();
    for row in &metrics.paper {
        if sections
            .last()
            .is_none_or(|(title, _)| *title != row.statistic)
        {
            sections.push((&row.statistic, Vec::new()));
        }
        let values = [&row.paper, &row.generated, &row.yardstick, &row.expected];
        if let Some((_, rows)) = sections.last_mut() {
            rows.push(Row {
                quantity: row.quantity.clone(),
                unit: "",
                values: values.map(String::clone).to_vec(),
            });
        }
    }
    page.heading("Beside the paper");
    page.paragraph(
        "How to read the next table: p is how often two samples drawn from the pooled maps differ at least as much as \
         these do, by a Kolmogorov–Smirnov (KS) and an Anderson–Darling (AD) test. For two samples of one distribution \
         p is uniform from 0 to 1: one in twenty falls below 0.05, and the column “expected” follows. Large values are \
         no better than medium ones. The paper's p-values are larger than those of equal samples, so they were not \
         computed in this way: compare “generated” with the column beside it, which tests real maps against real maps, \
         and not with the paper's.",
    );
    page.table(&Table {
        caption: "Results in the text of Mustafa et al. (2019), and the same statistics here. Covariance: between \
                  different ℓ bins or thresholds, ratio to that of the real maps, with 95 % interval.",
        names: &["paper", "generated", &metrics.yardstick, "expected"],
        sections: &sections,
    });
}

/// Adds the N-body boxes of the maps, if any are known.
fn add_origins(page: &mut Page, metrics: &Metrics) {
    if metrics.origins.is_empty() {
        return;
    }
    page.heading("N-body boxes of the maps");
    page.paragraph(
        "From the manifests of the data sets, with the SHA-256 of available files verified. Boxes with equal seeds are \
         the same universe; independent sets share none. The origin of maps that are not listed is unknown.",
    );
    let pairs: Vec<(String, String)> = metrics
        .origins
        .iter()
        .map(|(maps, provenance)| (capitalised(maps), provenance.to_string()))
        .collect();
    page.pairs(&pairs);
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(characters).collect()
}

/// Picks at most `count` of `items`, evenly spaced.
/// Neighbouring maps often show the same region of a simulation.
fn evenly<T: Copy>(items: &[T], count: usize) -> Vec<T> {
    let count = count.min(items.len());
    (0..count).map(|i| items[i * items.len() / count]).collect()
}
