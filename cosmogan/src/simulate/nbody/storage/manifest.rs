//! `manifest.json`: what a box folder holds, and what it was made from.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::initial::LinearField;
use super::super::settings::BoxSettings;
use crate::error::{Error, Result};

/// Changes whenever files of an older program mean something else to a newer one.
const FORMAT: &str = "cosmogan box 2";

/// What is known of a file: enough to tell whether it is whole and the one that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct FileRecord {
    pub(in super::super) file: String,
    pub(in super::super) bytes: u64,
    pub(in super::super) sha256: String,
}

/// The planes of a slab.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct SlabRecord {
    /// Number of the slab, the nearest being 0.
    pub(in super::super) slab: usize,
    /// Comoving distance of its middle in Mpc/h.
    pub(in super::super) distance: f64,
    /// When light was there.
    pub(in super::super) scale_factor: f64,
    #[serde(flatten)]
    pub(in super::super) planes: FileRecord,
}

/// How far the largest waves have grown.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GrowthRecord {
    /// a.
    pub scale_factor: f64,
    /// Root mean square of the largest waves over what linear theory makes of the initial field.
    pub over_linear_theory: f64,
}

/// Particles between two steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct StateRecord {
    /// Steps that are done.
    pub(in super::super) steps_done: usize,
    #[serde(flatten)]
    pub(in super::super) particles: FileRecord,
}

/// The content of `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct Manifest {
    format: String,
    /// The program's version.
    pub(in super::super) version: String,
    pub(in super::super) settings: BoxSettings,
    /// Of the initial field.
    pub(in super::super) linear: LinearField,
    /// Slabs that are done, in the order in which light passes them.
    pub(in super::super) slabs: Vec<SlabRecord>,
    /// At the start of each step that is done.
    pub(in super::super) growth: Vec<GrowthRecord>,
    /// Where to go on; none when all slabs are done, and before the first step.
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

    pub(super) fn parse(path: &Path, text: &str) -> Result<Self> {
        let damaged = |problem: String| {
            Error::file(
                path,
                problem,
                "name another folder with --box, or remove this one to start it again",
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
                "has the format `{}`, this program reads `{FORMAT}`",
                header.format
            )));
        }
        serde_json::from_str(text).map_err(|error| damaged(format!("is damaged: {error}")))
    }

    /// Refuses a box that was made from other settings, naming the first that differs.
    pub(super) fn check_settings(&self, path: &Path, wanted: &BoxSettings) -> Result<()> {
        match self.settings.difference(wanted) {
            None => Ok(()),
            Some((flag, theirs, ours)) => Err(Error::file(
                path,
                format!("belongs to a box with {flag} {theirs}, not {ours}"),
                format!("name another folder with --box, or ask for {flag} {theirs}"),
            )),
        }
    }
}
