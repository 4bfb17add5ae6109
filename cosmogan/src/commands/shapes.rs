//! `cosmogan shapes`: shape statistics of maps of different origin.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use rayon::prelude::*;
use serde::Serialize;

use super::maps::{MapFlags, require_side};
use super::output::print_written;
use crate::error::{Error, Result};
use crate::files::{create_folder, write_atomically, write_json};
use crate::help::examples;
use crate::report::{Band, ThresholdBands, ThresholdPanel};
use crate::stats::{Shape, ShapeEstimator};

/// Compare maps of different cosmology, redshift or pixel size: smoothed to one scale, in units of their standard
/// deviation
#[derive(Debug, Args)]
#[command(after_help = examples(&["cosmogan shapes simulated=maps.npy@0.866 generated=generated.npy@0.866 --out shapes"]))]
pub(super) struct ShapesArguments {
    /// Sample name, file of maps, and side of a map: NAME=maps.npy@DEGREES. Files with equal names form one sample
    #[arg(required = true, value_name = "SAMPLE", value_parser = parse)]
    inputs: Vec<Input>,
    /// Standard deviation of the Gaussian smoothing kernel in arcminutes
    #[arg(long, default_value_t = 2.0, value_name = "ARCMIN")]
    smoothing: f64,
    /// Output folder for shapes.png, shapes.svg and shapes.json
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    files: MapFlags,
}

/// One SAMPLE argument.
#[derive(Clone, Debug)]
struct Input {
    name: String,
    path: PathBuf,
    side_degrees: f64,
}

fn parse(text: &str) -> std::result::Result<Input, String> {
    let parts = text.split_once('=').and_then(|(name, rest)| {
        let (path, side) = rest.rsplit_once('@')?;
        let side: f64 = side.parse().ok()?;
        (!name.is_empty() && side > 0.0 && side <= 90.0).then_some((name, path, side))
    });
    let (name, path, side_degrees) = parts.ok_or("write NAME=maps.npy@DEGREES")?;
    Ok(Input {
        name: name.to_owned(),
        path: path.into(),
        side_degrees,
    })
}

/// One row of the table: means over the maps of a file.
#[derive(Serialize)]
struct Row {
    sample: String,
    file: PathBuf,
    maps: usize,
    arcminutes_per_pixel: f64,
    standard_deviation: f64,
    skewness: f64,
    smoothed_standard_deviation: f64,
    smoothed_skewness: f64,
    smoothed_kurtosis: f64,
    smoothed_minimum_over_sigma: f64,
}

/// Content of `shapes.json`.
#[derive(Serialize)]
struct Shapes<'a> {
    smoothing_arcminutes: f64,
    files: &'a [Row],
    figure: &'a ThresholdBands,
}

impl ShapesArguments {
    pub(super) fn run(self) -> Result<()> {
        let names: BTreeSet<&str> = self.inputs.iter().map(|input| &*input.name).collect();
        if names.len() > 3 {
            return Err(Error::usage(
                "SAMPLE",
                format!("a figure can show three samples, not {}", names.len()),
                "use up to three names",
            ));
        }
        let estimator = ShapeEstimator::new(self.smoothing)?;
        let mut samples: Vec<(String, Vec<Shape>)> = Vec::new();
        let mut rows = Vec::new();
        for input in &self.inputs {
            let (pixels, shapes) = measure(&estimator, input, &self.files)?;
            rows.push(row(input, pixels, &shapes));
            match samples.iter_mut().find(|(name, _)| *name == input.name) {
                Some((_, all)) => all.extend(shapes),
                None => samples.push((input.name.clone(), shapes)),
            }
        }
        let figure = figure(&estimator, &samples);
        create_folder(&self.out)?;
        let plot = figure.plot()?;
        write_atomically(self.out.join("shapes.png"), &plot.png)?;
        write_atomically(self.out.join("shapes.svg"), plot.svg.as_bytes())?;
        write_json(
            self.out.join("shapes.json"),
            &Shapes {
                smoothing_arcminutes: self.smoothing,
                files: &rows,
                figure: &figure,
            },
        )?;
        print(&rows, self.smoothing);
        print_written(&self.out, "shapes.png, shapes.svg and shapes.json");
        Ok(())
    }
}

