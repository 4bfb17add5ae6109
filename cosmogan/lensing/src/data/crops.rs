//! Random crops of maps.

use rand::RngExt;

use cosmogan_base::rng::{Purpose, stream};

/// Position of a crop in a file of maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// Index of the map.
    pub map: usize,
    /// First row within the map.
    pub row: usize,
    /// First column within the map.
    pub column: usize,
    /// Whether the crop is mirrored left to right.
    pub mirrored: bool,
}

impl Crop {
    /// Returns the crop at row 0, column 0 of map `map`.
    pub fn first_of(map: usize) -> Self {
        Self {
            map,
            row: 0,
            column: 0,
            mirrored: false,
        }
    }
}

/// Draws `count` random crops of `size`×`size` pixels from one map.
///
/// `map` is map number `index` for `seed`. It has rows of `columns` pixels and is at least `size` pixels in both
/// directions.
pub fn crops(
    map: &[f32],
    columns: usize,
    size: usize,
    count: usize,
    (seed, index): (u64, u64),
) -> impl Iterator<Item = Vec<f32>> {
    let rows = map.len() / columns;
    let mut rng = stream(seed, Purpose::Crops, index);
    (0..count).map(move |_| {
        let top = rng.random_range(0..=rows - size);
        let left = rng.random_range(0..=columns - size);
        (top..top + size)
            .flat_map(|row| &map[row * columns + left..][..size])
            .copied()
            .collect()
    })
}
