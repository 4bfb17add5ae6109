//! Settings of a box and their limits.

use serde::{Deserialize, Serialize};

use super::super::cosmology::Cosmology;
use super::particles::{Particle, THICKNESS};
use cosmogan_base::{Error, Result};

/// Pixels of a lens plane per cell of the force mesh along each axis.
/// Several, so that planes do not blur structure that the mesh resolves.
const PLANE_PIXELS_PER_CELL: usize = 4;

/// All settings that determine the planes of a box.
///
/// Equal settings give equal planes, bit for bit, on CPUs with the same vector instructions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BoxSettings {
    /// Cosmological parameters.
    pub cosmology: Cosmology,
    /// z_s: redshift of the sources.
    pub source_redshift: f64,
    /// Seed of the initial field.
    pub seed: u64,
    /// Particles along a side.
    pub particles: usize,
    /// Points of the force mesh along a side.
    pub mesh: usize,
    /// Side of the periodic box in Mpc/h.
    pub box_side: f64,
    /// Steps from [`BoxSettings::FIRST_SCALE_FACTOR`] to the epoch of the nearest lens plane.
    pub steps: usize,
}

impl Default for BoxSettings {
    fn default() -> Self {
        Self {
            cosmology: Cosmology::default(),
            source_redshift: 1.0,
            seed: 0,
            particles: 256,
            mesh: 512,
            box_side: 128.0,
            steps: 80,
        }
    }
}

impl BoxSettings {
    /// Scale factor of the initial conditions (redshift 9).
    pub const FIRST_SCALE_FACTOR: f64 = 0.1;

    /// Returns a smaller box that takes seconds instead of minutes.
    pub fn quick() -> Self {
        Self {
            particles: 64,
            mesh: 128,
            steps: 12,
            ..Self::default()
        }
    }

    /// Pixels on a side of a lens plane.
    pub fn plane_pixels(&self) -> usize {
        PLANE_PIXELS_PER_CELL * self.mesh
    }

    /// Checks that a map of `side_degrees` is not too wide for the box.
    ///
    /// It must fit into the box at half the distance to the source, where lenses have the largest weight.
    ///
    /// # Errors
    /// If it is too wide; the error names the flag of `cosmogan simulate`.
    pub fn check_map(&self, side_degrees: f64) -> Result<()> {
        let source = self.cosmology.comoving_distance(self.source_redshift);
        let widest = (self.box_side / (0.5 * source)).to_degrees();
        if side_degrees > 0.0 && side_degrees <= widest {
            return Ok(());
        }
        Err(Error::usage(
            "--side-degrees",
            format!(
                "{side_degrees} is out of range for a box of {} Mpc/h",
                self.box_side
            ),
            format!("give a number above 0 and up to {widest:.2}, or a larger --box-side"),
        ))
    }

    /// Checks that the simulation fits into `memory` bytes.
    ///
    /// It holds three real arrays of the mesh, and the particles twice while they are written. The actual use is
    /// slightly higher.
    ///
    /// # Errors
    /// If it does not fit; the error names the flag of `cosmogan simulate`.
    pub fn check_memory(&self, memory: u64) -> Result<()> {
        let mesh = 3 * size_of::<f32>() as u64 * (self.mesh as u64).pow(3);
        let particles = 2 * size_of::<Particle>() as u64 * (self.particles as u64).pow(3);
        if mesh + particles <= memory {
            return Ok(());
        }
        let (flag, value) = if mesh > particles {
            ("--mesh", self.mesh)
        } else {
            ("--particles", self.particles)
        };
        let gigabytes = |bytes: u64| bytes as f64 / 1e9;
        Err(Error::usage(
            flag,
            format!(
                "with {value} the box needs {:.1} GB of memory, but this machine has {:.1} GB",
                gigabytes(mesh + particles),
                gigabytes(memory)
            ),
            "use a smaller --mesh or fewer --particles",
        ))
    }

