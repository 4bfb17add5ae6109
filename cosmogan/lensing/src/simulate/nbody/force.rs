//! Gravitational acceleration on the particle mesh.
//!
//! With lengths in cells, F(k) = i·k/k²·δ(k) is the acceleration that FastPM's kick factors multiply. Cloud in cell
//! smooths twice: when mass is deposited and when the acceleration is interpolated. Dividing by both windows makes
//! haloes as dense as the mesh allows, but it helps only after particles have left their initial lattice; before that
//! it amplifies aliases of the lattice. docs/simulating.md has the numbers.

use std::f64::consts::{PI, TAU};

use cosmogan_fft::num_complex::Complex32;
use rayon::prelude::*;

use super::deposit::deposit;
use super::fourier::Fourier;
use super::particles::{Particles, THICKNESS, cloud};
use super::waves::Waves;

/// Force mesh with its spectrum and workspace: three arrays of n³ numbers, allocated once.
pub(super) struct ForceMesh {
    fourier: Fourier,
    mesh: Vec<f32>,
    spectrum: Vec<Complex32>,
    work: Vec<Complex32>,
    waves: Waves,
    /// Factor of 1/W² along one axis, where W = sinc² is the cloud-in-cell window.
    sharpening: Vec<f32>,
}

impl ForceMesh {
    /// Creates a mesh of `side`³.
    pub(super) fn new(side: usize) -> Self {
        let fourier = Fourier::new(side);
        Self {
            mesh: fourier.mesh(),
            spectrum: fourier.spectrum(),
            work: fourier.spectrum(),
            waves: Waves::new(&fourier),
            sharpening: (0..side)
                .map(|index| window(fourier.wave(index), side).powi(-2) as f32)
                .collect(),
            fourier,
        }
    }

    /// Deposits the particles and computes the spectrum of their density.
    pub(super) fn load(&mut self, particles: &Particles) {
        deposit(particles, &mut self.mesh);
        self.fourier.forward(&mut self.mesh, &mut self.spectrum);
    }

    /// Power in the largest waves of the loaded density; see [`large_scale_power`].
    pub(super) fn large_scale_power(&self) -> f64 {
        let side = self.fourier.side();
        large_scale_power(&self.fourier, |index, waves| {
            let windows = waves.map(|wave| window(wave, side));
            let mode = self.spectrum[index] / (side as f32).powi(3);
            f64::from(mode.norm_sqr()) / windows.iter().product::<f64>().powi(2)
        })
    }

    /// Adds `factor` times the acceleration to every momentum.
    /// If `sharp`, the cloud-in-cell windows are divided out.
    pub(super) fn kick(&mut self, particles: &mut Particles, factor: f32, sharp: bool) {
        let side = self.fourier.side();
        let scale = (side as f64).powi(-3) as f32;
        let (waves, sharpening) = (&self.waves, &self.sharpening);
        for axis in 0..3 {
            let response = |mode: [usize; 3]| {
                let [x, y, z] = mode;
                let laplacian = waves.laplacian(mode);
                if laplacian == 0.0 {
                    return Complex32::default();
                }
                let sharper = if sharp {
                    sharpening[x] * sharpening[y] * sharpening[z]
                } else {
                    1.0
                };
                Complex32::new(0.0, scale * sharper * waves.slope[mode[axis]] / laplacian)
            };
            self.fourier
                .inverse(&self.spectrum, &mut self.work, &mut self.mesh, response);
            let mesh = &self.mesh;
            particles
                .slabs_mut()
                .par_iter_mut()
                .enumerate()
                .for_each(|(slab, particles)| {
                    let base = slab * THICKNESS;
                    for particle in particles {
                        debug_assert_eq!(
                            particle.position[0] as usize / THICKNESS * THICKNESS,
                            base
                        );
                        particle.momentum[axis] += factor * at(mesh, side, particle.position);
                    }
                });
        }
    }
}

/// RMS of the displacements ψ(k) = i·k/k²·δ(k), in units of the mesh spacing.
pub(super) fn displacement(fourier: &Fourier, density: &[Complex32]) -> f64 {
    let (side, depth) = (fourier.side(), fourier.depth());
    let rows = density
        .par_chunks_exact(depth)
        .enumerate()
        .map(|(row, modes)| {
            let across = fourier.wave(row / side).powi(2) + fourier.wave(row % side).powi(2);
            let mut sum = 0.0;
            for (z, mode) in modes.iter().enumerate() {
                let square = across + (z * z) as f64;
                if square > 0.0 {
                    // Hermitian symmetry: the other half of the spectrum contributes the same.
                    let times = if z == 0 || z + 1 == depth { 1.0 } else { 2.0 };
                    sum += times * f64::from(mode.norm_sqr()) / square;
                }
            }
            sum
        });
    // Collected first: the order of a parallel sum would depend on the threads.
    let rows: Vec<f64> = rows.collect();
    rows.iter().sum::<f64>().sqrt() * side as f64 / TAU
}

