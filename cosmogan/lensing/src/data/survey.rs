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

/// Checks that all pixels of map `index` of the file at `path` are finite.
/// Rows have `width` pixels.
///
/// # Errors
/// If a pixel is NaN or infinite; the error names the first.
pub fn require_finite(map: &[f32], path: &Path, width: usize, index: usize) -> Result<()> {
    // No branch per value, so that the usual case costs almost nothing.
    if map.iter().fold(true, |all, value| all & value.is_finite()) {
        return Ok(());
    }
    let pixel = map.iter().position(|value| !value.is_finite());
    let pixel = pixel.unwrap_or_default();
    Err(Error::file(
        path,
        format!(
            "map {index} has the value {} at row {}, column {}",
            map[pixel],
            pixel / width,
            pixel % width
        ),
        "mask or remove values that are not finite",
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
