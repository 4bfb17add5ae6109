//! Selection of the best generator of a run. Near the end of a run updates are unstable and losses say little, so that
//! generators are scored by the power spectra of their maps (paper, section 2.3) and the best one is kept.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::checkpoint::{DataIdentity, RunIdentity};
use crate::data::{MapFile, Survey};
use crate::error::{Error, Result};
use crate::model::latents::normals;
use crate::model::network::Network;
use crate::model::sampler::generate;
use crate::model::weights;
use crate::rng::Purpose;
use crate::stats::{ChiSquared, PowerSpectrum};

/// Maps read or generated at a time. The spectra of one batch are measured while the next one is generated.
const BATCH: usize = 64;
/// Side of a map. The distance does not depend on it.
const SIDE_DEGREES: f64 = 1.0;

/// When and how generators are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectionOptions {
    /// Passes over the data at the end of the run in which generators are scored.
    pub epochs: u64,
    /// Steps between scores.
    pub every: u64,
    /// Maps generated for each score; the paper uses 6,400.
    pub maps: usize,
}

/// The entry `selection` in the `cosmogan.config` of `best.safetensors`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Selected {
    /// χ² distance of its spectra to the development maps', 0 to 1; see [`ChiSquared::distance`].
    pub score: f64,
    /// Number of steps after which it was scored.
    pub step: u64,
    /// Number of maps generated for the score.
    pub maps: usize,
    /// The development maps.
    pub development: DataIdentity,
}

impl Selected {
    /// Reads the entry from `path`, a `best.safetensors`.
    ///
    /// # Errors
    /// If the file cannot be read or has no such entry.
    pub fn read(path: &Path) -> Result<Self> {
        let selected = weights::entry(path, SELECTION_ENTRY)?;
        selected.ok_or_else(|| Error::file(path, "does not say how it was chosen", REMEDY))
    }
}

/// The entry of a configuration that holds [`Selected`].
pub(crate) const SELECTION_ENTRY: &str = "selection";

/// Remedy for a best generator that was chosen with other options.
const REMEDY: &str = "use that run's --select options, or move this file away";

/// Scores generators and keeps the best one.
#[derive(Debug)]
pub struct Selection {
    options: SelectionOptions,
    development: DataIdentity,
    power: PowerSpectrum,
    reference: ChiSquared,
    seed: u64,
    best: Option<Selected>,
}

impl Selection {
    /// Prepares to score by `development` maps, and continues from the best generator in the file at `path`, if there
    /// is one. `seed` is that of the latents, which are the same for every generator.
    ///
    /// # Errors
    /// If there are fewer than two development maps, they do not have the model's size, or the generator in the file
    /// was chosen with other options.
    pub fn new(
        options: SelectionOptions,
        development: &MapFile,
        output_size: usize,
        seed: u64,
        path: &Path,
    ) -> Result<Self> {
        if [development.height(), development.width()] != [output_size; 2] {
            return Err(Error::file(
                development.path(),
                format!(
                    "holds maps of {}×{} pixels; the model makes {output_size}×{output_size}",
                    development.height(),
                    development.width()
                ),
                "give --select maps of the model's size",
            ));
        }
        if development.count() < 2 {
            return Err(Error::file(
                development.path(),
                "holds a single map: spectra are compared over an ensemble",
                "give --select at least two maps, preferably a thousand",
            ));
        }
        let edges = PowerSpectrum::default_edges(output_size, SIDE_DEGREES);
        let power = PowerSpectrum::new(output_size, SIDE_DEGREES, edges)?;
        let survey = Survey::of(development)?;
        let mut spectra = Vec::with_capacity(development.count());
        for first in (0..development.count()).step_by(BATCH) {
            let last = (first + BATCH).min(development.count());
            let maps = development.read_maps(first..last)?;
            let maps: Vec<&[f32]> = maps.chunks_exact(output_size * output_size).collect();
            spectra.append(&mut power.measure_all(&maps));
        }
        let reference = ChiSquared::new(&spectra.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let mut selection = Self {
            options,
            development: DataIdentity::of(development, &survey)?,
            power,
            reference,
            seed,
            best: None,
        };
        if path.exists() {
            selection.best = Some(selection.earlier(path)?);
        }
        Ok(selection)
    }

    /// The best generator of an interrupted run. Repeated steps have the same scores.
    fn earlier(&self, path: &Path) -> Result<Selected> {
        let found = Selected::read(path)?;
        if found.development != self.development || found.maps != self.options.maps {
            let problem = format!(
                "was chosen by {} maps against {} development maps, not by {} against these {}",
                found.maps, found.development.count, self.options.maps, self.development.count
            );
            return Err(Error::file(path, problem, REMEDY));
        }
        Ok(found)
    }

    /// Whether the generator after step `done` of `total` must be scored; `per_epoch` is the number of steps per epoch.
    pub fn is_due(&self, done: u64, total: u64, per_epoch: u64) -> bool {
        let last_steps = self.options.epochs.saturating_mul(per_epoch);
        let left = total - done;
        left < last_steps && left.is_multiple_of(self.options.every)
    }

    /// The best generator so far.
    pub fn best(&self) -> Option<&Selected> {
        self.best.as_ref()
    }

    /// The identity of the development maps.
    pub fn development(&self) -> &DataIdentity {
        &self.development
    }

    /// Scores `generator` after step `step` of `run`, and saves it to `path` if it is the best so far.
    ///
    /// # Errors
    /// If the device fails or the file cannot be written.
    pub fn consider(
        &mut self,
        generator: &Network,
        step: u64,
        run: &RunIdentity,
        path: &Path,
    ) -> Result<f64> {
        let score = self.score(generator)?;
        if self.best.as_ref().is_none_or(|best| score < best.score) {
            let selected = Selected {
                score,
                step,
                maps: self.options.maps,
                development: self.development.clone(),
            };
            let chosen = (SELECTION_ENTRY, serde_json::json!(selected));
            weights::save_with(generator, path, [chosen].into_iter().chain(run.entries()))?;
            self.best = Some(selected);
        }
        Ok(score)
    }

    fn score(&self, generator: &Network) -> Result<f64> {
        let config = generator.config();
        let size = config.output_size * config.output_size;
        let mut spectra: Vec<Vec<f64>> = Vec::with_capacity(self.options.maps);
        let mut waiting: Vec<f32> = Vec::new();
        for first in (0..self.options.maps).step_by(BATCH) {
            let last = (first + BATCH).min(self.options.maps);
            let latents: Vec<f32> = (first..last)
                .flat_map(|map| {
                    let purpose = Purpose::SelectionLatents;
                    normals(self.seed, purpose, map as u64, config.z_dim)
                })
                .collect();
            let mut measured = Vec::new();
            let generated = rayon::in_place_scope(|scope| {
                scope.spawn(|_| measured = self.measure(&waiting, size));
                generate(generator, &latents)
            })?;
            spectra.append(&mut measured);
            waiting = generated;
        }
        spectra.append(&mut self.measure(&waiting, size));
        let rows: Vec<&[f64]> = spectra.iter().map(Vec::as_slice).collect();
        Ok(self.reference.distance(&rows))
    }

    fn measure(&self, maps: &[f32], size: usize) -> Vec<Vec<f64>> {
        self.power
            .measure_all(&maps.chunks_exact(size).collect::<Vec<_>>())
    }
}
