//! `cosmogan stats`: summary statistics of each map, as JSON or as NumPy arrays.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use rayon::prelude::*;
use serde::Serialize;

use super::maps::{MapFlags, side_degrees};
use super::output::{number_of_maps, print_written};
use crate::data::NpzWriter;
use crate::error::{Error, Result};
use crate::files::write_atomically;
use crate::help::examples;
use crate::progress::Progress;
use crate::stats::{
    Edges, Minkowski, Moments, Peaks, PixelBins, PowerSpectrum, Thresholds, linear_edges,
};

const HISTOGRAM_BINS: usize = 100;

/// Maps measured between updates of the progress display.
const MAPS_AT_ONCE: usize = 256;

/// Unit or meaning of every key of the JSON output; κ is dimensionless.
const UNITS: [(&str, &str); 14] = [
    ("maps", "number of maps"),
    ("pixels_per_side", "pixels"),
    ("side_degrees", "degrees"),
    (
        "l_edges",
        "multipole l; bin k holds l_edges[k] < l <= l_edges[k+1]",
    ),
    ("l", "multipole l at the centres of the bins"),
    (
        "nu_edges",
        "kappa; bin i holds nu_edges[i] <= kappa < nu_edges[i+1]",
    ),
    (
        "sigma_edges",
        "standard deviations of each map; bins as of nu_edges",
    ),
    ("power", "[map][bin of l_edges]: C_l in steradian"),
    (
        "minkowski",
        "[map][functional][bin of nu_edges]: V0 is a fraction of the pixels, V1 in 1/pixel, V2 in 1/pixel^2",
    ),
    (
        "minkowski_sigma",
        "[map][functional][bin of sigma_edges]: V0 is a fraction of the pixels, V1 in kappa/pixel, V2 in kappa/pixel^2",
    ),
    (
        "peak_counts",
        "[map][bin of nu_edges]: peaks per map and unit of kappa",
    ),
    (
        "moments",
        "[map]: mean, standard_deviation, minimum, maximum in kappa; skewness, excess kurtosis dimensionless",
    ),
    (
        "pixels",
        "counts: pixels of all maps between edges, in kappa",
    ),
    ("units", "unit or meaning of every key"),
];

/// Measure power spectra, Minkowski functionals, peak counts and pixel values
#[derive(Debug, Args)]
#[command(after_help = examples(&["cosmogan stats maps.npy --side-degrees 0.866 --out stats.json"]))]
pub(super) struct StatsArguments {
    /// Maps: .npy or FITS
    #[arg(value_name = "MAPS")]
    maps: PathBuf,
    /// Side of a map in degrees [default: as recorded with the maps]
    #[arg(long, value_name = "DEGREES")]
    side_degrees: Option<f64>,
    /// JSON file with any of l_edges, nu_edges and sigma_edges (lists of bin edges)
    #[arg(long, value_name = "EDGES.json")]
    edges: Option<PathBuf>,
    /// Output file: .npz for NumPy arrays, which are smaller and faster to read, otherwise JSON
    #[arg(long, value_name = "STATS.json|STATS.npz")]
    out: PathBuf,
    #[command(flatten)]
    files: MapFlags,
}

/// JSON output. The field names are a stable interface.
#[derive(Serialize)]
struct Statistics {
    maps: usize,
    pixels_per_side: usize,
    side_degrees: f64,
    l_edges: Vec<f64>,
    /// Centres of the ℓ bins.
    l: Vec<f64>,
    nu_edges: Vec<f64>,
    sigma_edges: Vec<f64>,
    power: Vec<Vec<f64>>,
    minkowski: Vec<[Vec<f64>; 3]>,
    minkowski_sigma: Vec<[Vec<f64>; 3]>,
    /// Peaks per unit of κ between `nu_edges`, one row per map.
    peak_counts: Vec<Vec<f64>>,
    moments: Vec<MapMoments>,
    pixels: PixelCounts,
    units: BTreeMap<&'static str, &'static str>,
}

impl Statistics {
    fn write_json(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_vec(self).expect("plain data has a JSON form");
        Ok(write_atomically(path, &json)?)
    }

    /// Writes the same numbers as float64 arrays, with an array for each moment and for `pixels`.
    fn write_npz(&self, path: &Path) -> Result<()> {
        let maps = self.maps;
        let mut file = NpzWriter::create(path)?;
        file.add("maps", &[], &[maps as f64])?;
        file.add("pixels_per_side", &[], &[self.pixels_per_side as f64])?;
        file.add("side_degrees", &[], &[self.side_degrees])?;
        let counts: Vec<f64> = self.pixels.counts.iter().map(|&n| n as f64).collect();
        for (name, values) in [
            ("l_edges", &self.l_edges),
            ("l", &self.l),
            ("nu_edges", &self.nu_edges),
            ("sigma_edges", &self.sigma_edges),
            ("pixel_edges", &self.pixels.edges),
            ("pixel_counts", &counts),
        ] {
            file.add(name, &[values.len()], values)?;
        }
        let bins = self.l.len();
        file.add("power", &[maps, bins], &self.power.concat())?;
        for (name, edges, functionals) in [
            ("minkowski", &self.nu_edges, &self.minkowski),
            ("minkowski_sigma", &self.sigma_edges, &self.minkowski_sigma),
        ] {
            let values = functionals.as_flattened().concat();
            file.add(name, &[maps, 3, edges.len() - 1], &values)?;
        }
        let bins = self.nu_edges.len() - 1;
        file.add("peak_counts", &[maps, bins], &self.peak_counts.concat())?;
        let moments: [(&str, Moment); 6] = [
            ("mean", |of| of.mean),
            ("standard_deviation", |of| of.standard_deviation),
            ("skewness", |of| of.skewness),
            ("kurtosis", |of| of.kurtosis),
            ("minimum", |of| of.minimum.into()),
            ("maximum", |of| of.maximum.into()),
        ];
        for (name, moment) in moments {
            let values: Vec<f64> = self.moments.iter().map(moment).collect();
            file.add(name, &[maps], &values)?;
        }
        Ok(file.finish()?)
    }
}

