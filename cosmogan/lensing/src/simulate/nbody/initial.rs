//! Initial conditions: a Gaussian field and 2LPT displacements.
//!
//! The field has the linear power spectrum. Symbols of second-order Lagrangian perturbation theory (2LPT) are as in
//! Bouchet et al. 1995.

use std::f64::consts::TAU;

use cosmogan_fft::num_complex::Complex32;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::force::{displacement, large_scale_power};
use super::fourier::Fourier;
use super::particles::{Particle, Particles, wrapped};
use super::settings::BoxSettings;
use super::steps::Epoch;
use super::waves::Waves;
use crate::simulate::linear_power::LinearPower;
use cosmogan_base::rng::{Normals, Purpose, stream};

/// Particles at the initial epoch.
pub(super) struct InitialConditions {
    pub(super) particles: Particles,
    pub(super) linear: LinearField,
}

/// Properties of the initial field, scaled to today by linear growth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct LinearField {
    /// Σ|δ|² over the large-scale modes.
    pub(super) large_scale_power: f64,
    /// RMS displacement in cells of the force mesh.
    pub(super) displacement: f64,
}

impl InitialConditions {
    /// Draws initial conditions for the box that `settings` describes, at `epoch`.
    pub(super) fn new(settings: &BoxSettings, epoch: &Epoch) -> Self {
        let fourier = Fourier::new(settings.particles);
        let mut mesh = fourier.mesh();
        let mut density = fourier.spectrum();
        let mut work = fourier.spectrum();
        white_noise(settings.seed, settings.particles, &mut mesh);
        fourier.forward(&mut mesh, &mut density);
        colour(settings, &fourier, &mut density);
        let cells_per_spacing = settings.mesh as f64 / settings.particles as f64;
        let linear = LinearField {
            large_scale_power: large_scale_power(&fourier, |index, _| {
                f64::from(density[index].norm_sqr())
            }),
            displacement: cells_per_spacing * displacement(&fourier, &density),
        };

        let second = second_order_source(&fourier, &density, &mut work, &mut mesh);
        let cells_per_spacing = cells_per_spacing as f32;
        let mut particles = vec![Particle::default(); settings.particles.pow(3)];
        let mut second_mesh = fourier.mesh();
        for axis in 0..3 {
            // ψ₁ = −∇φ₁ with ∇²φ₁ = δ, and ψ₂ = ∇φ₂ with ∇²φ₂ = source.
            let gradient = |sign: f32| {
                let waves = Waves::new(&fourier);
                move |mode: [usize; 3]| {
                    let inverse = waves.inverse_square(mode);
                    Complex32::new(0.0, sign * waves.slope[mode[axis]] * inverse)
                }
            };
            fourier.inverse(&density, &mut work, &mut mesh, gradient(1.0));
            fourier.inverse(&second, &mut work, &mut second_mesh, gradient(-1.0));
            let stride = settings.particles.pow(2 - axis as u32);
            particles
                .par_iter_mut()
                .zip(mesh.par_iter().zip(&second_mesh))
                .enumerate()
                .for_each(|(index, (particle, (&first, &second)))| {
                    let home = (index / stride % settings.particles) as f32;
                    let combined = |[a, b]: [f64; 2]| {
                        cells_per_spacing * (a as f32 * first + b as f32 * second)
                    };
                    let position = cells_per_spacing * home + combined(epoch.displacement);
                    particle.position[axis] = wrapped(position, settings.mesh as f32);
                    particle.momentum[axis] = combined(epoch.momentum);
                });
        }
        Self {
            particles: Particles::new(settings.mesh, particles.into_iter()),
            linear,
        }
    }
}

/// Fills the mesh with independent normal deviates.
/// Each plane has its own random stream.
fn white_noise(seed: u64, side: usize, mesh: &mut [f32]) {
    mesh.par_chunks_exact_mut(side * side)
        .enumerate()
        .for_each(|(plane, values)| {
            let normals = Normals::new(stream(seed, Purpose::InitialField, plane as u64));
            for (value, normal) in values.iter_mut().zip(normals) {
                *value = normal as f32;
            }
        });
}

/// Scales white noise to the linear power spectrum today: ⟨|δ(k)|²⟩ = P(k)/V.
fn colour(settings: &BoxSettings, fourier: &Fourier, noise: &mut [Complex32]) {
    let (side, depth) = (fourier.side(), fourier.depth());
    let power = LinearPower::new(&settings.cosmology);
    let fundamental = TAU / settings.box_side;
    let scale = (settings.box_side * side as f64).powi(-3);
    noise
        .par_chunks_exact_mut(depth)
        .enumerate()
        .for_each(|(row, modes)| {
            let across = fourier.wave(row / side).hypot(fourier.wave(row % side));
            for (z, mode) in modes.iter_mut().enumerate() {
                let k = fundamental * across.hypot(z as f64);
                let variance = if k > 0.0 { scale * power.at(k) } else { 0.0 };
                *mode *= variance.sqrt() as f32;
            }
        });
}