/// Largest wave number that counts as large-scale, in units of the fundamental mode.
const LARGE: f64 = 2.0;

/// Σ|δ(k)|² over the large-scale modes of the box.
/// `squared` gets a mode's index in the spectrum and its wave numbers.
pub(super) fn large_scale_power(
    fourier: &Fourier,
    squared: impl Fn(usize, [f64; 3]) -> f64,
) -> f64 {
    let side = fourier.side();
    let near: Vec<usize> = (0..side)
        .filter(|&index| fourier.wave(index).abs() <= LARGE)
        .collect();
    let mut sum = 0.0;
    for &x in &near {
        for &y in &near {
            for z in 0..=LARGE as usize {
                let waves = [fourier.wave(x), fourier.wave(y), z as f64];
                let length = waves.iter().map(|wave| wave * wave).sum::<f64>().sqrt();
                if length > 0.0 && length <= LARGE {
                    // Hermitian symmetry: the other half of the spectrum contributes the same.
                    let times = if z == 0 { 1.0 } else { 2.0 };
                    sum += times * squared((x * side + y) * fourier.depth() + z, waves);
                }
            }
        }
    }
    sum
}

/// Cloud-in-cell window along one axis, sinc²(π·wave/side).
fn window(wave: f64, side: usize) -> f64 {
    let x = PI * wave / side as f64;
    if x == 0.0 { 1.0 } else { (x.sin() / x).powi(2) }
}

/// Interpolates the field on `mesh` at `position`, cloud in cell.
#[inline(always)]
fn at(mesh: &[f32], side: usize, position: [f32; 3]) -> f32 {
    let [
        (x, x_next, upper_x),
        (y, y_next, upper_y),
        (z, z_next, upper_z),
    ] = position.map(|position| cloud(position, side));
    let along_z = |x: usize, y: usize| {
        let row = &mesh[(x * side + y) * side..][..side];
        row[z] + upper_z * (row[z_next] - row[z])
    };
    let along_y = |x: usize| {
        let near = along_z(x, y);
        near + upper_y * (along_z(x, y_next) - near)
    };
    let near = along_y(x);
    near + upper_x * (along_y(x_next) - near)
}

#[cfg(test)]
mod tests {
    use super::super::particles::Particle;
    use super::*;

    #[test]
    fn a_small_displacement_is_accelerated_by_itself() {
        // In linear theory F = ψ. For particles halfway between mesh points the two clouds reduce it by sin(k)/k: the
        // deposit has the window 2·sin(k/2)/k, the interpolation cos(k/2). The wave runs along y and displaces along y.
        const SIDE: usize = 32;
        const AMPLITUDE: f64 = 1e-2;
        let k = TAU * 3.0 / SIDE as f64;
        let displacement = |y: f64| AMPLITUDE * (k * y).sin();
        let lattice = (0..SIDE.pow(3)).map(|index| {
            let at = |stride: usize| (index / stride % SIDE) as f64 + 0.5;
            let home = [at(SIDE * SIDE), at(SIDE), at(1)];
            let y = home[1] + displacement(home[1]);
            Particle {
                position: [home[0] as f32, y as f32, home[2] as f32],
                momentum: [0.0; 3],
            }
        });
        let mut particles = Particles::new(SIDE, lattice);
        let mut force = ForceMesh::new(SIDE);
        force.load(&particles);
        force.kick(&mut particles, 2.0, false);
        for particle in particles.slabs().iter().flatten() {
            let home = f64::from(particle.position[1].floor()) + 0.5;
            let expected = [0.0, 2.0 * displacement(home) * k.sin() / k, 0.0];
            for (axis, expected) in expected.into_iter().enumerate() {
                let difference = f64::from(particle.momentum[axis]) - expected;
                // The force is interpolated at the particle, not at its lattice point: a second-order difference of at
                // most ψ·dψ/dy.
                let second_order = 2.0 * k * AMPLITUDE.powi(2);
                assert!(
                    difference.abs() < second_order,
                    "{particle:?}: {difference}"
                );
            }
        }
    }

