//! One pass over maps before anything is learned from them: whether all of them can be, and which they are.

use std::path::Path;

use super::map_file::MapFile;
use crate::error::{Error, Result};

/// What a pass over all maps of a file finds.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    /// A 64-bit FNV-1a hash over the bits of each value, in order, as 16 hexadecimal digits.
    pub fingerprint: String,
    /// Maps with a pixel outside [−1, 1].
    pub beyond_one: usize,
    /// The largest absolute value of all pixels.
    pub largest: f32,
    /// Mean of all pixels.
    pub mean: f64,
}

impl Survey {
    /// Reads every map of `maps` once, holding one at a time.
    ///
    /// # Errors
    /// Where the file cannot be read, a pixel is not finite, or a map is constant.
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

/// Refuses pixels that are not numbers in map `index` of the file at `path`.
///
/// # Errors
/// Naming the first such pixel.
pub(crate) fn require_finite(map: &[f32], path: &Path, width: usize, index: usize) -> Result<()> {
    // Without a branch for each value, so that the usual case takes no time.
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
        "mask or remove what is not a finite number",
    ))
}

/// Refuses pixels that are not numbers, and a map in which all pixels are equal: it has no standard deviation.
///
/// # Errors
/// Naming the first such pixel, or the map.
pub(crate) fn require_varied(map: &[f32], path: &Path, width: usize, index: usize) -> Result<()> {
    require_finite(map, path, width, index)?;
    if map.iter().any(|&value| value != map[0]) {
        return Ok(());
    }
    Err(Error::file(
        path,
        format!("map {index} is constant"),
        "remove it: there is nothing to measure or learn in it",
    ))
}
