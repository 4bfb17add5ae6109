//! Nearest neighbours of maps in a file of training maps.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::features::{LogSpectrum, Metric, distance};
use crate::data::MapFile;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// A map of the file with its distance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Index in the file.
    pub index: usize,
    /// Euclidean distance in feature space.
    pub distance: f64,
    /// κ of the map.
    #[serde(skip)]
    pub map: Vec<f32>,
}

/// Nearest neighbour of a map, and that neighbour's own nearest neighbour for comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Match {
    /// Nearest map of the file.
    pub nearest: Neighbour,
    /// Nearest neighbour of that map among the other maps of the file.
    pub nearest_of_nearest: Neighbour,
}

/// A map whose nearest neighbour is sought.
/// `except` is the index of a map of the file to skip.
struct Query<'a> {
    map: &'a [f32],
    except: Option<usize>,
}

/// Maps read at a time.
const BLOCK: usize = 256;

/// Finds the nearest neighbours of `maps` in a file of maps.
///
/// Each map has `pixels`² values of κ. The file is read twice.
///
/// # Errors
/// If the file cannot be read, has fewer than two maps, maps of another size, or a pixel that is not finite.
pub fn matches(
    maps: &[&[f32]],
    file: &MapFile,
    pixels: usize,
    metric: Metric,
) -> Result<Vec<Match>> {
    let queries: Vec<Query<'_>> = maps.iter().map(|map| Query { map, except: None }).collect();
    let found = neighbours(
        &queries,
        file,
        pixels,
        metric,
        "maps nearest to generated ones",
    )?;
    let queries: Vec<Query<'_>> = found
        .iter()
        .map(|neighbour| Query {
            map: &neighbour.map,
            except: Some(neighbour.index),
        })
        .collect();
    let yardsticks = neighbours(
        &queries,
        file,
        pixels,
        metric,
        "nearest neighbours of those maps",
    )?;
    let pairs = found.iter().zip(yardsticks);
    Ok(pairs
        .map(|(nearest, nearest_of_nearest)| Match {
            nearest: nearest.clone(),
            nearest_of_nearest,
        })
        .collect())
}

/// Finds the nearest map for each query, reading the file once. `sought` describes the search in the output.
fn neighbours(
    queries: &[Query<'_>],
    file: &MapFile,
    pixels: usize,
    metric: Metric,
    sought: &str,
) -> Result<Vec<Neighbour>> {
    let path = file.path();
    if [file.height(), file.width()] != [pixels; 2] {
        return Err(Error::file(
            path,
            format!(
                "contains maps of {}×{} pixels, but {pixels}×{pixels} are expected",
                file.height(),
                file.width()
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
    let wanted = features(&queries.iter().map(|query| query.map).collect::<Vec<_>>());
    let mut best: Vec<Option<Neighbour>> = vec![None; queries.len()];
    let mut progress = Progress::new("searching", file.count() as u64);
    let mut first = 0;
    while first < file.count() {
        let last = (first + BLOCK).min(file.count());
        let values = file.read_maps(first..last)?;
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
    progress.finish(format_args!("{sought}, by {}", metric.name()));
    best.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| {
        Error::file(
            path,
            "contains no other map to compare with",
            "give at least two maps",
        )
    })
}
