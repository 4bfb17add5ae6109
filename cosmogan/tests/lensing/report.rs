//! Reports of comparisons, from synthetic maps to the files on disk.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

use approx::assert_relative_eq;
use cosmogan::report::{
    ColourRange, Comparison, MapFigure, Metrics, Sample, TrainingCurve, TrainingPoint, is_own_file,
    map_grid_png,
};
use cosmogan::rng::{Normals, Purpose, stream};
use cosmogan::stats::two_sample::Bootstrap;
use cosmogan::stats::{Edges, PowerSpectrum};
use tempfile::tempdir;

const SIDE: usize = 32;

/// Maps of a smoothed Gaussian field, skewed like a lognormal field by `skew`.
fn maps(count: usize, skew: f64, seed: u64) -> Vec<f32> {
    let mut normals = Normals::new(stream(seed, Purpose::Simulation, 0));
    (0..count)
        .flat_map(|_| {
            let noise: Vec<f64> = normals.by_ref().take(SIDE * SIDE).collect();
            (0..SIDE * SIDE)
                .map(|at| {
                    let (row, column) = (at / SIDE, at % SIDE);
                    let smooth: f64 = (0..9)
                        .map(|i| {
                            let (y, x) = ((row + i / 3) % SIDE, (column + i % 3) % SIDE);
                            noise[y * SIDE + x] / 3.0
                        })
                        .sum();
                    (0.02 * ((skew * smooth).exp() - 1.0) / skew) as f32
                })
                .collect::<Vec<f32>>()
        })
        .collect()
}

fn sample<'a>(name: &str, values: &'a [f32]) -> Sample<'a> {
    Sample {
        name: name.to_owned(),
        maps: values.chunks(SIDE * SIDE).collect(),
    }
}

fn comparison<'a>(
    real: &'a [f32],
    generated: &'a [f32],
    untrained: Option<&'a [f32]>,
) -> Comparison<'a> {
    Comparison {
        title: "Test <of> \"the\" report & more".to_owned(),
        pixels: SIDE,
        side_degrees: 0.108,
        edges: Edges::default(),
        bootstrap: Bootstrap {
            resamples: 50,
            seed: 1,
        },
        real: sample("real", real),
        generated: sample("generated", generated),
        auxiliary: None,
        untrained: untrained.map(|values| sample("untrained", values)),
        training: None,
        figures: Vec::new(),
        origins: BTreeMap::new(),
        provenance: vec![("Command".to_owned(), "cosmogan <evaluate> 'x'".to_owned())],
    }
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

/// Every picture has a name of its own, every table a caption, and every header cell says what it heads.
fn require_accessible(html: &str) {
    let named: Vec<&str> = [" alt=\"", " aria-label=\""]
        .iter()
        .flat_map(|attribute| html.split(attribute).skip(1))
        .map(|rest| rest.split_once('"').unwrap().0)
        .collect();
    let pictures = html.matches("<img").count() + html.matches("<svg").count();
    assert_eq!(named.len(), pictures);
    for (index, name) in named.iter().enumerate() {
        assert!(name.len() > 5 && !named[..index].contains(name), "{name}");
    }
    let tables = html.matches("<table").count();
    assert_eq!(tables, html.matches("<caption").count());
    // `<thead` begins with `<th`, too.
    let headers = html.matches("<th").count() - html.matches("<thead").count();
    assert_eq!(headers, html.matches("<th scope=").count());
    let explained = html.find("p is uniform from 0 to 1").unwrap();
    assert!(explained < html.find("KS: p &gt; 0.95").unwrap());
}