/// Spectrum of the 2LPT source φ₁,xx·φ₁,yy + φ₁,xx·φ₁,zz + φ₁,yy·φ₁,zz − φ₁,xy² − φ₁,xz² − φ₁,yz².
fn second_order_source(
    fourier: &Fourier,
    density: &[Complex32],
    work: &mut [Complex32],
    mesh: &mut [f32],
) -> Vec<Complex32> {
    let waves = Waves::new(fourier);
    let mut second_derivative = |first: usize, second: usize, mesh: &mut [f32]| {
        fourier.inverse(density, work, mesh, |mode| {
            let slopes = if first == second {
                waves.square[mode[first]]
            } else {
                waves.slope[mode[first]] * waves.slope[mode[second]]
            };
            Complex32::from(slopes * waves.inverse_square(mode))
        });
    };
    let (mut xx, mut source) = (fourier.mesh(), fourier.mesh());
    second_derivative(0, 0, &mut xx);
    second_derivative(1, 1, mesh);
    let pairs = |source: &mut Vec<f32>, others: &[f32], combine: fn(&mut f32, f32)| {
        source
            .par_iter_mut()
            .zip(others)
            .for_each(|(value, &other)| combine(value, other));
    };
    pairs(&mut source, &xx, |value, xx| *value = xx);
    pairs(&mut source, mesh, |value, yy| *value *= yy);
    // xx + yy.
    pairs(&mut xx, mesh, |value, yy| *value += yy);
    second_derivative(2, 2, mesh);
    pairs(&mut xx, mesh, |value, zz| *value *= zz);
    pairs(&mut source, &xx, |value, product| *value += product);
    for (first, second) in [(0, 1), (0, 2), (1, 2)] {
        second_derivative(first, second, mesh);
        pairs(&mut source, mesh, |value, mixed| *value -= mixed * mixed);
    }
    let scale = (fourier.side() as f64).powi(-3) as f32;
    source.par_iter_mut().for_each(|value| *value *= scale);
    let mut spectrum = fourier.spectrum();
    fourier.forward(&mut source, &mut spectrum);
    spectrum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crossed_waves_are_a_source_where_both_are() {
        // δ = a·cos(2x) + b·cos(3y) has φ,xx = a·cos(2x), φ,yy = b·cos(3y), and no mixed derivatives.
        const SIDE: usize = 16;
        let fourier = Fourier::new(SIDE);
        let wave =
            |index: usize, number: f64| (TAU * number * index as f64 / SIDE as f64).cos() as f32;
        let mut mesh = fourier.mesh();
        for (index, value) in mesh.iter_mut().enumerate() {
            let (x, y) = (index / SIDE / SIDE, index / SIDE % SIDE);
            *value = (0.5 * wave(x, 2.0) + 0.25 * wave(y, 3.0)) / (SIDE as f32).powi(3);
        }
        let (mut density, mut work) = (fourier.spectrum(), fourier.spectrum());
        fourier.forward(&mut mesh, &mut density);
        let source = second_order_source(&fourier, &density, &mut work, &mut mesh);
        let mut found = fourier.mesh();
        fourier.inverse(&source, &mut work, &mut found, |_| Complex32::ONE);
        for (index, value) in found.iter().enumerate() {
            let (x, y) = (index / SIDE / SIDE, index / SIDE % SIDE);
            let expected = 0.125 * wave(x, 2.0) * wave(y, 3.0);
            assert!((value - expected).abs() < 1e-6, "{value} for {expected}");
        }
    }

    #[test]
    fn the_field_has_the_linear_power_spectrum() {
        let settings = BoxSettings {
            particles: 32,
            mesh: 64,
            ..BoxSettings::default()
        };
        let fourier = Fourier::new(settings.particles);
        let power = LinearPower::new(&settings.cosmology);
        let (mut mesh, mut field) = (fourier.mesh(), fourier.spectrum());
        white_noise(3, settings.particles, &mut mesh);
        fourier.forward(&mut mesh, &mut field);
        colour(&settings, &fourier, &mut field);
        // Modes with 0 < k_z < n/2 are independent: |δ|² over its expectation has mean 1 and variance 1.
        let (mut sum, mut count) = (0.0, 0.0);
        for (index, mode) in field.iter().enumerate() {
            let (row, z) = (index / fourier.depth(), index % fourier.depth());
            if z == 0 || z + 1 == fourier.depth() {
                continue;
            }
            let across = fourier.wave(row / 32).hypot(fourier.wave(row % 32));
            let k = TAU / settings.box_side * across.hypot(z as f64);
            let expected = power.at(k) / settings.box_side.powi(3);
            sum += f64::from(mode.norm_sqr()) / expected;
            count += 1.0;
        }
        let deviation = (sum / count - 1.0) * f64::sqrt(count);
        println!("{count} modes: {deviation:.2} standard errors");
        assert!(deviation.abs() < 4.0);
        assert_eq!(field[0], Complex32::default());
    }
}
