//! Interpolation between latent vectors, and a measure of its smoothness.

use serde::{Deserialize, Serialize};

use super::features::distance;

/// Spherical interpolation between latent vectors.
///
/// `share` = 0 returns `from`, 1 returns `to` (T. White, 2016, arXiv:1609.04468). Normal vectors lie near a sphere;
/// this path stays near it.
pub fn spherical(from: &[f32], to: &[f32], share: f64) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
        products.sum()
    };
    let norms = (dot(from, from) * dot(to, to)).sqrt();
    let angle = (dot(from, to) / norms).clamp(-1.0, 1.0).acos();
    let (first, second) = if angle.sin() > 1e-6 {
        (
            ((1.0 - share) * angle).sin() / angle.sin(),
            (share * angle).sin() / angle.sin(),
        )
    } else {
        (1.0 - share, share)
    };
    let values = from.iter().zip(to);
    values
        .map(|(from, to)| (first * f64::from(*from) + second * f64::from(*to)) as f32)
        .collect()
}

/// Changes between consecutive maps of a path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Smoothness {
    /// Euclidean distances in κ between consecutive maps.
    pub steps: Vec<f64>,
    /// Euclidean distance in κ between the first and the last map.
    pub ends: f64,
    /// Largest step over the mean step.
    ///
    /// 1 for an even path, the number of steps for a single jump.
    pub largest_over_mean: f64,
}

impl Smoothness {
    /// Measures a path of at least two maps.
    pub fn of(maps: &[&[f32]]) -> Self {
        let steps: Vec<f64> = maps
            .windows(2)
            .map(|pair| distance(pair[0], pair[1]))
            .collect();
        let mean = steps.iter().sum::<f64>() / steps.len().max(1) as f64;
        let largest = steps.iter().copied().fold(0.0, f64::max);
        Self {
            ends: match maps {
                [first, .., last] => distance(first, last),
                _ => 0.0,
            },
            largest_over_mean: if mean > 0.0 { largest / mean } else { 1.0 },
            steps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_stays_on_the_sphere_and_meets_its_ends() {
        let (a, b) = ([3.0, 0.0, 4.0], [0.0, 5.0, 0.0]);
        assert_eq!(spherical(&a, &b, 0.0), a);
        for (found, expected) in spherical(&a, &b, 1.0).iter().zip(b) {
            assert!((found - expected).abs() < 1e-6);
        }
        for tenth in 0..=10 {
            let point = spherical(&a, &b, f64::from(tenth) / 10.0);
            let norm: f32 = point.iter().map(|x| x * x).sum();
            assert!((norm.sqrt() - 5.0).abs() < 1e-5);
        }
        assert_eq!(spherical(&a, &a, 0.3), a);
    }

    #[test]
    fn a_jump_is_seen() {
        let maps: [&[f32]; 4] = [&[0.0], &[0.0], &[6.0], &[6.0]];
        let found = Smoothness::of(&maps);
        assert_eq!((found.ends, found.largest_over_mean), (6.0, 3.0));
    }
}
