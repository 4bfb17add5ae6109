//! Input of a comparison.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::plots::TrainingCurve;
use crate::provenance::Provenance;
use crate::stats::Edges;
use crate::stats::two_sample::Bootstrap;

/// A named set of maps.
#[derive(Debug, Clone)]
pub struct Sample<'a> {
    /// Name of the sample in tables and legends.
    pub name: String,
    /// Maps: κ in row order, all of the size given in the comparison.
    pub maps: Vec<&'a [f32]>,
}

/// Additional maps in the report: nearest neighbours or interpolations.
///
/// They are drawn on the report's colour scale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MapFigure {
    /// Heading above the figure.
    pub heading: String,
    /// Name of the image file, without extension.
    pub file_name: String,
    /// Caption that explains the rows.
    pub caption: String,
    /// Maps in a row.
    pub columns: usize,
    /// κ in row order, for each map of the figure row by row.
    #[serde(skip)]
    pub maps: Vec<Vec<f32>>,
}

/// Input of a comparison: maps, settings, and provenance for the report.
#[derive(Debug, Clone)]
pub struct Comparison<'a> {
    /// Title of the page.
    pub title: String,
    /// Width and height of every map in pixels.
    pub pixels: usize,
    /// Side of every map in degrees.
    pub side_degrees: f64,
    /// Bin edges; missing ones get the defaults of [`Estimators::new`](crate::stats::Estimators::new).
    pub edges: Edges,
    /// Resamples of the tests.
    pub bootstrap: Bootstrap,
    /// Reference maps.
    pub real: Sample<'a>,
    /// Maps to be compared with the reference.
    pub generated: Sample<'a>,
    /// Real maps of independent simulations, as a baseline.
    ///
    /// The baseline is the same comparison between two samples of real maps. Without these maps, it compares two halves
    /// of the reference.
    pub auxiliary: Option<Sample<'a>>,
    /// Maps of the same generator before training.
    pub untrained: Option<Sample<'a>>,
    /// Losses of the training run.
    pub training: Option<TrainingCurve>,
    /// Additional figures of maps.
    pub figures: Vec<MapFigure>,
    /// Provenance of the maps from data set manifests, by role of the maps.
    pub origins: BTreeMap<String, Provenance>,
    /// Provenance as pairs of label and value: command, seed, weights, cosmology, ….
    pub provenance: Vec<(String, String)>,
}

/// Long part of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Measuring the statistics; the unit of work is a map.
    Measuring,
    /// Resampling; the unit of work is one quantity of one resample.
    Resampling,
    /// Drawing; the unit of work is a figure.
    Drawing,
}

/// Progress of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Current part.
    pub stage: Stage,
    /// Units of work completed since the last report.
    pub units: u64,
    /// Units of work of this part in all.
    pub total: u64,
}
