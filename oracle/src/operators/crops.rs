//! Crops of maps that are stored in some format, mirrored or not.

use crate::bounded::Bounded;

/// Maps `[M, H, W, C]`, and how their values are stored.
#[derive(Clone, Copy, Debug)]
pub struct StoredMaps<'a> {
    /// All values.
    pub values: &'a [f64],
    /// M, H, W and C.
    pub extents: [usize; 4],
    /// Whether they are rounded to half precision (IEEE binary16).
    pub half: bool,
}

/// Where a crop lies: its map, first row, first column, and whether left and right change places.
pub type Line = (usize, usize, usize, bool);

/// Crops of `rows`×`columns` pixels, `[N, rows, columns, C]`, one for each line. A crop moves values and computes nothing: all
/// that separates it from its map is the one rounding of the storage.
pub fn crops(maps: &StoredMaps<'_>, lines: &[Line], [rows, columns]: [usize; 2]) -> Vec<Bounded> {
    let [_, height, width, channels] = maps.extents;
    let mut out = Vec::new();
    for &(map, top, left, mirrored) in lines {
        for row in 0..rows {
            for column in 0..columns {
                let column = if mirrored {
                    columns - 1 - column
                } else {
                    column
                };
                for channel in 0..channels {
                    let pixel = (map * height + top + row) * width + left + column;
                    let value = maps.values[pixel * channels + channel];
                    let error = if maps.half { half_rounding(value) } else { 0.0 };
                    out.push(Bounded { value, error });
                }
            }
        }
    }
    out
}

/// Half the distance of neighbouring numbers of half precision, which rounding to the nearest cannot exceed: 11 significant
/// bits down to 2⁻¹⁴, and steps of 2⁻²⁴ below.
fn half_rounding(value: f64) -> f64 {
    let unit_roundoff = 2_f64.powi(-11);
    (unit_roundoff * value.abs()).max(2_f64.powi(-25))
}