fn measure(
    estimator: &ShapeEstimator,
    input: &Input,
    files: &MapFlags,
) -> Result<(usize, Vec<Shape>)> {
    let maps = files.read(&input.path)?;
    require_side("SAMPLE", input.side_degrees, &maps)?;
    maps.require_finite()?;
    let pixels = maps.width();
    if maps.height() != pixels {
        return Err(Error::file(
            &input.path,
            format!("contains maps of {}×{pixels} pixels", maps.height()),
            "use square maps; `cosmogan crop` cuts them",
        ));
    }
    let slices: Vec<&[f32]> = maps.iter().collect();
    let shapes: Option<Vec<Shape>> = slices
        .into_par_iter()
        .map(|map| estimator.measure(map, pixels, input.side_degrees))
        .collect();
    let shapes = shapes.ok_or_else(|| {
        Error::file(
            &input.path,
            format!(
                "contains a constant map, or its {pixels} pixels on {} degrees are too few or too coarse for this smoothing",
                input.side_degrees
            ),
            "choose a --smoothing of more than a pixel and much less than the map",
        )
    })?;
    Ok((pixels, shapes))
}

fn row(input: &Input, pixels: usize, shapes: &[Shape]) -> Row {
    let count = shapes.len() as f64;
    let mean = |of: &dyn Fn(&Shape) -> f64| shapes.iter().map(of).sum::<f64>() / count;
    Row {
        sample: input.name.clone(),
        file: input.path.clone(),
        maps: shapes.len(),
        arcminutes_per_pixel: 60.0 * input.side_degrees / pixels as f64,
        standard_deviation: mean(&|shape| shape.unsmoothed.standard_deviation()),
        skewness: mean(&|shape| shape.unsmoothed.skewness()),
        smoothed_standard_deviation: mean(&|shape| shape.smoothed.standard_deviation()),
        smoothed_skewness: mean(&|shape| shape.smoothed.skewness()),
        smoothed_kurtosis: mean(&|shape| shape.smoothed.kurtosis()),
        smoothed_minimum_over_sigma: mean(&|shape| {
            let moments = &shape.smoothed;
            (f64::from(moments.minimum()) - moments.mean()) / moments.standard_deviation()
        }),
    }
}

fn figure(estimator: &ShapeEstimator, samples: &[(String, Vec<Shape>)]) -> ThresholdBands {
    let panel = |quantity: &str, values: &dyn Fn(&Shape) -> Vec<f64>| ThresholdPanel {
        quantity: quantity.to_owned(),
        samples: samples
            .iter()
            .map(|(name, shapes)| {
                let rows: Vec<Vec<f64>> = shapes.iter().map(values).collect();
                let rows: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
                Band::of(name, &rows)
            })
            .collect(),
    };
    ThresholdBands {
        threshold: "(κ − ⟨κ⟩)/σ".to_owned(),
        thresholds: estimator.thresholds(),
        panels: vec![
            panel("pixels, log₁₀ of the density", &|shape| {
                let floor = 1e-5_f64;
                shape
                    .density
                    .iter()
                    .map(|value| value.max(floor).log10())
                    .collect()
            }),
            panel("V₀ (area fraction)", &|shape| {
                shape.functionals[0].clone()
            }),
            panel("V₁ (1/scale/σ)", &|shape| shape.functionals[1].clone()),
            panel("V₂ (1/scale²/σ)", &|shape| shape.functionals[2].clone()),
        ],
    }
}

fn print(rows: &[Row], smoothing: f64) {
    println!(
        "first unsmoothed, then smoothed with a Gaussian of {smoothing}′ standard deviation; means over maps"
    );
    println!(
        "{:<16} {:>4} {:>8} {:>8} {:>6}   {:>8} {:>6} {:>8} {:>8}  file",
        "sample", "maps", "′/pixel", "σ", "skew", "σ", "skew", "kurtosis", "min/σ"
    );
    for row in rows {
        println!(
            "{:<16} {:>4} {:>8.2} {:>8.4} {:>6.2}   {:>8.4} {:>6.2} {:>8.2} {:>8.2}  {}",
            row.sample,
            row.maps,
            row.arcminutes_per_pixel,
            row.standard_deviation,
            row.skewness,
            row.smoothed_standard_deviation,
            row.smoothed_skewness,
            row.smoothed_kurtosis,
            row.smoothed_minimum_over_sigma,
            row.file.display()
        );
    }
}
