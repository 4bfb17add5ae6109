//! Convergence power spectrum in the Limber approximation, for sources at one redshift.

use super::cosmology::{Cosmology, HUBBLE_DISTANCE};
use super::halofit::Halofit;

/// Range of ln ℓ of the table: from the whole sky to arcseconds.
const LOWEST: f64 = 0.0;
const HIGHEST: f64 = 14.0;
const KNOTS: usize = 281;
/// Integration steps along the line of sight.
const SLICES: usize = 120;

/// −κ of a line of sight through empty space: ∫dχ W(χ).
pub(super) fn empty_beam(cosmology: &Cosmology, source_redshift: f64) -> f64 {
    let source = cosmology.comoving_distance(source_redshift);
    let step = source_redshift / SLICES as f64;
    (0..SLICES)
        .map(|index| {
            let z = step * (index as f64 + 0.5);
            let distance = cosmology.comoving_distance(z);
            let depth = HUBBLE_DISTANCE * step / cosmology.expansion(1.0 / (1.0 + z));
            1.5 * cosmology.omega_m / HUBBLE_DISTANCE.powi(2)
                * (1.0 + z)
                * distance
                * (source - distance)
                / source
                * depth
        })
        .sum()
}

/// Power spectrum C_ℓ of the convergence κ, in steradian.
///
/// C_ℓ = ∫dχ W(χ)²/χ²·P((ℓ + ½)/χ, z(χ)) with W(χ) = (3/2)·Ωm·(H₀/c)²·(1 + z)·χ·(χ_s − χ)/χ_s (Kaiser 1992).
#[derive(Clone, Debug)]
pub struct ConvergencePower {
    /// ln C_ℓ at equal steps in ln ℓ.
    table: Vec<f64>,
}

impl ConvergencePower {
    /// Largest ℓ of the table.
    pub(super) const LARGEST_MULTIPOLE: f64 = 1.2e6;

    /// Projects the nonlinear matter power spectrum (halofit) for sources at `source_redshift`.
    pub fn new(cosmology: &Cosmology, source_redshift: f64) -> Self {
        let halofit = Halofit::new(cosmology);
        let source = cosmology.comoving_distance(source_redshift);
        // Midpoints of equal steps in redshift, farthest first, so that scale factors ascend.
        let step = source_redshift / SLICES as f64;
        let redshifts: Vec<f64> = (0..SLICES)
            .rev()
            .map(|index| step * (index as f64 + 0.5))
            .collect();
        let scale_factors: Vec<f64> = redshifts.iter().map(|z| 1.0 / (1.0 + z)).collect();
        let growth = cosmology.growth(&scale_factors);
        let slices: Vec<_> = redshifts
            .iter()
            .zip(&scale_factors)
            .zip(growth)
            .map(|((&z, &a), growth)| {
                let distance = cosmology.comoving_distance(z);
                let lens = 1.5 * cosmology.omega_m / HUBBLE_DISTANCE.powi(2)
                    * (1.0 + z)
                    * (source - distance)
                    / source;
                let depth = HUBBLE_DISTANCE * step / cosmology.expansion(a);
                let epoch = halofit.epoch(cosmology, a, growth);
                (distance, lens * lens * depth, epoch)
            })
            .collect();
        let table = (0..KNOTS)
            .map(|knot| {
                let ell = (LOWEST + (HIGHEST - LOWEST) / (KNOTS - 1) as f64 * knot as f64).exp();
                let sum: f64 = slices
                    .iter()
                    .map(|(distance, weight, epoch)| {
                        weight * halofit.power((ell + 0.5) / distance, epoch)
                    })
                    .sum();
                sum.ln()
            })
            .collect();
        Self { table }
    }

    /// C_ℓ in steradian, interpolated in the table; 0 for ℓ = 0.
    pub fn at(&self, ell: f64) -> f64 {
        if ell <= 0.0 {
            return 0.0;
        }
        let position = (ell.ln() - LOWEST) / (HIGHEST - LOWEST) * (KNOTS - 1) as f64;
        let knot = (position.max(0.0) as usize).min(KNOTS - 2);
        let fraction = position - knot as f64;
        (self.table[knot] * (1.0 - fraction) + self.table[knot + 1] * fraction).exp()
    }
}