#[test]
fn a_report_is_complete_and_needs_nothing_else() {
    let (real, generated, untrained) = (maps(40, 0.5, 1), maps(30, 0.45, 2), maps(20, 1e-3, 3));
    let mut comparison = comparison(&real, &generated, Some(&untrained));
    comparison.training = Some(TrainingCurve {
        points: (1..=900)
            .map(|step| TrainingPoint {
                step,
                discriminator_loss: if step == 5 { f64::NAN } else { 1.3 },
                generator_loss: 0.7 + 10.0 / step as f64,
            })
            .collect(),
        selected_step: Some(800),
    });
    let auxiliary = maps(25, 0.5, 11);
    comparison.auxiliary = Some(sample("auxiliary", &auxiliary));
    comparison.figures.push(MapFigure {
        heading: "Interpolations".to_owned(),
        file_name: "interpolations".to_owned(),
        caption: "Two maps.".to_owned(),
        columns: 2,
        maps: vec![
            real[..SIDE * SIDE].to_vec(),
            generated[..SIDE * SIDE].to_vec(),
        ],
    });
    let folder = tempdir().unwrap();
    let summary = comparison.write(folder.path()).unwrap();

    let html = read(folder.path(), "report.html");
    assert!(html.len() < 10 << 20);
    assert!(!html.contains("http:") && !html.contains("https:") && !html.contains("@import"));
    assert!(!html.contains("<script") && !html.contains("<link"));
    for place in ["src=", "href=", "url("] {
        for rest in html.split(place).skip(1) {
            assert!(
                rest.starts_with("\"data:image/png;base64,"),
                "{}",
                &rest[..40]
            );
        }
    }
    assert_eq!(html.matches("<figure").count(), 9);
    assert_eq!(html.matches("<svg").count(), 7);
    require_accessible(&html);
    assert!(html.contains("<h1>Test &lt;of&gt; &quot;the&quot; report &amp; more</h1>"));
    assert!(html.contains("cosmogan &lt;evaluate&gt; &#39;x&#39;"));
    assert!(html.contains("because a loss is not finite: 1."));
    // Images are base64, which may contain any word.
    let words: String = html
        .split("data:image/png;base64,")
        .map(|part| part.split_once('"').map_or(part, |(_, rest)| rest))
        .collect();
    assert!(!words.contains("NaN"));

    let mut pictures = 0;
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        assert!(is_own_file(path.file_name().unwrap().to_str().unwrap()));
        let bytes = fs::read(&path).unwrap();
        match path.extension().unwrap().to_str().unwrap() {
            "png" => {
                pictures += 1;
                let decoder = png::Decoder::new(std::io::Cursor::new(bytes));
                let mut reader = decoder.read_info().unwrap();
                let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
                reader.next_frame(&mut pixels).unwrap();
                assert!(pixels.iter().any(|p| *p != pixels[0]), "{path:?} is blank");
            }
            "svg" => assert!(bytes.starts_with(b"<svg ") && bytes.ends_with(b"</svg>\n")),
            "json" | "html" => {}
            other => panic!("unexpected {other} file"),
        }
    }
    assert_eq!(pictures, 11);

    let metrics: Metrics = serde_json::from_str(&read(folder.path(), "metrics.json")).unwrap();
    assert_eq!(metrics.summary.real.name, summary.real.name);
    assert_eq!(metrics.verdict, summary.verdict());
    assert_eq!(metrics.training.unwrap().points.len(), 300);
    assert_relative_eq!(
        metrics.summary.generated.pixels.sigma,
        summary.generated.pixels.sigma,
        max_relative = 1e-14
    );
    // The third central moment distinguishes a skewed field from one that is not.
    assert!(summary.real.pixels.skewness > 1.0);
    assert!(summary.untrained.unwrap().pixels.skewness.abs() < 0.1);
}

#[test]
fn the_numbers_equal_those_computed_in_another_way() {
    let (real, generated) = (maps(12, 0.5, 4), maps(9, 0.2, 5));
    let folder = tempdir().unwrap();
    let comparison = comparison(&real, &generated, None);
    let summary = comparison.write(folder.path()).unwrap();
    assert!(summary.untrained.is_none() && summary.real.distances.is_some());
    let metrics: Metrics = serde_json::from_str(&read(folder.path(), "metrics.json")).unwrap();

    // Moments as powers of the values, not about the mean.
    let count = real.len() as f64;
    let power = |n: i32| real.iter().map(|v| f64::from(*v).powi(n)).sum::<f64>() / count;
    let (m1, m2, m3) = (power(1), power(2), power(3));
    let variance = m2 - m1 * m1;
    let skewness = (m3 - 3.0 * m1 * m2 + 2.0 * m1.powi(3)) / variance.powf(1.5);
    assert_relative_eq!(summary.real.pixels.mean, m1, max_relative = 1e-9);
    assert_relative_eq!(
        summary.real.pixels.sigma,
        variance.sqrt(),
        max_relative = 1e-9
    );
    assert_relative_eq!(summary.real.pixels.skewness, skewness, max_relative = 1e-7);

    // KS: the difference at every value by counting, just below it and at it.
    let below = |values: &[f32], limit: f32, including: bool| {
        let hit = |v: &&f32| **v < limit || (including && **v == limit);
        values.iter().filter(hit).count() as f64 / values.len() as f64
    };
    let mut largest = 0.0f64;
    for at in real.iter().chain(&generated).step_by(7) {
        for including in [false, true] {
            let gap = below(&real, *at, including) - below(&generated, *at, including);
            largest = largest.max(gap.abs());
        }
    }
    let distances = summary.generated.distances.unwrap();
    // The report resolves values to 14 significant bits: a difference within such a bin is off by at most its share of
    // the pixels.
    let mut bins = HashMap::<u32, usize>::new();
    for value in real.iter().chain(&generated) {
        *bins.entry(value.to_bits() >> 10).or_default() += 1;
    }
    let fullest = *bins.values().max().unwrap() as f64 / real.len().min(generated.len()) as f64;
    assert!(
        distances.pixel_ks >= largest - fullest && distances.pixel_ks < largest + 0.01,
        "{} {largest}",
        distances.pixel_ks
    );

    let power = PowerSpectrum::new(SIDE, 0.108, metrics.l_edges.clone()).unwrap();
    let mean = |values: &[f32], k: usize| {
        let maps = values.chunks(SIDE * SIDE);
        let count = maps.len() as f64;
        maps.map(|map| power.measure(map)[k]).sum::<f64>() / count
    };
    let modes = metrics.l_edges.len() - 1;
    let deviation: f64 = (0..modes)
        .map(|k| (mean(&generated, k) / mean(&real, k) - 1.0).abs())
        .sum::<f64>()
        / modes as f64;
    assert_relative_eq!(
        distances.spectrum_deviation,
        deviation,
        max_relative = 1e-12
    );
    assert_relative_eq!(
        metrics.spectra.samples[1].mean[3],
        mean(&generated, 3),
        max_relative = 1e-12
    );
    let width = metrics.histograms.edges[1] - metrics.histograms.edges[0];
    let inside: f64 = metrics.histograms.samples[0].density.iter().sum::<f64>() * width;
    assert!((0.99..=1.000_001).contains(&inside));
}

