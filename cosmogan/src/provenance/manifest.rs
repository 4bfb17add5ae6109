//! `dataset.json`: what the files of a data set hold, and the boxes they were cut from.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::simulate::nbody::BoxSettings;

/// The name of the file, which lies beside those it describes.
pub const MANIFEST: &str = "dataset.json";

/// What a manifest of any program begins with.
const FAMILY: &str = "cosmogan dataset ";
const REMEDY: &str = "make the data set again with `cosmogan dataset`, or move this file away";

/// The content of `dataset.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatasetManifest {
    /// [`DatasetManifest::FORMAT`].
    pub format: String,
    /// The program's version.
    pub version: String,
    /// Maps of each box.
    pub maps_per_box: u64,
    /// Pixels on a side of a map.
    pub map_pixels: usize,
    /// Side of a map in degrees.
    pub map_side_degrees: f64,
    /// Pixels on a side of a crop.
    pub crop_pixels: usize,
    /// Side of a crop in degrees.
    pub crop_side_degrees: f64,
    /// Crops of each map.
    pub crops_per_map: usize,
    /// Seed of the crops' positions.
    pub seed: u64,
    /// Training set, validation set and so on.
    pub sets: Vec<SetRecord>,
}

/// A set, and its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetRecord {
    /// `training`, `validation`, `development` or `auxiliary`.
    pub set: String,
    /// Name of its file.
    pub file: String,
    /// Crops in it, or maps where those are whole.
    pub crops: usize,
    /// Whether maps were left whole, to be cropped while a generator is trained.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
    /// Of the whole file, in hexadecimal.
    pub sha256: String,
    /// The boxes it was cut from, in order.
    pub boxes: Vec<BoxRecord>,
}

/// A box of a set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BoxRecord {
    /// Where it was.
    pub folder: PathBuf,
    /// Cosmology, seed and sizes.
    pub settings: BoxSettings,
    /// Of the box's manifest, which holds the hashes of its planes.
    pub manifest_sha256: String,
}

impl DatasetManifest {
    /// Changes whenever files of an older program mean something else to a newer one.
    pub const FORMAT: &'static str = "cosmogan dataset 1";

    /// Reads the manifest at `path`; nothing where there is none, or a file of that name which is somebody else's.
    ///
    /// # Errors
    /// Where it cannot be read, is damaged, or was written by another version of the program.
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
                    "has the format `{other}`, this program reads `{}`",
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

    /// What cannot be true of a data set.
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
                .map(|hash| format!("`{hash}` is no SHA-256"))
        })
    }
}
