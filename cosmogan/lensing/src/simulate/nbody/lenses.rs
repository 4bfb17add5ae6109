//! Thin lenses: the slabs of matter between the observer and the source.

use super::super::cosmology::{Cosmology, HUBBLE_DISTANCE};
use super::settings::BoxSettings;

/// Lens of a slab of half a box thickness.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Lens {
    /// Comoving distance of its plane, the midpoint of the slab, in Mpc/h.
    pub(super) distance: f64,
    /// Scale factor at which light passes it.
    pub(super) scale_factor: f64,
    /// κ for a density contrast of 1 in the slab: ∫dχ W(χ) over the slab, up to the source.
    pub(super) weight: f64,
}

/// Returns all lenses in front of the source, nearest first.
/// Their weights add up to −κ of the empty beam.
pub(super) fn lenses(settings: &BoxSettings) -> Vec<Lens> {
    let cosmology = &settings.cosmology;
    let source = cosmology.comoving_distance(settings.source_redshift);
    let thickness = settings.box_side / 2.0;
    let count = (source / thickness).ceil() as usize;
    (0..count)
        .map(|slab| {
            let near = thickness * slab as f64;
            let distance = near + thickness / 2.0;
            Lens {
                distance,
                scale_factor: 1.0 / (1.0 + redshift(cosmology, distance)),
                weight: weight(cosmology, near, (near + thickness).min(source), source),
            }
        })
        .collect()
}

/// ∫dχ (3/2)·Ωm·(H₀/c)²·(1 + z)·χ·(χ_s − χ)/χ_s from `near` to `far`, by Simpson's rule.
fn weight(cosmology: &Cosmology, near: f64, far: f64, source: f64) -> f64 {
    const INTERVALS: usize = 8;
    let step = (far - near) / INTERVALS as f64;
    let integrand = |index: usize| {
        let distance = near + step * index as f64;
        (1.0 + redshift(cosmology, distance)) * distance * (source - distance) / source
    };
    let sum: f64 = (0..INTERVALS)
        .step_by(2)
        .map(|i| integrand(i) + 4.0 * integrand(i + 1) + integrand(i + 2))
        .sum();
    1.5 * cosmology.omega_m / HUBBLE_DISTANCE.powi(2) * sum * step / 3.0
}

/// Redshift at comoving distance `distance` in Mpc/h, by Newton's method.
///
/// The distance grows with z ever more slowly, so that the iterates rise to the solution from below.
fn redshift(cosmology: &Cosmology, distance: f64) -> f64 {
    let mut z = 0.0;
    for _ in 0..50 {
        let missing = distance - cosmology.comoving_distance(z);
        let step = missing * cosmology.expansion(1.0 / (1.0 + z)) / HUBBLE_DISTANCE;
        z += step;
        if step.abs() <= f64::EPSILON * z {
            break;
        }
    }
    z
}

#[cfg(test)]
mod tests {
    use super::super::super::limber::empty_beam;
    use super::*;

    #[test]
    fn all_lenses_together_weigh_what_the_empty_beam_lacks() {
        let settings = BoxSettings::default();
        let lenses = lenses(&settings);
        let total: f64 = lenses.iter().map(|lens| lens.weight).sum();
        let expected = empty_beam(&settings.cosmology, settings.source_redshift);
        approx::assert_relative_eq!(total, expected, max_relative = 1e-4);
        for pair in lenses.windows(2) {
            assert!(pair[0].scale_factor > pair[1].scale_factor);
        }
    }
}
