//! Everything that is measured of the maps of a comparison, in the same bins for all samples.

use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::bins::check_edges;
use super::{Minkowski, Moments, Peaks, PixelBins, PowerSpectrum, Thresholds, linear_edges};
use crate::error::{Error, Result};

/// Thresholds of the paper's Minkowski functionals.
const THRESHOLDS: usize = 19;

/// Bin edges: `{"l_edges": […], "nu_edges": […], "sigma_edges": […]}` as a file, each optional.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edges {
    /// Of the power spectrum, in ℓ.
    pub l_edges: Option<Vec<f64>>,
    /// Of thresholds in κ.
    pub nu_edges: Option<Vec<f64>>,
    /// Of thresholds in standard deviations of each map.
    pub sigma_edges: Option<Vec<f64>>,
}

impl Edges {
    /// Reads a JSON file.
    ///
    /// # Errors
    /// Where the file cannot be read or holds something else, or where edges are not in order.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::file(path, error, "name a readable JSON file"))?;
        let edges: Self = serde_json::from_str(&text).map_err(|error| {
            Error::file(
                path,
                error,
                "write {\"l_edges\": […], \"nu_edges\": […], \"sigma_edges\": […]}, each optional",
            )
        })?;
        for (name, list) in [
            ("l_edges", &edges.l_edges),
            ("nu_edges", &edges.nu_edges),
            ("sigma_edges", &edges.sigma_edges),
        ] {
            let in_order = list.as_ref().map(|list| check_edges(name, list));
            in_order
                .transpose()
                .map_err(|error| Error::file(path, error, "correct the list"))?;
        }
        Ok(edges)
    }

    /// −2 to 4 standard deviations, in 19 bins.
    pub fn default_sigma_edges() -> Vec<f64> {
        linear_edges(-2.0, 4.0, THRESHOLDS + 1)
    }

    /// 19 bins from κ = `low` to κ = `high`.
    pub fn nu_edges_between(low: f64, high: f64) -> Vec<f64> {
        linear_edges(low, high, THRESHOLDS + 1)
    }
}

/// Power spectrum, Minkowski functionals and peak counts in fixed bins.
#[derive(Debug)]
pub struct Estimators {
    pixels: usize,
    /// C_ℓ.
    pub power: PowerSpectrum,
    /// V0, V1 and V2.
    pub minkowski: Minkowski,
    /// Peaks, at the thresholds of the functionals.
    pub peaks: Peaks,
}

/// What was measured of each map of a sample: one row per map.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurements {
    /// C_ℓ at each mode, in steradian.
    pub power: Vec<Vec<f64>>,
    /// V0 at each threshold, then V1, then V2.
    pub functionals: Vec<Vec<f64>>,
    /// Peaks per unit of κ at each threshold.
    pub peaks: Vec<Vec<f64>>,
}

impl Estimators {
    /// For maps of `pixels`² on `side_degrees`. Where `edges` leaves it open, spectra have the default bins, and
    /// thresholds lie between −2 and 4 standard deviations of all pixels of the `reference` about their mean. The
    /// bins in units of each map's own deviation are not used here.
    ///
    /// # Errors
    /// Where edges are out of order or the side is no angle.
    pub fn new(
        pixels: usize,
        side_degrees: f64,
        edges: &Edges,
        reference: &Moments,
    ) -> Result<Self> {
        let l_edges = edges.l_edges.clone();
        let l_edges = l_edges.unwrap_or_else(|| PowerSpectrum::default_edges(pixels, side_degrees));
        let nu_edges = edges.nu_edges.clone().unwrap_or_else(|| {
            let (mean, sigma) = (reference.mean(), reference.standard_deviation());
            Edges::nu_edges_between(mean - 2.0 * sigma, mean + 4.0 * sigma)
        });
        Ok(Self {
            pixels,
            power: PowerSpectrum::new(pixels, side_degrees, l_edges)?,
            minkowski: Minkowski::new(nu_edges.clone(), Thresholds::Absolute)?,
            peaks: Peaks::new(nu_edges, Thresholds::Absolute)?,
        })
    }

    /// Measures each map, on all cores.
    pub fn measure(&self, maps: &[&[f32]]) -> Measurements {
        let functionals = maps
            .par_iter()
            .map(|map| self.minkowski.measure(map, self.pixels).concat())
            .collect();
        Measurements {
            power: self.power.measure_all(maps),
            functionals,
            peaks: maps
                .par_iter()
                .map(|map| self.peaks.measure(map, self.pixels))
                .collect(),
        }
    }

    /// Bins for a histogram of pixel values: `count` of them between κ = `low` and κ = `high`.
    ///
    /// # Errors
    /// Where `low` is not below `high`.
    pub fn pixel_bins(low: f64, high: f64, count: usize) -> Result<PixelBins> {
        PixelBins::new(linear_edges(low, high, count + 1))
    }
}
