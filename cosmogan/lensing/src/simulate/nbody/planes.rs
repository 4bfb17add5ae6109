//! Lens planes: half boxes projected along their axes.

use rayon::prelude::*;

use super::particles::{Particles, cloud};

/// Planes per epoch: three axes times the near and the far half of the box.
pub(super) const PLANES: usize = 6;

/// Projects particles that have drifted by `drift` times their momenta.
/// Returns ρ/ρ̄ of each half box as [`PLANES`] planes of `pixels`², one after the other; plane 2·axis + half.
///
/// The first axis of a plane is the box axis after the projected one, cyclically; the second is the one after that.
pub(super) fn project(particles: &Particles, drift: f32, pixels: usize) -> Vec<f32> {
    let mesh = particles.mesh();
    let mut planes = vec![0.0; PLANES * pixels * pixels];
    let finer = (pixels / mesh) as f32;
    let mass = (pixels * pixels) as f64 / (0.5 * particles.count() as f64);
    planes
        .par_chunks_exact_mut(pixels * pixels)
        .enumerate()
        .for_each(|(number, plane)| {
            let (axis, half) = (number / 2, number % 2);
            let (first, second) = match axis {
                0 => (1, 2),
                1 => (2, 0),
                _ => (0, 1),
            };
            for particle in particles.slabs().iter().flatten() {
                let position = particle.drifted(drift, mesh);
                if (position[axis] >= 0.5 * mesh as f32) != (half == 1) {
                    continue;
                }
                let (row, next_row, upper) = cloud(finer * position[first], pixels);
                let (column, next_column, right) = cloud(finer * position[second], pixels);
                let (above, below) = (mass as f32 * (1.0 - upper), mass as f32 * upper);
                plane[row * pixels + column] += above * (1.0 - right);
                plane[row * pixels + next_column] += above * right;
                plane[next_row * pixels + column] += below * (1.0 - right);
                plane[next_row * pixels + next_column] += below * right;
            }
        });
    planes
}

#[cfg(test)]
mod tests {
    use super::super::particles::Particle;
    use super::*;

    #[test]
    fn a_particle_shows_in_the_half_it_drifts_into_along_each_axis() {
        let particle = Particle {
            position: [7.5, 1.0, 12.5],
            momentum: [1.0, 0.0, 4.0],
        };
        let mesh = 16;
        let pixels = 64;
        let particles = Particles::new(mesh, [particle].into_iter());
        // The particle moves to [8.5, 1.0, 0.5].
        let planes = project(&particles, 1.0, pixels);
        let mass = (pixels * pixels) as f32 / 0.5;
        for (number, row, column) in [(1, 4, 2), (2, 2, 34), (4, 34, 4)] {
            assert_eq!(
                planes[(number * pixels + row) * pixels + column],
                mass,
                "{number}"
            );
        }
        assert_eq!(planes.iter().sum::<f32>(), 3.0 * mass);
    }
}
