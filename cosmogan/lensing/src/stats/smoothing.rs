//! Gaussian smoothing of non-periodic maps.

/// Half-width of the kernel in standard deviations.
const REACH: f64 = 4.0;

/// Convolves `map` with a Gaussian.
///
/// `map` has rows of `columns` pixels; `deviation` is the standard deviation in pixels.
///
/// Returns only the pixels whose whole kernel lies inside the map, and the number of columns left. Both are empty or 0
/// if the map is too small.
pub fn smoothed(map: &[f32], columns: usize, deviation: f64) -> (Vec<f32>, usize) {
    let rows = map.len() / columns;
    let reach = (REACH * deviation).ceil();
    // Checked before the kernel is allocated: it could be far larger than the map, or than memory.
    if 2.0 * reach >= rows.min(columns) as f64 {
        return (Vec::new(), 0);
    }
    let reach = reach as usize;
    let weights: Vec<f64> = (0..=2 * reach)
        .map(|index| (-0.5 * ((index as f64 - reach as f64) / deviation).powi(2)).exp())
        .collect();
    let total: f64 = weights.iter().sum();
    let kernel: Vec<f32> = weights
        .iter()
        .map(|weight| (weight / total) as f32)
        .collect();
    let (inner_rows, inner_columns) = (rows - 2 * reach, columns - 2 * reach);
    let mut below = vec![0.0; inner_rows * columns];
    for (row, sums) in below.chunks_exact_mut(columns).enumerate() {
        for (offset, weight) in kernel.iter().enumerate() {
            let values = &map[(row + offset) * columns..][..columns];
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += weight * value;
            }
        }
    }
    let mut inner = vec![0.0; inner_rows * inner_columns];
    for (sums, values) in inner
        .chunks_exact_mut(inner_columns)
        .zip(below.chunks_exact(columns))
    {
        for (offset, weight) in kernel.iter().enumerate() {
            for (sum, value) in sums.iter_mut().zip(&values[offset..]) {
                *sum += weight * value;
            }
        }
    }
    (inner, inner_columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_is_weakened_as_the_transform_of_a_gaussian_says() {
        let (rows, columns, deviation) = (60, 80, 3.0);
        let (kx, ky) = (0.2_f64, 0.35_f64);
        let wave = |row: usize, column: usize| (kx * row as f64 + ky * column as f64).cos();
        let map: Vec<f32> = (0..rows * columns)
            .map(|index| wave(index / columns, index % columns) as f32)
            .collect();
        let (inner, inner_columns) = smoothed(&map, columns, deviation);
        assert_eq!((inner.len(), inner_columns), (36 * 56, 56));
        let factor = (-0.5 * deviation.powi(2) * (kx * kx + ky * ky)).exp();
        for (index, value) in inner.iter().enumerate() {
            let expected = factor * wave(index / 56 + 12, index % 56 + 12);
            // The kernel is cut off at four standard deviations: an error of 6e-5 along either axis.
            assert!((f64::from(*value) - expected).abs() < 2e-4);
        }
        for deviation in [8.0, 1e12, f64::INFINITY] {
            assert!(smoothed(&map, columns, deviation).0.is_empty());
        }
    }
}
