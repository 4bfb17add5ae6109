//! The training maps that are nearest to given maps.

use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::features::{LogSpectrum, Metric, distance};
use crate::data::MapReader;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// The nearest map of a file, and how near.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Index in the file.
    pub index: usize,
    /// Euclidean distance of the features.
    pub distance: f64,
    /// The neighbour's κ.
    #[serde(skip)]
    pub map: Vec<f32>,
}

/// A map whose neighbour is sought; the map of the file with the index `except` is passed over.
#[derive(Clone, Debug)]
pub struct Query {
    /// κ in row order.
    pub map: Vec<f32>,
    /// The map itself, if it is one of the file.
    pub except: Option<usize>,
}

/// Maps that are read at a time.
const BLOCK: usize = 256;

/// Reads the file of maps at `path` once and finds the neighbour of each query, one list for each of `metrics`.
///
/// # Errors
/// Where the file cannot be read, or its maps have another size than `pixels`².
pub fn neighbours(
    queries: &[Query],
    path: &Path,
    pixels: usize,
    metric: Metric,
) -> Result<Vec<Neighbour>> {
    let mut reader = MapReader::open(path)?;
    if [reader.height(), reader.width()] != [pixels; 2] {
        return Err(Error::file(
            path,
            format!(
                "holds maps of {}×{} pixels where {pixels}×{pixels} are expected",
                reader.height(),
                reader.width()
            ),
            "give the maps that the generator was trained on",
        ));
    }
    let spectrum = LogSpectrum::new(pixels)?;
    let features = |maps: &[&[f32]]| -> Vec<Vec<f32>> {
        match metric {
            Metric::Spectrum => spectrum.measure(maps),
            _ => maps.iter().map(|map| map.to_vec()).collect(),
        }
    };
    let wanted = features(
        &queries
            .iter()
            .map(|query| &query.map[..])
            .collect::<Vec<_>>(),
    );
    let mut best: Vec<Option<Neighbour>> = vec![None; queries.len()];
    let mut progress = Progress::new("searching", reader.count() as u64);
    let mut first = 0;
    let mut values = Vec::new();
    while first < reader.count() {
        let last = (first + BLOCK).min(reader.count());
        values.clear();
        for _ in first..last {
            reader.read_next(&mut values)?;
        }
        let maps: Vec<&[f32]> = values.chunks_exact(pixels * pixels).collect();
        let rows = features(&maps);
        best.par_iter_mut().enumerate().for_each(|(query, best)| {
            for (offset, row) in rows.iter().enumerate() {
                let index = first + offset;
                let distance = distance(&wanted[query], row);
                let is_nearer = best.as_ref().is_none_or(|best| distance < best.distance);
                if is_nearer && queries[query].except != Some(index) {
                    *best = Some(Neighbour {
                        index,
                        distance,
                        map: maps[offset].to_vec(),
                    });
                }
            }
        });
        progress.advance((last - first) as u64, "");
        first = last;
    }
    progress.finish("");
    best.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| {
        Error::file(
            path,
            "holds no other map to compare with",
            "give at least two maps",
        )
    })
}
