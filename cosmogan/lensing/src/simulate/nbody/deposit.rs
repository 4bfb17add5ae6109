//! Cloud-in-cell density of particles on the force mesh.

use rayon::prelude::*;

use super::particles::{Particle, Particles, THICKNESS, cloud};

/// Fills `mesh` with the density ρ/ρ̄ of the particles.
///
/// Particles of a slab add to the planes of their own slab and to the first plane of the next. So all even slabs run in
/// parallel, then all odd ones: every mesh point is summed in the same order for any number of threads.
pub(super) fn deposit(particles: &Particles, mesh: &mut [f32]) {
    let side = particles.mesh();
    let (plane, slab) = (side * side, THICKNESS * side * side);
    let mass = (side as f64).powi(3) / particles.count() as f64;
    mesh.par_chunks_mut(slab).for_each(|part| part.fill(0.0));
    let (even, odd): (Vec<_>, Vec<_>) = (particles.slabs().chunks_exact(2))
        .map(|pair| (&pair[0], &pair[1]))
        .unzip();
    mesh.par_chunks_mut(2 * slab)
        .zip(even)
        .for_each(|(part, particles)| {
            let (own, next) = part.split_at_mut(slab);
            add(particles, side, mass as f32, own, &mut next[..plane]);
        });
    let (first, rest) = mesh.split_at_mut(slab);
    // Periodic: the last slab is followed by the first.
    let mut first = Some(&mut first[..plane]);
    let parts: Vec<_> = rest
        .chunks_mut(2 * slab)
        .map(|part| {
            let (own, next) = part.split_at_mut(slab);
            (own, next.get_mut(..plane).or_else(|| first.take()))
        })
        .collect();
    parts
        .into_par_iter()
        .zip(odd)
        .for_each(|((own, next), particles)| {
            let next = next.expect("only the last part ends with its slab");
            add(particles, side, mass as f32, own, next);
        });
}

/// Adds the particles of one slab, each of mass `mass`, to the mesh.
/// `own` holds the planes of the slab, `next` the plane after them.
fn add(particles: &[Particle], side: usize, mass: f32, own: &mut [f32], next: &mut [f32]) {
    let plane = side * side;
    for particle in particles {
        let [(x, _, upper_x), (y, y_next, upper_y), (z, z_next, upper_z)] =
            particle.position.map(|position| cloud(position, side));
        let x = x % THICKNESS;
        let add_to = |target: &mut [f32], share: f32| {
            let (near, far) = (share * (1.0 - upper_y), share * upper_y);
            target[y * side + z] += near * (1.0 - upper_z);
            target[y * side + z_next] += near * upper_z;
            target[y_next * side + z] += far * (1.0 - upper_z);
            target[y_next * side + z_next] += far * upper_z;
        };
        add_to(&mut own[x * plane..][..plane], mass * (1.0 - upper_x));
        if x + 1 < THICKNESS {
            add_to(&mut own[(x + 1) * plane..][..plane], mass * upper_x);
        } else {
            add_to(next, mass * upper_x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mass_is_kept_and_lies_where_the_particles_are() {
        let at = |position: [f32; 3]| Particle {
            position,
            momentum: [0.0; 3],
        };
        // The second particle reaches across three faces of the box; one particle each is in an odd and an even slab.
        let all = [
            at([3.25, 4.0, 5.0]),
            at([31.5, 31.5, 31.5]),
            at([15.0, 0.0, 0.0]),
        ];
        let mut mesh = vec![1.0; 32 * 32 * 32];
        deposit(&Particles::new(32, all.into_iter()), &mut mesh);
        let mass = 32_f32.powi(3) / 3.0;
        let point = |x: usize, y: usize, z: usize| mesh[(x * 32 + y) * 32 + z] / mass;
        assert_eq!(point(3, 4, 5), 0.75);
        assert_eq!(point(4, 4, 5), 0.25);
        assert_eq!(point(15, 0, 0), 1.0);
        for corner in 0..8 {
            let end = |bit: usize| if corner >> bit & 1 == 1 { 31 } else { 0 };
            assert_eq!(point(end(0), end(1), end(2)), 0.125, "{corner}");
        }
        let total: f64 = mesh.iter().map(|&value| f64::from(value)).sum();
        approx::assert_relative_eq!(total, 32_f64.powi(3), max_relative = 1e-6);
    }
}
