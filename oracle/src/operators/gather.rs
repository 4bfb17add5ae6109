//! Crops of maps, copied without arithmetic; the maps may be stored in half precision.

use crate::bounded::Bounded;

/// Shape of a gather: crops `[crops, rows, columns, C]` from maps `[maps, H, W, C]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gather {
    /// Number of maps.
    pub maps: usize,
    /// H and W.
    pub size: [usize; 2],
    /// C.
    pub channels: usize,
    /// Number of crops.
    pub crops: usize,
    /// Rows and columns of a crop, at most those of a map.
    pub crop: [usize; 2],
}

impl Gather {
    /// `[maps, H, W, C]`.
    pub fn map_dims(&self) -> [usize; 4] {
        [self.maps, self.size[0], self.size[1], self.channels]
    }

    /// `[crops, rows, columns, C]`.
    pub fn crop_dims(&self) -> [usize; 4] {
        [self.crops, self.crop[0], self.crop[1], self.channels]
    }

    /// Index into the maps of element `element` of the crops.
    ///
    /// A row of the table `[crops, 4]` holds map, first row, first column, and 1 for a crop that is mirrored left to
    /// right. Coordinates that would place a crop outside its map are clamped.
    pub fn source(&self, table: &[f64], element: usize) -> usize {
        let (channel, pixel) = (element % self.channels, element / self.channels);
        let [rows, columns] = self.crop;
        let (column, row, crop) = (
            pixel % columns,
            pixel / columns % rows,
            pixel / columns / rows,
        );
        let line = |field: usize, most: usize| (table[4 * crop + field] as usize).min(most);
        let map = line(0, self.maps - 1);
        let top = line(1, self.size[0] - rows);
        let left = line(2, self.size[1] - columns);
        let column = if line(3, 1) == 1 {
            columns - 1 - column
        } else {
            column
        };
        ((map * self.size[0] + top + row) * self.size[1] + left + column) * self.channels + channel
    }
}

/// Bounds a value that was stored in half precision (IEEE binary16) and read back.
///
/// Rounding to nearest moves it by at most half the spacing of neighbouring numbers: 11 significant bits down to 2⁻¹⁴,
/// steps of 2⁻²⁴ below.
pub fn stored_in_half(value: f64) -> Bounded {
    let unit_roundoff = 2_f64.powi(-11);
    let error = (unit_roundoff * value.abs()).max(2_f64.powi(-25));
    Bounded { value, error }
}