    /// Returns the first setting that differs from `other`.
    ///
    /// The result is its flag, the value here, and the value there.
    pub fn difference(&self, other: &Self) -> Option<(&'static str, String, String)> {
        let (here, there) = (&self.cosmology, &other.cosmology);
        let numbers = [
            ("--omega-m", here.omega_m, there.omega_m),
            ("--omega-b", here.omega_b, there.omega_b),
            ("--hubble", here.hubble, there.hubble),
            ("--sigma8", here.sigma8, there.sigma8),
            (
                "--spectral-index",
                here.spectral_index,
                there.spectral_index,
            ),
            ("--dark-energy-w", here.dark_energy, there.dark_energy),
            (
                "--source-redshift",
                self.source_redshift,
                other.source_redshift,
            ),
            ("--box-side", self.box_side, other.box_side),
        ];
        let counts = [
            ("--seed", self.seed, other.seed),
            ("--particles", self.particles as u64, other.particles as u64),
            ("--mesh", self.mesh as u64, other.mesh as u64),
            ("--steps", self.steps as u64, other.steps as u64),
        ];
        let numbers = numbers
            .iter()
            .filter(|(_, here, there)| here != there)
            .map(|(flag, here, there)| (*flag, here.to_string(), there.to_string()));
        let counts = counts
            .iter()
            .filter(|(_, here, there)| here != there)
            .map(|(flag, here, there)| (*flag, here.to_string(), there.to_string()));
        numbers.chain(counts).next()
    }

    /// Checks that all settings are in their supported ranges.
    ///
    /// # Errors
    /// If a setting is out of range; the error names the flag of `cosmogan simulate`.
    pub fn validate(&self) -> Result<()> {
        self.cosmology.validate()?;
        let refuse = |flag: &str, value: String, remedy: String| {
            Err(Error::usage(
                flag,
                format!("{value} is out of range"),
                remedy,
            ))
        };
        // Initial conditions are at redshift 9; sources must be well within it.
        if !(0.05..=5.0).contains(&self.source_redshift) {
            return refuse(
                "--source-redshift",
                self.source_redshift.to_string(),
                "give a number from 0.05 to 5".to_owned(),
            );
        }
        if !(16..=2048).contains(&self.mesh) || !self.mesh.is_multiple_of(2 * THICKNESS) {
            return refuse(
                "--mesh",
                self.mesh.to_string(),
                format!("give a multiple of {} from 16 to 2048", 2 * THICKNESS),
            );
        }
        if !(8..=self.mesh).contains(&self.particles) || !self.particles.is_multiple_of(2) {
            return refuse(
                "--particles",
                self.particles.to_string(),
                format!("give an even number from 8 to --mesh, {}", self.mesh),
            );
        }
        if !(16.0..=4096.0).contains(&self.box_side) {
            return refuse(
                "--box-side",
                self.box_side.to_string(),
                "give a number from 16 to 4096 (Mpc/h)".to_owned(),
            );
        }
        if !(1..=1000).contains(&self.steps) {
            return refuse(
                "--steps",
                self.steps.to_string(),
                "give a number from 1 to 1000".to_owned(),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_larger_than_memory_is_refused_by_what_takes_most_of_it() {
        let refused = |particles: usize, mesh: usize, memory: u64| {
            let settings = BoxSettings {
                particles,
                mesh,
                ..BoxSettings::default()
            };
            settings
                .check_memory(memory)
                .err()
                .map(|error| error.to_string())
        };
        // 12·512³ and 48·256³ bytes.
        assert_eq!(refused(256, 512, 2_415_919_104), None);
        let mesh = refused(256, 512, 2_415_919_103).expect("a byte too little");
        assert!(mesh.starts_with("--mesh: with 512"), "{mesh}");
        let particles = refused(512, 512, 4_000_000_000).expect("8 GB");
        assert!(particles.starts_with("--particles"), "{particles}");
    }
}
