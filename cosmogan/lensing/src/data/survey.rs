//! Survey of the training maps: validation, fingerprint, simple statistics.

use std::path::Path;

use super::map_file::MapFile;
use cosmogan_base::{Error, Result};

/// Results of one pass over all maps of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    /// 64-bit FNV-1a hash over the bits of all values in order, as 16 hexadecimal digits.
    pub fingerprint: String,
    /// Number of maps with a pixel outside [−1, 1].
    pub beyond_one: usize,
    /// Largest absolute pixel value.
    pub largest: f32,
    /// Mean of all pixels.
    pub mean: f64,
}

impl Survey {
    /// Reads every map of `maps` once, one at a time.
    ///
    /// # Errors
    /// If the file cannot be read, a pixel is not finite, or a map is constant.
    pub fn of(maps: &MapFile) -> Result<Self> {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0100_0000_01b3;
        let mut map = vec![0.0; maps.height() * maps.width()];
        let mut hash = OFFSET;
        let (mut beyond_one, mut largest, mut sum) = (0, 0.0_f32, 0.0);
        for index in 0..maps.count() {
            maps.read(index, &mut map)?;
            require_varied(&map, maps.path(), maps.width(), index)?;
            hash = map.iter().fold(hash, |hash, value| {
                (hash ^ u64::from(value.to_bits())).wrapping_mul(PRIME)
            });
            let of_map = map
                .iter()
                .fold(0.0_f32, |most, value| most.max(value.abs()));
            beyond_one += usize::from(of_map > 1.0);
            largest = largest.max(of_map);
            sum = map.iter().fold(sum, |sum, &value| sum + f64::from(value));
        }
        Ok(Self {
            fingerprint: format!("{hash:016x}"),
            beyond_one,
            largest,
            mean: sum / (maps.count() * map.len()) as f64,
        })
    }
}

/// Largest magnitude of a pixel. No convergence is as large; numbers that stand for missing pixels are.
const LARGEST: f32 = 1000.0;
/// The number that HEALPix stores for a pixel without a value.
const UNSEEN: f32 = -1.6375e30;
/// Smaller numbers that stand for missing pixels.
const MISSING: [f32; 4] = [-99.0, -999.0, 999.0, -999.25];

/// Checks that all pixels of map `index` of the file at `path` could be values of a convergence.
/// Rows have `width` pixels.
///
/// # Errors
/// If a pixel is NaN, infinite, or a number that stands for a missing pixel; the error names the first.
pub fn require_finite(map: &[f32], path: &Path, width: usize, index: usize) -> Result<()> {
    require_pixels(map, path, width, (index, 0))
}

/// Checks pixels of map `index` from number `first` on, like [`require_finite`].
pub(super) fn require_pixels(
    pixels: &[f32],
    path: &Path,
    width: usize,
    (index, first): (usize, usize),
) -> Result<()> {
    // No branch per value, so that the usual case costs almost nothing. NaN is not below anything.
    let smallest = MISSING[0].abs();
    if pixels
        .iter()
        .fold(true, |all, value| all & (value.abs() < smallest))
    {
        return Ok(());
    }
    let is_missing =
        |value: &f32| value.is_nan() || value.abs() > LARGEST || MISSING.contains(value);
    let Some(at) = pixels.iter().position(is_missing) else {
        return Ok(());
    };
    let (value, pixel) = (pixels[at], first + at);
    let origin = if value == UNSEEN {
        " (HEALPix's UNSEEN)"
    } else if value == -9999.0 || MISSING.contains(&value) {
        ", which stands for a missing pixel"
    } else if value.is_finite() {
        ", which no convergence has"
    } else {
        ""
    };
    let value = match value.abs() {
        size if size.is_finite() && size >= 1e6 => format!("{value:e}"),
        _ => format!("{value}"),
    };
    Err(Error::file(
        path,
        format!(
            "map {index} has the value {value}{origin} at row {}, column {}",
            pixel / width,
            pixel % width
        ),
        "fill in or cut out missing pixels, or leave out the map",
    ))
}

/// Checks that all pixels of a map are finite and that it is not constant.
/// A constant map has no standard deviation.
///
/// # Errors
/// If a pixel is not finite (the error names the first) or the map is constant.
pub(super) fn require_varied(map: &[f32], path: &Path, width: usize, index: usize) -> Result<()> {
    require_finite(map, path, width, index)?;
    if map.iter().any(|&value| value != map[0]) {
        return Ok(());
    }
    Err(Error::file(
        path,
        format!("map {index} is constant"),
        "remove it: a constant map carries no information",
    ))
}
