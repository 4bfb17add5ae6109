//! `cosmogan stats`: summary statistics of each map, as JSON.

use std::path::PathBuf;

use clap::Args;
use rayon::prelude::*;
use serde::Serialize;

use super::evaluate::side_degrees;
use crate::data::MapSet;
use crate::error::{Error, Result};
use crate::files::write_atomically;
use crate::stats::{
    Edges, Minkowski, Moments, Peaks, PixelBins, PowerSpectrum, Thresholds, linear_edges,
};

const HISTOGRAM_BINS: usize = 100;

/// Measure power spectra, Minkowski functionals and pixel values
#[derive(Debug, Args)]
pub(super) struct StatsArguments {
    /// Maps: .npy or FITS
    #[arg(value_name = "MAPS")]
    maps: PathBuf,
    /// Side of a map in degrees [default: what the FITS header says]
    #[arg(long, value_name = "DEGREES", allow_negative_numbers = true)]
    side_degrees: Option<f64>,
    /// JSON file with any of l_edges, nu_edges and sigma_edges, lists of bin edges
    #[arg(long, value_name = "EDGES.json")]
    edges: Option<PathBuf>,
    /// Where to write
    #[arg(long, value_name = "STATS.json")]
    out: PathBuf,
}

/// The JSON form. The names are part of the program's contract.
#[derive(Serialize)]
struct Statistics {
    maps: usize,
    pixels_per_side: usize,
    side_degrees: f64,
    l_edges: Vec<f64>,
    nu_edges: Vec<f64>,
    sigma_edges: Vec<f64>,
    power: Vec<Vec<f64>>,
    minkowski: Vec<[Vec<f64>; 3]>,
    minkowski_sigma: Vec<[Vec<f64>; 3]>,
    /// Peaks per unit of κ between `nu_edges`, one row per map.
    peak_counts: Vec<Vec<f64>>,
    moments: Vec<MapMoments>,
    pixels: PixelCounts,
}

/// Of one map.
#[derive(Serialize)]
struct MapMoments {
    mean: f64,
    standard_deviation: f64,
    skewness: f64,
    kurtosis: f64,
    minimum: f32,
    maximum: f32,
}

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
        let maps = MapSet::read(&self.maps)?;
        let size = maps.width();
        if maps.height() != size {
            return Err(Error::file(
                &self.maps,
                format!("holds maps of {}×{size} pixels", maps.height()),
                "give square maps; `cosmogan crop` cuts them",
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
                .unwrap_or_else(|| Edges::nu_edges_between(low, high)),
            Thresholds::Absolute,
        )?;
        let scaled = Minkowski::new(
            edges.sigma_edges.unwrap_or_else(Edges::default_sigma_edges),
            Thresholds::Deviations,
        )?;
        // The last bin is to hold the largest pixel, which a half-open bin would leave out.
        let widened = high + (high - low) * 1e-6;
        let pixel_bins = PixelBins::new(linear_edges(low, widened, HISTOGRAM_BINS + 1))?;
        let peaks = Peaks::new(absolute.edges().to_vec(), Thresholds::Absolute)?;

        let list: Vec<&[f32]> = maps.iter().collect();
        let mut counts = vec![0_u64; HISTOGRAM_BINS];
        for map in pixel_bins.count_all(&list) {
            // The first and the last count are of pixels outside the bins: here there are none.
            for (sum, count) in counts.iter_mut().zip(&map[1..]) {
                *sum += u64::from(*count);
            }
        }
        let measured = |functionals: &Minkowski| -> Vec<[Vec<f64>; 3]> {
            list.par_iter()
                .map(|map| functionals.measure(map, size))
                .collect()
        };
        let statistics = Statistics {
            maps: maps.count(),
            pixels_per_side: size,
            side_degrees: side,
            l_edges: power.edges().to_vec(),
            nu_edges: absolute.edges().to_vec(),
            sigma_edges: scaled.edges().to_vec(),
            power: power.measure_all(&list),
            minkowski: measured(&absolute),
            minkowski_sigma: measured(&scaled),
            peak_counts: list
                .par_iter()
                .map(|map| peaks.measure(map, size))
                .collect(),
            moments: list.iter().map(|map| MapMoments::of(map)).collect(),
            pixels: PixelCounts {
                edges: pixel_bins.edges().to_vec(),
                counts,
            },
        };
        let json = serde_json::to_vec(&statistics).expect("plain data has a JSON form");
        write_atomically(&self.out, &json)
    }
}
