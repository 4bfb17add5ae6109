//! `manifest.json`: content of a box folder and the settings it was made from.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::initial::LinearField;
use super::super::settings::BoxSettings;
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
        serde_json::from_str(text).map_err(|error| damaged(format!("is damaged: {error}")))
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