/// Moments and range of one map.
#[derive(Serialize)]
struct MapMoments {
    mean: f64,
    standard_deviation: f64,
    skewness: f64,
    kurtosis: f64,
    minimum: f32,
    maximum: f32,
}

/// Selects one of the moments.
type Moment = fn(&MapMoments) -> f64;

impl MapMoments {
    fn of(map: &[f32]) -> Self {
        let moments = Moments::of(map);
        Self {
            mean: moments.mean(),
            standard_deviation: moments.standard_deviation(),
            skewness: moments.skewness(),
            kurtosis: moments.kurtosis(),
            minimum: moments.minimum(),
            maximum: moments.maximum(),
        }
    }
}

#[derive(Serialize)]
struct PixelCounts {
    edges: Vec<f64>,
    counts: Vec<u64>,
}

impl StatsArguments {
    pub(super) fn run(self) -> Result<()> {
        let maps = self.files.read(&self.maps)?;
        let size = maps.width();
        if maps.height() != size {
            return Err(Error::file(
                &self.maps,
                format!("contains maps of {}×{size} pixels", maps.height()),
                "use square maps; `cosmogan crop` cuts them",
            ));
        }
        maps.require_varied()?;
        let side = side_degrees(self.side_degrees, &maps)?;
        let edges = match &self.edges {
            Some(path) => Edges::read(path)?,
            None => Edges::default(),
        };

        let (low, high) = maps
            .values()
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &value| {
                (low.min(value), high.max(value))
            });
        let (low, high) = (f64::from(low), f64::from(high));
        // The range is widened slightly so that the last, half-open bin includes the largest pixel.
        let widened = high + (high - low) * 1e-6;
        let power = PowerSpectrum::new(
            size,
            side,
            edges
                .l_edges
                .unwrap_or_else(|| PowerSpectrum::default_edges(size, side)),
        )?;
        let absolute = Minkowski::new(
            edges
                .nu_edges
                .unwrap_or_else(|| Edges::nu_edges_between(low, widened)),
            Thresholds::Absolute,
        )?;
        let scaled = Minkowski::new(
            edges.sigma_edges.unwrap_or_else(Edges::default_sigma_edges),
            Thresholds::Deviations,
        )?;
        let pixel_bins = PixelBins::new(linear_edges(low, widened, HISTOGRAM_BINS + 1))?;
        let peaks = Peaks::new(absolute.edges().to_vec(), Thresholds::Absolute)?;

        let mut statistics = Statistics {
            maps: maps.count(),
            pixels_per_side: size,
            side_degrees: side,
            l_edges: power.edges().to_vec(),
            l: power.multipoles(),
            nu_edges: absolute.edges().to_vec(),
            sigma_edges: scaled.edges().to_vec(),
            power: Vec::new(),
            minkowski: Vec::new(),
            minkowski_sigma: Vec::new(),
            peak_counts: Vec::new(),
            moments: Vec::new(),
            pixels: PixelCounts {
                edges: pixel_bins.edges().to_vec(),
                counts: vec![0; HISTOGRAM_BINS],
            },
            units: UNITS.into(),
        };
        let list: Vec<&[f32]> = maps.iter().collect();
        let mut progress = Progress::new("measuring", list.len() as u64);
        for maps in list.chunks(MAPS_AT_ONCE) {
            let each = maps.par_iter();
            statistics.power.extend(power.measure_all(maps));
            statistics
                .minkowski
                .par_extend(each.clone().map(|map| absolute.measure(map, size)));
            statistics
                .minkowski_sigma
                .par_extend(each.clone().map(|map| scaled.measure(map, size)));
            statistics
                .peak_counts
                .par_extend(each.clone().map(|map| peaks.measure(map, size)));
            statistics
                .moments
                .par_extend(each.map(|map| MapMoments::of(map)));
            for map in pixel_bins.count_all(maps) {
                // The first and last counts are of pixels outside the bins, which are 0 here.
                for (sum, count) in statistics.pixels.counts.iter_mut().zip(&map[1..]) {
                    *sum += u64::from(*count);
                }
            }
            progress.advance(maps.len() as u64, "");
        }
        progress.finish("");
        match self.out.extension() {
            Some(extension) if extension.eq_ignore_ascii_case("npz") => {
                statistics.write_npz(&self.out)?;
            }
            _ => statistics.write_json(&self.out)?,
        }
        print_written(
            &self.out,
            format_args!("statistics of {}", number_of_maps(list.len() as u64)),
        );
        Ok(())
    }
}
