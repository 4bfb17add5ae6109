//! Colour map and colour scale for κ; all maps of a figure share one scale.

/// Every eighth entry of the *inferno* colour map, in sRGB.
///
/// N. Smith, S. van der Walt, E. Firing; matplotlib, CC0.
///
/// Linear interpolation between them is within 1.5/255 of the full table. Lightness increases strictly, so that images
/// are also readable in greyscale and with colour blindness: brighter is denser.
const INFERNO: [[u8; 3]; 33] = [
    [0, 0, 4],
    [4, 3, 18],
    [11, 7, 36],
    [21, 11, 55],
    [33, 12, 74],
    [46, 10, 90],
    [60, 9, 101],
    [74, 12, 107],
    [87, 16, 109],
    [99, 20, 110],
    [112, 25, 110],
    [125, 30, 109],
    [137, 34, 106],
    [150, 39, 102],
    [163, 43, 97],
    [175, 49, 92],
    [187, 55, 85],
    [198, 62, 77],
    [209, 70, 68],
    [219, 79, 59],
    [227, 89, 50],
    [235, 101, 40],
    [241, 113, 30],
    [246, 127, 20],
    [249, 141, 10],
    [251, 156, 6],
    [252, 171, 15],
    [251, 186, 31],
    [249, 202, 50],
    [245, 217, 73],
    [242, 232, 101],
    [243, 245, 134],
    [252, 255, 164],
];

/// Returns the sRGB colour at `position`, from 0 (dark) to 1 (bright).
///
/// Other positions are clamped.
pub fn inferno(position: f64) -> [u8; 3] {
    let place = unit_interval(position) * (INFERNO.len() - 1) as f64;
    let below = (place as usize).min(INFERNO.len() - 2);
    let share = place - below as f64;
    std::array::from_fn(|channel| {
        let from = f64::from(INFERNO[below][channel]);
        let to = f64::from(INFERNO[below + 1][channel]);
        (from + share * (to - from)).round() as u8
    })
}

/// Clamps `value` to 0 to 1; NaN becomes 0.
fn unit_interval(value: f64) -> f64 {
    if value.is_nan() {
        0.0
    } else {
        value.clamp(0.0, 1.0)
    }
}

/// Mapping from κ to colours. Images to be compared share one range.
///
/// The scale is asinh(κ / `softening`): linear for |κ| well below `softening`, logarithmic above, so that both voids
/// and rare bright peaks show structure. It is linear if `softening` is far above both ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ColourRange {
    low: f64,
    high: f64,
    softening: f64,
}

impl ColourRange {
    /// Creates a scale from κ = `low` (dark) to κ = `high` (bright).
    ///
    /// Ends that are equal, swapped or not finite are corrected, so that a constant map can be drawn too.
    pub fn new(low: f64, high: f64, softening: f64) -> Self {
        let low = if low.is_finite() { low } else { 0.0 };
        let high = if high.is_finite() { high } else { low };
        let (low, high) = (low.min(high), low.max(high));
        let smallest = 1e-6 * low.abs().max(high.abs()).max(1e-6);
        let high = high.max(low + smallest);
        let softening = if softening.is_finite() && softening > 0.0 {
            softening
        } else {
            high - low
        };
        Self {
            low,
            high,
            softening,
        }
    }

    /// Creates a linear scale from κ = `low` to κ = `high`.
    pub fn linear(low: f64, high: f64) -> Self {
        let range = Self::new(low, high, 1.0);
        Self {
            softening: 1e3 * range.low.abs().max(range.high.abs()),
            ..range
        }
    }

    /// Creates a scale that suits `maps`.
    ///
    /// It spans the 0.1 % to the 99.9 % quantile of κ and is linear within three standard deviations. Large sets are
    /// sampled evenly; values that are not finite are ignored.
    pub fn spanning(maps: &[&[f32]]) -> Self {
        const ENOUGH: usize = 1 << 18;
        let total: usize = maps.iter().map(|map| map.len()).sum();
        // An odd stride avoids sampling the same columns of maps whose width is a power of two.
        let stride = (total / ENOUGH) | 1;
        let mut values: Vec<f32> = maps
            .iter()
            .flat_map(|map| map.iter())
            .step_by(stride)
            .copied()
            .filter(|value| value.is_finite())
            .collect();
        if values.is_empty() {
            return Self::linear(0.0, 1.0);
        }
        values.sort_unstable_by(f32::total_cmp);
        let quantile = |share: f64| {
            let place = share * (values.len() - 1) as f64;
            f64::from(values[place.round() as usize])
        };
        let count = values.len() as f64;
        let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
        let variance = values
            .iter()
            .map(|&value| (f64::from(value) - mean).powi(2))
            .sum::<f64>()
            / count;
        Self::new(quantile(0.001), quantile(0.999), 3.0 * variance.sqrt())
    }

    /// κ at the dark end.
    pub fn low(&self) -> f64 {
        self.low
    }

    /// κ at the bright end.
    pub fn high(&self) -> f64 {
        self.high
    }

    /// Position of `kappa` on the scale, from 0 (dark) to 1 (bright), clamped.
    pub fn position(&self, kappa: f64) -> f64 {
        let from = (self.low / self.softening).asinh();
        let to = (self.high / self.softening).asinh();
        unit_interval(((kappa / self.softening).asinh() - from) / (to - from))
    }

    /// sRGB colour of `kappa`.
    pub fn colour(&self, kappa: f64) -> [u8; 3] {
        inferno(self.position(kappa))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CIE lightness of an sRGB colour, 0 to 100.
    fn lightness(colour: [u8; 3]) -> f64 {
        let linear = colour.map(|channel| {
            let value = f64::from(channel) / 255.0;
            if value <= 0.04045 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        });
        let luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
        if luminance > 0.008_856 {
            116.0 * luminance.cbrt() - 16.0
        } else {
            903.3 * luminance
        }
    }

    #[test]
    fn brighter_is_denser_in_grey_too() {
        let steps: Vec<f64> = (0..=32)
            .map(|step| lightness(inferno(f64::from(step) / 32.0)))
            .collect();
        assert!(steps.windows(2).all(|pair| pair[1] > pair[0] + 0.5));
        assert!(steps[0] < 2.0 && steps[32] > 97.0);
    }

    #[test]
    fn the_scale_is_monotone_and_clamped() {
        let range = ColourRange::new(-0.02, 0.1, 0.03);
        assert_eq!(range.position(-1.0), 0.0);
        assert_eq!(range.position(1.0), 1.0);
        assert_eq!(range.position(f64::NAN), 0.0);
        let places: Vec<f64> = (0..50)
            .map(|step| range.position(-0.02 + 0.12 * f64::from(step) / 49.0))
            .collect();
        assert!(places.windows(2).all(|pair| pair[1] > pair[0]));
    }

    #[test]
    fn a_linear_range_is_linear() {
        let range = ColourRange::linear(-0.5, 1.5);
        assert!((range.position(0.5) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn constant_and_unusable_maps_still_have_a_range() {
        for map in [vec![0.25f32; 16], vec![0.0; 16], vec![f32::NAN; 4], vec![]] {
            let range = ColourRange::spanning(&[&map]);
            assert!(range.high() > range.low());
            assert!(range.position(0.25).is_finite());
        }
    }
}