#[test]
fn equal_samples_have_no_distance() {
    let real = maps(8, 0.5, 6);
    let folder = tempdir().unwrap();
    let summary = comparison(&real, &real, None).write(folder.path()).unwrap();
    let distances = summary.generated.distances.unwrap();
    assert_eq!(distances.pixel_ks, 0.0);
    assert_eq!(distances.spectrum_deviation, 0.0);
    assert_eq!(distances.spectrum_chi_squared, 0.0);
    assert_eq!(distances.spectrum_variance_ratio, Some(1.0));
}

#[test]
fn extreme_content_still_makes_a_report() {
    let real = maps(4, 0.5, 10);
    let mut wild = real.clone();
    wild[7] = f32::MAX;
    wild[9] = f32::MIN;
    let mut comparison = comparison(&real, &wild, None);
    comparison.generated.name =
        "a generator with a very long name <&> that no legend can hold".to_owned();
    comparison.edges.l_edges = Some(vec![5e3, 9e4]);
    comparison.edges.nu_edges = Some(vec![-1e-30, 1e-30]);
    comparison.training = Some(TrainingCurve {
        points: vec![TrainingPoint {
            step: 1,
            discriminator_loss: 1e300,
            generator_loss: 0.0,
        }],
        selected_step: Some(u64::MAX),
    });
    let folder = tempdir().unwrap();
    let summary = comparison.write(folder.path()).unwrap();
    assert!(summary.to_string().lines().count() > 10);
    serde_json::from_str::<Metrics>(&read(folder.path(), "metrics.json")).unwrap();
}

#[test]
fn what_cannot_be_compared_is_refused_by_name() {
    let real = maps(4, 0.5, 8);
    let mut broken = real.clone();
    broken[SIDE * SIDE + 3] = f32::NAN;
    let folder = tempdir().unwrap();
    let message =
        |comparison: Comparison<'_>| comparison.write(folder.path()).unwrap_err().to_string();
    let text = message(comparison(&real, &broken, None));
    assert!(
        text.contains("generated maps: map 1") && text.contains("not finite"),
        "{text}"
    );
    assert!(message(comparison(&real, &[], None)).contains("there are none"));
    assert!(
        message(comparison(&real, &real[..SIDE * SIDE + 100], None)).contains("maps of one size")
    );
    let one = &real[..SIDE * SIDE];
    assert!(message(comparison(&real, one, None)).contains("at least two maps"));
    assert!(message(comparison(one, &real, None)).contains("real maps: there is only one"));
    let flat = vec![0.5; 2 * SIDE * SIDE];
    assert!(message(comparison(&real, &flat, None)).contains("functionals are undefined"));
    let mut unordered = comparison(&real, &real, None);
    unordered.edges.nu_edges = Some(vec![0.1, 0.0]);
    assert!(message(unordered).contains("nu_edges"));
    let mut flat = comparison(&real, &real, None);
    flat.side_degrees = 0.0;
    assert!(message(flat).contains("--side-degrees"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_grid_of_maps_can_be_drawn_alone() {
    let values = maps(5, 0.5, 9);
    let maps: Vec<&[f32]> = values.chunks(SIDE * SIDE).collect();
    let png = map_grid_png(&maps, SIDE, SIDE, 3, ColourRange::spanning(&maps)).unwrap();
    assert!(png.starts_with(b"\x89PNG"));
}
