//! Particles, stored in slabs of the box.
//!
//! Threads that work on different slabs share neither a particle nor a mesh point.
//!
//! Positions are in cells of the force mesh, momenta too: p = a²·dx/dt·(1/H₀). Slab i holds the particles with ⌊x/8⌋ =
//! i, sorted by mesh row. The slabs and the order within them depend on positions alone, never on the number of
//! threads; so do all sums over particles.

use rayon::prelude::*;

/// Thickness of a slab in mesh planes. A mesh has at least two slabs.
pub(super) const THICKNESS: usize = 8;

/// Position and momentum of a particle.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Particle {
    /// Position in cells, in [0, n).
    pub(super) position: [f32; 3],
    /// Momentum a³·E(a)·dx/da in cells.
    pub(super) momentum: [f32; 3],
}

/// All particles of a box.
#[derive(Debug, PartialEq)]
pub(super) struct Particles {
    mesh: usize,
    slabs: Vec<Vec<Particle>>,
}

impl Particles {
    /// Distributes `particles` over the slabs of a mesh of `mesh`³ cells.
    pub(super) fn new(mesh: usize, particles: impl Iterator<Item = Particle>) -> Self {
        let mut slabs = vec![Vec::new(); mesh / THICKNESS];
        for particle in particles {
            slabs[slab_of(&particle)].push(particle);
        }
        let mut particles = Self { mesh, slabs };
        particles.sort();
        particles
    }

    /// Restores particles from slabs that were saved before.
    pub(super) fn from_slabs(mesh: usize, slabs: Vec<Vec<Particle>>) -> Self {
        Self { mesh, slabs }
    }

    /// Cells on a side of the mesh.
    pub(super) fn mesh(&self) -> usize {
        self.mesh
    }

    pub(super) fn slabs(&self) -> &[Vec<Particle>] {
        &self.slabs
    }

    pub(super) fn slabs_mut(&mut self) -> &mut [Vec<Particle>] {
        &mut self.slabs
    }

    pub(super) fn count(&self) -> usize {
        self.slabs.iter().map(Vec::len).sum()
    }

    /// Moves every particle by `factor` times its momentum.
    pub(super) fn drift(&mut self, factor: f32) {
        let (mesh, slabs) = (self.mesh, self.slabs.len());
        // Particles that leave their slab, by source and destination.
        let leaving: Vec<Vec<Vec<Particle>>> = self
            .slabs
            .par_iter_mut()
            .enumerate()
            .map(|(home, slab)| {
                let mut leaving = vec![Vec::new(); slabs];
                slab.retain_mut(|particle| {
                    particle.position = particle.drifted(factor, mesh);
                    let destination = slab_of(particle);
                    if destination != home {
                        leaving[destination].push(*particle);
                    }
                    destination == home
                });
                leaving
            })
            .collect();
        self.slabs
            .par_iter_mut()
            .enumerate()
            .for_each(|(destination, slab)| {
                for from in &leaving {
                    slab.extend_from_slice(&from[destination]);
                }
            });
        self.sort();
    }

    /// Sorts each slab by mesh row, so that particles close in memory are close on the mesh.
    fn sort(&mut self) {
        let mesh = self.mesh;
        self.slabs.par_iter_mut().for_each_init(
            Vec::new,
            |sorted: &mut Vec<Particle>, slab: &mut Vec<Particle>| {
                let row = |particle: &Particle| {
                    particle.position[0] as usize % THICKNESS * mesh + particle.position[1] as usize
                };
                let mut next = vec![0_u32; THICKNESS * mesh + 1];
                for particle in slab.iter() {
                    next[row(particle) + 1] += 1;
                }
                for index in 1..next.len() {
                    next[index] += next[index - 1];
                }
                sorted.clear();
                sorted.resize(slab.len(), Particle::default());
                for particle in slab.iter() {
                    let place = &mut next[row(particle)];
                    sorted[*place as usize] = *particle;
                    *place += 1;
                }
                std::mem::swap(slab, sorted);
            },
        );
    }
}

impl Particle {
    /// Whether the position is in `slab` of a mesh of `mesh`³ cells and the momentum is finite.
    pub(super) fn is_in_slab(&self, slab: usize, mesh: usize) -> bool {
        let inside = |&position: &f32| position >= 0.0 && position < mesh as f32;
        self.position.iter().all(inside)
            && slab_of(self) == slab
            && self.momentum.iter().all(|momentum| momentum.is_finite())
    }

    /// Position after moving by `factor` times the momentum.
    /// The mesh is periodic with `mesh` cells on a side.
    pub(super) fn drifted(&self, factor: f32, mesh: usize) -> [f32; 3] {
        let side = mesh as f32;
        [0, 1, 2].map(|axis| wrapped(self.position[axis] + factor * self.momentum[axis], side))
    }
}

/// Wraps `position` into [0, side), from any distance.
/// With few steps in a small box, a particle can cross it twice.
pub(super) fn wrapped(position: f32, side: f32) -> f32 {
    let inside = if position >= 0.0 && position < side {
        position
    } else {
        // Adding zero turns a negative zero into a positive one.
        position.rem_euclid(side) + 0.0
    };
    // A tiny negative number plus the side rounds to the side.
    if inside < side { inside } else { 0.0 }
}

fn slab_of(particle: &Particle) -> usize {
    particle.position[0] as usize / THICKNESS
}

/// Cloud-in-cell weights along one axis.
/// Returns the indices of the lower and the upper cell, and the weight of the upper one.
#[inline(always)]
pub(super) fn cloud(position: f32, mesh: usize) -> (usize, usize, f32) {
    let lower = position as usize;
    let upper = if lower + 1 == mesh { 0 } else { lower + 1 };
    (lower, upper, position - lower as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn particles_that_leave_wrap_around() {
        let particle = |x: f32, velocity: f32| Particle {
            position: [x, 3.5, 31.999_998],
            momentum: [velocity, 0.0, 4e-6],
        };
        let all = [
            particle(0.5, -2.0),
            particle(31.5, 1.0),
            particle(12.0, 9.0),
        ];
        let mut particles = Particles::new(32, all.into_iter());
        particles.drift(1.0);
        let slabs: Vec<usize> = particles.slabs().iter().map(Vec::len).collect();
        assert_eq!(slabs, [1, 0, 1, 1]);
        let position = |slab: usize| particles.slabs()[slab][0].position;
        assert_eq!(position(0)[..2], [0.5, 3.5]);
        assert_eq!(position(3)[..2], [30.5, 3.5]);
        assert!(position(0)[2] < 1e-5);
        assert_eq!(wrapped(-1e-9, 32.0), 0.0);
    }

    #[test]
    fn wrapping_works_beyond_one_box() {
        let side = 32.0;
        for position in [2.5 * side, -1.5 * side, 0.5 * side] {
            assert_eq!(wrapped(position, side), 0.5 * side, "{position}");
        }
        for position in [side, -side, 3.0 * side, -2.0 * side] {
            assert_eq!(wrapped(position, side).to_bits(), 0, "{position}");
        }
        // Wrapping once rounds once.
        for position in [32.3_f32, 63.999_996, -0.1, -31.7] {
            let once = position - side.copysign(position);
            assert_eq!(wrapped(position, side).to_bits(), once.to_bits());
        }
        let particle = Particle {
            position: [1.0, 2.0, 3.0],
            momentum: [2.5 * side, -1.5 * side, -4.0 * side],
        };
        let mut particles = Particles::new(32, [particle].into_iter());
        particles.drift(1.0);
        assert_eq!(particles.slabs()[2][0].position, [17.0, 18.0, 3.0]);
    }
}
