//! Pieces of maps at random places.

use rand::RngExt;

use crate::rng::{Purpose, stream};

/// Where a crop lies in a file of maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// Number of the map.
    pub map: usize,
    /// Its first row there.
    pub row: usize,
    /// Its first column there.
    pub column: usize,
    /// Whether left and right change places.
    pub mirrored: bool,
}

impl Crop {
    /// The crop in the first corner of map `map`; all of it, where it is no larger.
    pub fn first_of(map: usize) -> Self {
        Self {
            map,
            row: 0,
            column: 0,
            mirrored: false,
        }
    }
}

/// `count` crops of `size`² pixels of map `index` of `seed`, whose rows have `columns` pixels and which is large enough.
pub(crate) fn crops(
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
