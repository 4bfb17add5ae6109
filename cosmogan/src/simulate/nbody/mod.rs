//! Convergence maps from an N-body simulation: matter moves under gravity in a periodic box, and light passes through it.
//!
//! | file | what | source |
//! | --- | --- | --- |
//! | `settings` | sizes and universe of a box | |
//! | `fourier` | transforms of real fields on a cubic mesh | |
//! | `initial` | Gaussian field, second-order displacements | Bouchet et al. 1995 |
//! | `particles` | particles in slabs of the box | |
//! | `deposit`, `force` | density on the mesh, acceleration from it | Hockney & Eastwood 1988 |
//! | `steps` | kick and drift factors | Feng et al. 2016 |
//! | `planes` | half boxes seen along their axes | |
//! | `lenses`, `rays` | distances and weights of planes; κ along straight rays | Born approximation |
//! | `storage` | the folder of a box | |
//!
//! All sums are taken in an order that depends on positions and sizes alone: the same settings give the same bits,
//! however many threads run, and whether or not the program was stopped in between, on processors with the same vector
//! instructions: Fourier transforms use the widest there are.

mod deposit;
mod force;
mod fourier;
mod initial;
mod lenses;
mod particles;
mod planes;
mod rays;
mod settings;
mod steps;
mod storage;
mod waves;

use std::ops::Range;
use std::path::{Path, PathBuf};

use force::ForceMesh;
use initial::InitialConditions;
use lenses::{Lens, lenses};
use planes::project;
use rays::{Sky, trace};
use steps::{Epoch, Timeline};
use storage::BoxFolder;

use crate::error::Result;

pub use settings::BoxSettings;
pub use storage::GrowthRecord;

/// Particles are written this often: what a kill can cost is seconds, and a box writes gigabytes, not tens of them.
const STEPS_BETWEEN_STATES: usize = 4;

/// Displacement in cells, root mean square, beyond which the particles' lattice is forgotten and forces are sharpened.
const OFF_THE_LATTICE: f64 = 1.0;

/// A box in a folder: simulated once, seen from as many sides as wanted.
#[derive(Debug)]
pub struct NBodyBox {
    settings: BoxSettings,
    lenses: Vec<Lens>,
    folder: BoxFolder,
}

/// How far a simulation has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Steps done, of all steps of the settings.
    pub steps_done: usize,
    /// The redshift reached.
    pub redshift: f64,
    /// Slabs whose planes are on disk.
    pub slabs_done: usize,
    /// Slabs in all.
    pub slabs: usize,
}

impl NBodyBox {
    /// Opens the box of `settings` in `folder`, or starts it there. Nothing is computed yet.
    ///
    /// # Errors
    /// Where a setting makes no sense, or the folder holds another box or anything else or is in use.
    pub fn open(folder: &Path, settings: &BoxSettings) -> Result<Self> {
        settings.validate()?;
        Ok(Self {
            settings: *settings,
            lenses: lenses(settings),
            folder: BoxFolder::open(folder, settings)?,
        })
    }

    /// The settings of the box in `folder`.
    ///
    /// # Errors
    /// Where no box is there.
    pub fn settings_in(folder: &Path) -> Result<BoxSettings> {
        BoxFolder::settings_in(folder)
    }

    /// The file that says what the box in `folder` holds.
    pub fn manifest_of(folder: &Path) -> PathBuf {
        BoxFolder::manifest_of(folder)
    }

    /// What the box was made from.
    pub fn settings(&self) -> &BoxSettings {
        &self.settings
    }

    /// Bytes that [`NBodyBox::simulate`] will still write at most.
    pub fn bytes_missing(&self) -> u64 {
        self.folder.bytes_missing(self.lenses.len())
    }

    /// Whether nothing but maps is left to make.
    pub fn is_complete(&self) -> bool {
        self.folder.is_complete(self.lenses.len())
    }

    /// Refuses a box whose planes are missing, cut short or damaged: every byte of them is read.
    ///
    /// # Errors
    /// Naming the first such file.
    pub fn verify(&self) -> Result<()> {
        self.folder.verify()
    }

