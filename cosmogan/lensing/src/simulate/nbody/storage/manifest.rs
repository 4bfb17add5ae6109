//! `manifest.json`: content of a box folder and the settings it was made from.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::initial::LinearField;
use super::super::particles::THICKNESS;
use super::super::planes::PLANES;
use super::super::settings::BoxSettings;
use super::PARTICLE;
use crate::data::npy_header;
use cosmogan_base::{Error, Result};

/// Format version; changes whenever the meaning of a file changes.
const FORMAT: &str = "cosmogan box 2";

/// Record of a file: enough to detect truncation and damage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct FileRecord {
    pub(in super::super) file: String,
    pub(in super::super) bytes: u64,
    pub(in super::super) sha256: String,
}

/// Record of the lens planes of one slab.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct SlabRecord {
    /// Index of the slab; 0 is the nearest.
    pub(in super::super) slab: usize,
    /// Comoving distance of its midpoint in Mpc/h.
    pub(in super::super) distance: f64,
    /// Scale factor at which light passes it.
    pub(in super::super) scale_factor: f64,
    #[serde(flatten)]
    pub(in super::super) planes: FileRecord,
}

/// Growth of the large-scale modes relative to linear theory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GrowthRecord {
    /// Scale factor a.
    pub scale_factor: f64,
    /// RMS of the large-scale modes over that of the linearly grown initial field.
    pub over_linear_theory: f64,
}

/// Record of the particles saved between two steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct StateRecord {
    /// Number of completed steps.
    pub(in super::super) steps_done: usize,
    #[serde(flatten)]
    pub(in super::super) particles: FileRecord,
}

/// Content of `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct Manifest {
    format: String,
    /// Version of the program that started the box.
    pub(in super::super) version: String,
    pub(in super::super) settings: BoxSettings,
    /// Properties of the initial field.
    pub(in super::super) linear: LinearField,
    /// Finished slabs, in the order in which light passes them.
    pub(in super::super) slabs: Vec<SlabRecord>,
    /// Growth at the start of each completed step.
    pub(in super::super) growth: Vec<GrowthRecord>,
    /// Saved particles; none before the first step and after all slabs are finished.
    pub(in super::super) state: Option<StateRecord>,
}

impl Manifest {
    pub(in super::super) fn new(settings: BoxSettings) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings,
            linear: LinearField::default(),
            slabs: Vec::new(),
            growth: Vec::new(),
            state: None,
        }
    }

    /// Name of the file with the planes of `slab`.
    pub(super) fn slab_file(slab: usize) -> String {
        format!("slab-{slab:03}.npy")
    }

    /// Name of the file with the particles after `steps_done` steps.
    pub(super) fn state_file(steps_done: usize) -> String {
        format!("state-{steps_done:03}.bin")
    }

    /// Bytes of a file of planes.
    fn slab_bytes(&self) -> u64 {
        let pixels = self.settings.plane_pixels();
        let header = npy_header("<f2", &[PLANES, pixels, pixels]);
        (header.len() + PLANES * pixels * pixels * size_of::<u16>()) as u64
    }

    /// Bytes of a file of particles.
    fn state_bytes(&self) -> u64 {
        let slabs = self.settings.mesh / THICKNESS;
        (slabs * size_of::<u64>() + self.settings.particles.pow(3) * PARTICLE) as u64
    }

    /// The first entry that this program cannot have written.
    ///
    /// Files are known by name and length, so that a manifest cannot name a file outside the folder of its box.
    fn problem(&self) -> Option<String> {
        if let Err(error) = self.settings.validate() {
            return Some(error.to_string());
        }
        let listed = self
            .slabs
            .iter()
            .map(|slab| (&slab.planes, Self::slab_file(slab.slab), self.slab_bytes()));
        let state = self.state.iter().map(|state| {
            (
                &state.particles,
                Self::state_file(state.steps_done),
                self.state_bytes(),
            )
        });
        for (record, name, bytes) in listed.chain(state) {
            if record.file != name {
                return Some(format!("it lists {:?} in place of {name}", record.file));
            }
            if record.bytes != bytes {
                return Some(format!(
                    "it lists {name} with {} bytes, but this box has {bytes}",
                    record.bytes
                ));
            }
        }
        let mut slabs: Vec<usize> = self.slabs.iter().map(|slab| slab.slab).collect();
        slabs.sort_unstable();
        if let Some(pair) = slabs.windows(2).find(|pair| pair[0] == pair[1]) {
            return Some(format!("it lists slab {} twice", pair[0]));
        }
        let steps = self.settings.steps;
        if self.growth.len() > steps {
            let entries = self.growth.len();
            return Some(format!("it has growth at {entries} of {steps} steps"));
        }
        self.state
            .as_ref()
            .filter(|state| state.steps_done >= steps)
            .map(|state| {
                format!(
                    "it has particles after {} of {steps} steps",
                    state.steps_done
                )
            })
    }

    pub(super) fn parse(path: &Path, text: &str) -> Result<Self> {
        let damaged = |problem: String| {
            Error::file(
                path,
                problem,
                "name another folder with --box, or remove this one to start over",
            )
        };
        #[derive(Deserialize)]
        struct Header {
            format: String,
        }
        let header: Header = serde_json::from_str(text)
            .map_err(|error| damaged(format!("is not the manifest of a box: {error}")))?;
        if header.format != FORMAT {
            return Err(damaged(format!(
                "has the format `{}`, but this program reads `{FORMAT}`",
                header.format
            )));
        }
        let manifest: Self =
            serde_json::from_str(text).map_err(|error| damaged(format!("is damaged: {error}")))?;
        match manifest.problem() {
            None => Ok(manifest),
            Some(problem) => Err(damaged(format!("is damaged: {problem}"))),
        }
    }

    /// Rejects a box made from other settings; the error names the first that differs.
    pub(super) fn check_settings(&self, path: &Path, wanted: &BoxSettings) -> Result<()> {
        match self.settings.difference(wanted) {
            None => Ok(()),
            Some((flag, theirs, ours)) => Err(Error::file(
                path,
                format!("belongs to a box with {flag} {theirs}, not {ours}"),
                format!("name another folder with --box, or use {flag} {theirs}"),
            )),
        }
    }
}
