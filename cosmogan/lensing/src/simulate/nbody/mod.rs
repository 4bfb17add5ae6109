//! Convergence maps from a particle-mesh N-body simulation.
//!
//! Matter moves in a periodic box; rays are traced in the Born approximation.
//!
//! | file | content | source |
//! | --- | --- | --- |
//! | `settings` | size and cosmology of a box | |
//! | `fourier` | FFTs of real fields on a cubic mesh | |
//! | `initial` | Gaussian field, 2LPT displacements | Bouchet et al. 1995 |
//! | `particles` | particles in slabs of the box | |
//! | `deposit`, `force` | density on the mesh and the acceleration from it | Hockney & Eastwood 1988 |
//! | `steps` | kick and drift factors | Feng et al. 2016 |
//! | `planes` | lens planes: half boxes projected along their axes | |
//! | `lenses`, `rays` | distances and weights of planes; κ along straight rays | Born approximation |
//! | `storage` | folder of a box | |
//!
//! All sums are taken in an order that depends on positions and sizes alone. The same settings give the same bits, for
//! any number of threads and with or without interruptions, on CPUs with the same vector instructions (the FFTs use the
//! widest available).

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

use cosmogan_base::Result;

pub use settings::BoxSettings;
pub use storage::GrowthRecord;

/// Steps between saved states.
/// A kill costs seconds, and a box writes gigabytes rather than tens of them.
const STEPS_BETWEEN_STATES: usize = 4;

/// RMS displacement in cells above which forces are sharpened.
/// Beyond it the initial lattice no longer matters.
const OFF_THE_LATTICE: f64 = 1.0;

/// An N-body box in a folder: simulated once, then used for any number of maps.
#[derive(Debug)]
pub struct NBodyBox {
    settings: BoxSettings,
    lenses: Vec<Lens>,
    folder: BoxFolder,
}

/// Progress of a simulation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Steps completed, of the steps in the settings.
    pub steps_done: usize,
    /// Redshift reached.
    pub redshift: f64,
    /// Slabs whose planes have been written.
    pub slabs_done: usize,
    /// Total number of slabs.
    pub slabs: usize,
}

impl NBodyBox {
    /// Opens the box of `settings` in `folder`, or starts a new one there.
    ///
    /// Nothing is computed yet.
    ///
    /// # Errors
    /// If a setting is invalid, the folder contains another box or unrelated files, or it is in use.
    pub fn open(folder: &Path, settings: &BoxSettings) -> Result<Self> {
        settings.validate()?;
        Ok(Self {
            settings: *settings,
            lenses: lenses(settings),
            folder: BoxFolder::open(folder, settings)?,
        })
    }

    /// Reads the settings of the box in `folder`.
    ///
    /// # Errors
    /// If there is no box, or its manifest is damaged.
    pub fn settings_in(folder: &Path) -> Result<BoxSettings> {
        BoxFolder::settings_in(folder)
    }

    /// Path of the manifest of the box in `folder`.
    pub fn manifest_of(folder: &Path) -> PathBuf {
        BoxFolder::manifest_of(folder)
    }

    /// Settings of the box.
    pub fn settings(&self) -> &BoxSettings {
        &self.settings
    }

    /// Upper limit for the bytes that [`NBodyBox::simulate`] has yet to write.
    pub fn bytes_missing(&self) -> u64 {
        self.folder.bytes_missing(self.lenses.len())
    }

    /// Whether the simulation is complete.
    pub fn is_complete(&self) -> bool {
        self.folder.is_complete(self.lenses.len())
    }

    /// Reads all planes and compares them with their hashes.
    ///
    /// # Errors
    /// If a file is missing, truncated or damaged; the error names the first.
    pub fn verify(&self) -> Result<()> {
        self.folder.verify()
    }

    /// Simulates the missing part of the box.
    ///
    /// `after_step` is called before the first step and after each step; if it returns an error, the simulation stops
    /// there with its state saved.
    ///
    /// # Errors
    /// If a file cannot be read or written or is damaged, and any error of `after_step`.
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

    /// Slabs that light passes during step `step`, farthest first.
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

    /// Growth of the large-scale modes at the start of each step.
    pub fn growth(&self) -> &[GrowthRecord] {
        self.folder.growth()
    }

    /// −κ of a line of sight through empty space: no pixel lies below its negative.
    pub fn empty_beam(&self) -> f64 {
        self.lenses.iter().map(|lens| lens.weight).sum()
    }

    /// Recommended number of maps of `pixels`² per call of [`maps`](Self::maps).
    ///
    /// Each call reads all planes, so many maps at once are better; the limit is 256 MB of maps.
    pub fn maps_at_once(pixels: usize) -> u64 {
        const PIXELS: usize = 64 << 20;
        (PIXELS / (pixels * pixels)).max(1) as u64
    }

    /// Computes maps `range` of `pixels`² with a side of `side_degrees`, row by row.
    ///
    /// A map sees every slab along a random axis, randomly shifted and mirrored. Map i does not depend on the range.
    /// The box must be complete.
    ///
    /// # Errors
    /// If the map is too wide for the box, or planes are missing, truncated or damaged.
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