    /// Simulates what is missing of the box. `after_step` is called before the first step and after every one; an error
    /// of it ends the simulation there, with all that was done on disk.
    ///
    /// # Errors
    /// Where a file of the folder cannot be read or written or is damaged, and whatever `after_step` returns.
    pub fn simulate(&mut self, mut after_step: impl FnMut(StepReport) -> Result<()>) -> Result<()> {
        if self.is_complete() {
            return self.folder.remove_leftovers();
        }
        self.folder.check_version()?;
        self.folder.remove_leftovers()?;
        let settings = &self.settings;
        let end = self.lenses[0].scale_factor;
        let start = BoxSettings::FIRST_SCALE_FACTOR;
        let timeline = Timeline::new(&settings.cosmology, start, end, settings.steps);
        let (first, mut particles) = match self.folder.read_state()? {
            Some(state) => state,
            None => {
                let initial = InitialConditions::new(settings, timeline.step(0)[0]);
                self.folder.set_linear(initial.linear);
                (0, initial.particles)
            }
        };
        after_step(self.report(first, timeline.step(first)[0]))?;
        let linear = self.folder.linear();
        let mut force = ForceMesh::new(settings.mesh);
        for step in first..settings.steps {
            force.load(&particles);
            let [start, end] = timeline.step(step);
            let growth = GrowthRecord {
                scale_factor: start.scale_factor,
                over_linear_theory: (force.large_scale_power() / linear.large_scale_power).sqrt()
                    / start.displacement[0],
            };
            let sharp = start.displacement[0] * linear.displacement > OFF_THE_LATTICE;
            force.kick(&mut particles, timeline.kick(step), sharp);
            for slab in self.slabs_passed(step) {
                if self.folder.has_slab(slab) {
                    continue;
                }
                let lens = self.lenses[slab];
                let moment = Epoch::new(&settings.cosmology, lens.scale_factor);
                let drift = timeline.drift(step, &moment);
                let planes = project(&particles, drift, settings.plane_pixels());
                self.folder.write_slab(slab, &lens, &planes)?;
            }
            self.folder.record_growth(step, growth);
            if step + 1 == settings.steps {
                self.folder.finish()?;
                return after_step(self.report(step + 1, end));
            }
            particles.drift(timeline.drift(step, end));
            let outcome = after_step(self.report(step + 1, end));
            if outcome.is_err() || (step + 1).is_multiple_of(STEPS_BETWEEN_STATES) {
                self.folder.write_state(step + 1, &particles)?;
            }
            outcome?;
        }
        Ok(())
    }

    /// Slabs that light leaves behind during step `step`, farthest first.
    fn slabs_passed(&self, step: usize) -> Vec<usize> {
        let first = BoxSettings::FIRST_SCALE_FACTOR;
        let length = (self.lenses[0].scale_factor - first) / self.settings.steps as f64;
        let step_of = |lens: &Lens| {
            let steps = ((lens.scale_factor - first) / length) as usize;
            steps.min(self.settings.steps - 1)
        };
        (0..self.lenses.len())
            .rev()
            .filter(|&slab| step_of(&self.lenses[slab]) == step)
            .collect()
    }

    fn report(&self, steps_done: usize, epoch: &Epoch) -> StepReport {
        let slabs = self.lenses.len();
        StepReport {
            steps_done,
            redshift: 1.0 / epoch.scale_factor - 1.0,
            slabs_done: (0..slabs)
                .filter(|&slab| self.folder.has_slab(slab))
                .count(),
            slabs,
        }
    }

    /// How far the largest waves had grown at the start of each step.
    pub fn growth(&self) -> &[GrowthRecord] {
        self.folder.growth()
    }

    /// −κ of a line of sight on which there is nothing at all: no pixel can lie below minus this.
    pub fn empty_beam(&self) -> f64 {
        self.lenses.iter().map(|lens| lens.weight).sum()
    }

    /// How many maps of `pixels`² to ask for at a time: every call of [`maps`](Self::maps) reads all planes, so that many at
    /// once are good, as far as 256 MB hold them.
    pub fn maps_at_once(pixels: usize) -> u64 {
        const PIXELS: usize = 64 << 20;
        (PIXELS / (pixels * pixels)).max(1) as u64
    }

    /// Maps `range` of `pixels`² on `side_degrees`: each sees every slab along a random axis, shifted and mirrored at
    /// random. Map i is the same map in any range. The box must be complete.
    ///
    /// # Errors
    /// Where the map is too wide for the box, or planes are missing, cut short or damaged.
    pub fn maps(
        &self,
        range: Range<u64>,
        pixels: usize,
        side_degrees: f64,
    ) -> Result<Vec<Vec<f32>>> {
        self.settings.check_map(side_degrees)?;
        let sky = Sky {
            pixels,
            side: side_degrees.to_radians(),
            box_side: self.settings.box_side,
            plane_pixels: self.settings.plane_pixels(),
        };
        trace(&self.lenses, &sky, self.settings.seed, range, |slab| {
            self.folder.read_slab(slab)
        })
    }
}
