//! `dataset.json`: content of the files of a data set, and the N-body boxes they come from.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::simulate::nbody::BoxSettings;
use cosmogan_base::{Error, Result};

/// Name of the manifest file, which is in the same folder as the data set's files.
pub const MANIFEST: &str = "dataset.json";

/// Prefix of the format string in all versions.
const FAMILY: &str = "cosmogan dataset ";
const REMEDY: &str = "create the data set again with `cosmogan dataset`, or move this file away";

/// Content of `dataset.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatasetManifest {
    /// [`DatasetManifest::FORMAT`].
    pub format: String,
    /// Version of the program.
    pub version: String,
    /// Maps per box.
    pub maps_per_box: u64,
    /// Pixels on a side of a map.
    pub map_pixels: usize,
    /// Side of a map in degrees.
    pub map_side_degrees: f64,
    /// Pixels on a side of a crop.
    pub crop_pixels: usize,
    /// Side of a crop in degrees.
    pub crop_side_degrees: f64,
    /// Crops per map.
    pub crops_per_map: usize,
    /// Seed of the crop positions.
    pub seed: u64,
    /// Training, validation, development and auxiliary sets.
    pub sets: Vec<SetRecord>,
}

/// One set and its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetRecord {
    /// `training`, `validation`, `development` or `auxiliary`.
    pub set: String,
    /// Name of the file.
    pub file: String,
    /// Number of crops in it, or of maps if these are whole.
    pub crops: usize,
    /// Whether maps are whole, to be cropped during training.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// Boxes of the set, in order.
    pub boxes: Vec<BoxRecord>,
}

/// One box of a set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BoxRecord {
    /// Folder of the box when the data set was made.
    pub folder: PathBuf,
    /// Cosmology, seed and sizes.
    pub settings: BoxSettings,
    /// SHA-256 of the box's manifest, which contains the hashes of its planes.
    pub manifest_sha256: String,
}

impl DatasetManifest {
    /// Format version; changes whenever the meaning of a field changes.
    pub const FORMAT: &'static str = "cosmogan dataset 1";

    /// Reads the manifest at `path`.
    ///
    /// Returns `None` if there is no file, or one of that name from another program.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or was written by an incompatible version of the program.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let refused = |problem: String| Error::file(path, problem, REMEDY);
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(refused(error.to_string())),
        };
        let damaged = |error: serde_json::Error| refused(format!("is damaged: {error}"));
        let content: Value = serde_json::from_slice(&text).map_err(damaged)?;
        match content["format"].as_str() {
            Some(Self::FORMAT) => {}
            Some(other) if other.starts_with(FAMILY) => {
                return Err(refused(format!(
                    "has the format `{other}`, but this program reads `{}`",
                    Self::FORMAT
                )));
            }
            _ => return Ok(None),
        }
        let manifest: Self = serde_json::from_value(content).map_err(damaged)?;
        match manifest.problem() {
            None => Ok(Some(manifest)),
            Some(problem) => Err(refused(format!("is damaged: {problem}"))),
        }
    }

    /// Returns an inconsistency in the manifest, if there is one.
    fn problem(&self) -> Option<String> {
        self.sets.iter().find_map(|set| {
            let of_each = if set.whole { 1 } else { self.crops_per_map };
            let expected = [self.maps_per_box, of_each as u64]
                .iter()
                .try_fold(set.boxes.len() as u64, |product, &factor| {
                    product.checked_mul(factor)
                });
            if expected != Some(set.crops as u64) || set.crops == 0 {
                return Some(format!(
                    "its {} boxes do not give the {} crops of {}",
                    set.boxes.len(),
                    set.crops,
                    set.file
                ));
            }
            let is_hash = |text: &str| {
                text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit())
            };
            let hashes = set.boxes.iter().map(|of_box| &of_box.manifest_sha256);
            hashes
                .chain([&set.sha256])
                .find(|hash| !is_hash(hash))
                .map(|hash| format!("`{hash}` is not a SHA-256"))
        })
    }
}
