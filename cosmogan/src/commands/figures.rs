//! Additional report figures: nearest training maps and interpolations.

use super::explore::paths;
use super::maker::MapMaker;
use crate::data::{MapFile, MapSet};
use crate::error::Result;
use crate::explore::features::Metric;
use crate::explore::interpolate::Smoothness;
use crate::explore::nearest::{Match, matches};
use crate::report::{MapFigure, Zoom};

/// Shows generated maps above their nearest maps in `training`.
///
/// The nearest maps are found in power spectrum and in pixels.
///
/// # Errors
/// If the file cannot be read, has fewer than two maps, or maps of another size.
pub(super) fn nearest_neighbours(generated: &MapSet, training: &MapFile) -> Result<MapFigure> {
    let pixels = generated.width();
    let columns = Zoom::for_maps(pixels, pixels)
        .columns(pixels)
        .min(generated.count());
    let first: Vec<&[f32]> = generated.iter().take(columns).collect();
    let in_spectrum = matches(&first, training, pixels, Metric::Spectrum)?;
    let in_pixels = matches(&first, training, pixels, Metric::Pixels)?;
    let below = in_spectrum.iter().chain(&in_pixels);
    let maps = first
        .iter()
        .map(|map| map.to_vec())
        .chain(below.map(|found| found.nearest.map.clone()))
        .collect();
    Ok(MapFigure {
        heading: "Nearest training maps".to_owned(),
        file_name: "nearest_neighbours".to_owned(),
        caption: format!(
            "Upper row: the first {columns} generated maps. Middle row: for each the training map whose logarithmic \
             power spectrum is nearest; lower row: the one whose pixels are nearest. In spectrum, the generated \
             map is {} times as far from that training map as that map is from its own nearest; in pixels, {} times \
             (median of these {columns}). For a copy of a training map the factor would be close to 0; for a \
             shifted or mirrored copy, only in spectrum.",
            median_ratio(&in_spectrum),
            median_ratio(&in_pixels)
        ),
        columns,
        maps,
    })
}

fn median_ratio(matches: &[Match]) -> String {
    let mut ratios: Vec<f64> = matches
        .iter()
        .map(|found| found.nearest.distance / found.nearest_of_nearest.distance)
        .collect();
    ratios.sort_by(f64::total_cmp);
    match ratios.get(ratios.len() / 2) {
        Some(ratio) if ratio.is_finite() => format!("{ratio:.2}"),
        // If a training map occurs twice, its distance to its nearest is 0.
        _ => "infinitely many".to_owned(),
    }
}

/// Shows three paths between latent vectors of `seed`, one per row.
///
/// # Errors
/// If the device fails.
pub(super) fn interpolations(generator: &dyn MapMaker, seed: u64) -> Result<MapFigure> {
    const ROWS: usize = 3;
    let pixels = generator.config().output_size;
    let columns = Zoom::for_maps(pixels, pixels).columns(pixels).max(4);
    let maps = paths(generator, seed, ROWS as u64, columns as u64)?;
    let slices: Vec<&[f32]> = maps.iter().map(Vec::as_slice).collect();
    let largest = slices
        .chunks(columns)
        .map(|row| Smoothness::of(row).largest_over_mean)
        .fold(0.0, f64::max);
    Ok(MapFigure {
        heading: "Interpolations".to_owned(),
        file_name: "interpolations".to_owned(),
        caption: format!(
            "Each row: maps along the great circle between two latent vectors, in equal steps. The largest change from \
             one map to the next is {largest:.2} times the mean change of its row; a single jump between two maps \
             would give {}.",
            columns - 1
        ),
        columns,
        maps,
    })
}
