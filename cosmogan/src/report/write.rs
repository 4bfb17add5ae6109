//! The page of a comparison and the files beside it.

use std::path::Path;

use super::colour::ColourRange;
use super::compare::{Comparison, HISTOGRAM_BINS};
use super::html::{Page, Table};
use super::metrics::Metrics;
use super::picture::{Zoom, bare_map_grid_png, map_grid_png};
use super::plots::{self, Matrices, MatrixPanel, Plot, ScaleBar, TrainingCurve};
use super::summary::{DISTANCES_TITLE, Row, Summary};
use crate::error::{Error, Result};
use crate::files::{create_folder, write_atomically};

/// Whether a file of this name in a folder is one that a report leaves there.
pub fn is_own_file(name: &str) -> bool {
    /// With either ending.
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

/// Draws and writes everything. Numbers come last, so that a page that is there is whole.
pub(super) fn write(comparison: &Comparison<'_>, metrics: &Metrics, folder: &Path) -> Result<()> {
    create_folder(folder)?;
    let mut page = Page::new(&comparison.title);
    page.paragraph(&introduction(comparison, &metrics.summary));
    page.paragraph(&metrics.summary.verdict());
    page.heading("Numbers");
    add_summary(&mut page, &metrics.summary);
    add_paper_table(&mut page, metrics);
    let range = ColourRange::spanning(&comparison.real.maps);
    page.heading("Maps");
    add_maps(&mut page, comparison, range, folder)?;
    let mut figures = Figures {
        page: &mut page,
        folder,
    };
    figures.add(
        "Pixel values",
        "pixel_histogram",
        &metrics.histograms.plot()?,
        &format!(
            "How often each κ occurs, in {HISTOGRAM_BINS} bins, and the ratio of each density to that of the real maps. \
             Values beyond a panel are drawn at its edge; empty bins are left out."
        ),
    )?;
    figures.add(
        "Power spectrum",
        "power_spectrum",
        &metrics.spectra.plot()?,
        &format!(
            "Power spectra at {} modes. Lines: mean over maps. Bands: ± one standard deviation between maps. Lower \
             panel: ratio of each mean to that of the real maps; the grey band is the standard error of the real mean. \
             Values beyond a panel are drawn at its edge.",
            metrics.spectra.multipoles.len()
        ),
    )?;
    figures.add(
        "",
        "modes",
        &metrics.modes.plot()?,
        "How the power at three equidistant modes is distributed over maps.",
    )?;
    add_correlations(figures.page, metrics, folder)?;
    figures.add(
        "Minkowski functionals and peaks",
        "functionals",
        &metrics.functionals.plot()?,
        "Area, perimeter and genus of the regions above a threshold, and the number of peaks by their height. Lines: \
         mean over maps. Bands: ± one standard deviation between maps. Lengths are in pixels; derivatives wrap around \
         at the edges of a map.",
    )?;
    figures.add(
        "",
        "thresholds",
        &metrics.thresholds.plot()?,
        "How the functionals at three equidistant thresholds are distributed over maps.",
    )?;
    for figure in &comparison.figures {
        let maps: Vec<&[f32]> = figure.maps.iter().map(Vec::as_slice).collect();
        let size = comparison.pixels;
        let png = map_grid_png(&maps, size, size, figure.columns, range)?;
        write_atomically(folder.join(format!("{}.png", figure.file_name)), &png)?;
        figures.page.heading(&figure.heading);
        figures.page.picture(&png, &figure.heading, &figure.caption);
    }
    if let Some(training) = &comparison.training {
        let caption = training_caption(training);
        figures.add("Training", "training", &training.plot()?, &caption)?;
    }
    page.heading("Where this came from");
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
            ", these with {} real ones of independent simulations",
            auxiliary.maps.len()
        );
    }
    if let Some(untrained) = &summary.untrained {
        text += &format!(
            " and, to show what was learned, with {} of the generator before training",
            untrained.maps
        );
    }
    text + &format!(
        ". A map has {0} × {0} pixels and a side of {1}°. κ has no unit.",
        comparison.pixels, comparison.side_degrees
    )
}

/// One grid per sample on one colour scale, taken from the real maps.
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
            "Maps taken at even intervals from each sample, not chosen by eye, on one colour scale: linear in κ near \
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
            _ => "one half − the other half of the real maps",
        };
        panels.push(panel(title, yardstick, -limit, limit));
    }
    let png = Matrices {
        edges: &metrics.l_edges,
        panels,
    }
    .png()?;
    write_atomically(folder.join("correlations.png"), &png)?;
    page.heading("Correlations between modes");
    page.picture(
        &png,
        "correlation matrices",
        "Correlation matrices of the power spectra over maps, and their differences, with the difference between two \
         samples of real maps for comparison. Values beyond a colour bar have the colour of its end.",
    );
    Ok(())
}

/// Plots that stand on the page, and as files beside it.
struct Figures<'a> {
    page: &'a mut Page,
    folder: &'a Path,
}

impl Figures<'_> {
    /// Adds a plot, under a heading unless that is empty.
    fn add(&mut self, heading: &str, name: &str, plot: &Plot, caption: &str) -> Result<()> {
        let file = |ending: &str| self.folder.join(format!("{name}.{ending}"));
        write_atomically(file("svg"), plot.svg.as_bytes())?;
        write_atomically(file("png"), &plot.png)?;
        if !heading.is_empty() {
            self.page.heading(heading);
        }
        self.page.figure(&plot.svg, caption);
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
    page.table(&Table {
        caption: "What the text of Mustafa et al. (2019) says of its generator, and the same here. p: how often two \
                  samples drawn from the pooled maps differ at least as much as these do, by a Kolmogorov–Smirnov (KS) and \
                  an Anderson–Darling (AD) test. For samples of one origin p is spread evenly from 0 to 1, which gives the \
                  last column; the paper's p-values lie above that, so they were not computed in this way, and only \
                  the column of real against real maps is a fair yardstick. Covariance: between different modes or \
                  thresholds, ratio to the real one with 95 % interval.",
        names: &["paper", "generated", &metrics.yardstick, "one origin"],
        sections: &sections,
    });
}

/// The boxes behind the maps, where any are known.
fn add_origins(page: &mut Page, metrics: &Metrics) {
    if metrics.origins.is_empty() {
        return;
    }
    page.heading("Simulated boxes behind the maps");
    page.paragraph(
        "What the manifests of data sets say, checked by the SHA-256 of each file that is here. Boxes of one seed are one \
         universe; sets that are to be independent share none. Of maps that are not listed nothing is known.",
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

/// At most `count` of `items`, evenly spaced: neighbours are often pieces of the same sky.
fn evenly<T: Copy>(items: &[T], count: usize) -> Vec<T> {
    let count = count.min(items.len());
    (0..count).map(|i| items[i * items.len() / count]).collect()
}