    /// By Poisson's equation, a density cos(k·x + φ) gives F = −k/k²·sin(k·x + φ).
    /// It is checked at mesh points, where the interpolation has no window; with sharpening it is divided by the
    /// cloud-in-cell windows along all axes.
    #[test]
    fn a_wave_of_density_pulls_as_poissons_equation_says() {
        const SIDE: usize = 16;
        const POINTS: f64 = (SIDE * SIDE * SIDE) as f64;
        let place = |index: usize| [index / SIDE / SIDE, index / SIDE % SIDE, index % SIDE];
        for wave in [[0.0, 3.0, 0.0], [0.0, 0.0, 6.0], [3.0, -2.0, 5.0]] {
            let k = wave.map(|wave| wave * TAU / SIDE as f64);
            let square: f64 = k.iter().map(|k| k * k).sum();
            let phase = |index: usize| {
                let along = k.iter().zip(place(index));
                0.4 + along.map(|(k, at)| k * at as f64).sum::<f64>()
            };
            for sharp in [false, true] {
                let lattice = (0..SIDE.pow(3)).map(|index| Particle {
                    position: place(index).map(|at| at as f32),
                    momentum: [0.0; 3],
                });
                let mut particles = Particles::new(SIDE, lattice);
                let mut force = ForceMesh::new(SIDE);
                for (index, value) in force.mesh.iter_mut().enumerate() {
                    *value = phase(index).cos() as f32;
                }
                force.fourier.forward(&mut force.mesh, &mut force.spectrum);
                force.kick(&mut particles, 1.0, sharp);

                // sinc² along each axis, twice: for the deposit and for the interpolation.
                let windows = |wave: [f64; 3]| -> f64 {
                    let along = wave.map(|wave| match PI * wave / SIDE as f64 {
                        0.0 => 1.0,
                        x => (x.sin() / x).powi(4),
                    });
                    along.iter().product()
                };
                let divisor = |wave| if sharp { windows(wave) } else { 1.0 };
                let mut sums = [0.0; 3];
                for particle in particles.slabs().iter().flatten() {
                    let [x, y, z] = particle.position.map(|at| at as usize);
                    let sine = phase((x * SIDE + y) * SIDE + z).sin();
                    for axis in 0..3 {
                        let expected = -k[axis] / square * sine / divisor(wave);
                        sums[axis] += (f64::from(particle.momentum[axis]) - expected).powi(2);
                    }
                }
                for (axis, sum) in sums.into_iter().enumerate() {
                    let bound = error_bound(wave, axis, SIDE, &divisor) * POINTS.sqrt();
                    assert!(
                        sum.sqrt() <= bound,
                        "{wave:?} {sharp}: {} of {bound}",
                        sum.sqrt()
                    );
                    // One window too many or too few would exceed the bound by far.
                    assert!(
                        wave[axis] == 0.0
                            || !sharp
                            || 100.0 * bound < POINTS.sqrt() * k[axis].abs() / square
                    );
                }
            }
        }
    }

    /// Largest RMS error of one component of F in f32, for a density with an RMS of √½.
    ///
    /// An FFT with log₂ N levels multiplies the norm by at most 1 + η per level, η = u + γ₄·(√2 + u) (Higham, *Accuracy
    /// and Stability of Numerical Algorithms*, theorem 24.2); a real FFT has one level more. Errors before the
    /// response, including the rounding of the density, may lie in any mode and are multiplied by the largest response.
    /// The response itself has 16 roundings, and F is as large as the response to the wave.
    fn error_bound(
        wave: [f64; 3],
        axis: usize,
        side: usize,
        divisor: &dyn Fn([f64; 3]) -> f64,
    ) -> f64 {
        let u = f64::from(f32::EPSILON) / 2.0;
        let gamma = |count: f64| count * u / (1.0 - count * u);
        let levels = (side.pow(3) as f64).log2() + 1.0;
        let transform = levels * (u + gamma(4.0) * (2_f64.sqrt() + u));
        let response = |wave: [f64; 3]| {
            let square: f64 = wave.iter().map(|wave| wave * wave).sum();
            let nyquist = wave[axis].abs() == side as f64 / 2.0;
            if square == 0.0 || nyquist {
                return 0.0;
            }
            wave[axis].abs() / square * side as f64 / TAU / divisor(wave)
        };
        let half = side as isize / 2;
        let mut largest: f64 = 0.0;
        for x in 0..=half {
            for y in 0..=half {
                for z in 0..=half {
                    largest = largest.max(response([x, y, z].map(|wave| wave as f64)));
                }
            }
        }
        let before = (1.0 + transform) * (1.0 + u) - 1.0;
        let after = (1.0 + transform) * (1.0 + gamma(16.0)) - 1.0;
        0.5_f64.sqrt() * (before * largest * (1.0 + after) + after * response(wave))
    }
}
