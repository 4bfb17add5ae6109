//! Summary statistics for comparing samples of maps, in common bins.

use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::bins::check_edges;
use super::{Minkowski, Moments, Peaks, PixelBins, PowerSpectrum, Thresholds, linear_edges};
use cosmogan_base::{Error, Result};

/// Number of thresholds of the paper's Minkowski functionals.
const THRESHOLDS: usize = 19;

/// Bin edges of the statistics.
///
/// As JSON: `{"l_edges": […], "nu_edges": […], "sigma_edges": […]}`, each optional.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edges {
    /// Edges of the power spectrum's bins in ℓ.
    pub l_edges: Option<Vec<f64>>,
    /// Threshold edges in κ.
    pub nu_edges: Option<Vec<f64>>,
    /// Threshold edges in units of each map's standard deviation.
    pub sigma_edges: Option<Vec<f64>>,
}

impl Edges {
    /// Reads bin edges from a JSON file.
    ///
    /// # Errors
    /// If the file cannot be read, has unknown keys, or contains edges that are not ascending.
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

    /// Returns the edges of 19 bins from −2 to 4 standard deviations.
    pub fn default_sigma_edges() -> Vec<f64> {
        linear_edges(-2.0, 4.0, THRESHOLDS + 1)
    }

    /// Returns the edges of 19 bins from κ = `low` to κ = `high`.
    pub fn nu_edges_between(low: f64, high: f64) -> Vec<f64> {
        linear_edges(low, high, THRESHOLDS + 1)
    }
}

/// Power spectrum, Minkowski functionals and peak counts in fixed bins.
#[derive(Debug)]
pub struct Estimators {
    pixels: usize,
    /// Power spectrum C_ℓ.
    pub power: PowerSpectrum,
    /// Minkowski functionals V0, V1 and V2.
    pub minkowski: Minkowski,
    /// Peak counts, with the thresholds of the functionals.
    pub peaks: Peaks,
}

/// Measured statistics of a sample: one row per map.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measurements {
    /// C_ℓ in each ℓ bin, in steradian.
    pub power: Vec<Vec<f64>>,
    /// V0 in each threshold bin, then V1, then V2.
    pub functionals: Vec<Vec<f64>>,
    /// Peaks per unit of κ in each threshold bin.
    pub peaks: Vec<Vec<f64>>,
}

impl Measurements {
    /// Appends the maps of `more`.
    pub(crate) fn append(&mut self, more: Self) {
        self.power.extend(more.power);
        self.functionals.extend(more.functionals);
        self.peaks.extend(more.peaks);
    }

    /// Numbers of columns of the spectra, functionals and peak counts.
    pub(crate) fn columns(&self) -> [usize; 3] {
        [&self.power, &self.functionals, &self.peaks].map(|rows| rows.first().map_or(0, Vec::len))
    }
}

impl Estimators {
    /// Prepares the estimators for maps of `pixels`² with a side of `side_degrees`.
    ///
    /// Edges missing in `edges` get defaults: [`PowerSpectrum::default_edges`] for spectra, and 19 bins from −2 to 4
    /// standard deviations of all pixels of the `reference` about their mean for thresholds. `sigma_edges` are not used
    /// here.
    ///
    /// # Errors
    /// If edges are not ascending or the side is not a positive angle.
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

    /// Measures every map, on all cores.
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

    /// Returns `count` equal bins for pixel values from κ = `low` to κ = `high`.
    ///
    /// # Errors
    /// If `low` is not below `high`.
    pub fn pixel_bins(low: f64, high: f64, count: usize) -> Result<PixelBins> {
        PixelBins::new(linear_edges(low, high, count + 1))
    }
}
