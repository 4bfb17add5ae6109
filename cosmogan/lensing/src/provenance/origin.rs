//! Provenance record of a file of maps.
//!
//! It is small enough for every checkpoint and contains no path of any machine.

use std::fmt::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::manifest::{DatasetManifest, MANIFEST};
use crate::files::{folder_of, sha256_of};
use crate::simulate::Cosmology;
use crate::simulate::nbody::BoxSettings;
use cosmogan_base::{Error, Result};

/// Provenance of the maps of one file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// `training`, `validation`, `development` or `auxiliary`.
    pub set: String,
    /// Name of the file.
    pub file: String,
    /// SHA-256 of the whole file, in hexadecimal.
    pub sha256: String,
    /// Number of maps in the file.
    pub count: usize,
    /// Pixels on a side of a map.
    pub pixels: usize,
    /// Side of a map in degrees.
    pub side_degrees: f64,
    /// Cropping of the maps; none for whole maps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<Cut>,
    /// Whole maps per box.
    pub maps_per_box: u64,
    /// Version of the program that made the file.
    pub version: String,
    /// Settings that all boxes have in common.
    pub simulation: Simulation,
    /// The boxes, in order.
    pub boxes: Vec<BoxOrigin>,
}

/// Cropping of larger maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Pixels on a side of a map.
    pub map_pixels: usize,
    /// Crops per map.
    pub per_map: usize,
    /// Seed of the crop positions.
    pub seed: u64,
}

/// The settings of a box without its seed; see [`BoxSettings`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Simulation {
    /// Cosmological parameters.
    pub cosmology: Cosmology,
    /// z_s: redshift of the sources.
    pub source_redshift: f64,
    /// Particles along a side.
    pub particles: usize,
    /// Points of the force mesh along a side.
    pub mesh: usize,
    /// Side of the box in Mpc/h.
    pub box_side: f64,
    /// Steps from the initial conditions to the nearest lens plane.
    pub steps: usize,
}

/// Identity of one box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoxOrigin {
    /// Seed of the initial field.
    pub seed: u64,
    /// SHA-256 of the box's manifest, which contains the hashes of its planes.
    pub manifest_sha256: String,
}

impl Provenance {
    /// Looks up the file of maps at `path` in the manifest of its folder.
    ///
    /// Returns `None` if there is no manifest or it does not list the file. `dims` are the maps, rows and columns of
    /// the file. The whole file is read to compute its SHA-256.
    ///
    /// # Errors
    /// If the manifest cannot be read or is damaged, or the file differs from its description.
    pub fn of(path: &Path, dims: [usize; 3]) -> Result<Option<Self>> {
        let beside = folder_of(path).join(MANIFEST);
        let Some(manifest) = DatasetManifest::read(&beside)? else {
            return Ok(None);
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(provenance) = Self::named(&manifest, &name) else {
            return Ok(None);
        };
        let refused = |problem: String| {
            Error::file(
                path,
                problem,
                format!("create the data set again, or move {MANIFEST} away"),
            )
        };
        let Self { count, pixels, .. } = provenance;
        if dims != [count, pixels, pixels] {
            let [maps, height, width] = dims;
            return Err(refused(format!(
                "contains {maps} maps of {height}×{width} pixels, but {MANIFEST} beside it says {count} of {pixels}×{pixels}"
            )));
        }
        if sha256_of(path)? != provenance.sha256 {
            return Err(refused(format!(
                "is not the file that {MANIFEST} beside it describes: its SHA-256 differs"
            )));
        }
        Ok(Some(provenance))
    }

    fn named(manifest: &DatasetManifest, file: &str) -> Option<Self> {
        let set = manifest.sets.iter().find(|set| set.file == file)?;
        let boxes = set.boxes.iter().map(|of_box| BoxOrigin {
            seed: of_box.settings.seed,
            manifest_sha256: of_box.manifest_sha256.clone(),
        });
        let (pixels, side_degrees) = match set.whole {
            true => (manifest.map_pixels, manifest.map_side_degrees),
            false => (manifest.crop_pixels, manifest.crop_side_degrees),
        };
        let cut = Cut {
            map_pixels: manifest.map_pixels,
            per_map: manifest.crops_per_map,
            seed: manifest.seed,
        };
        Some(Self {
            set: set.set.clone(),
            file: set.file.clone(),
            sha256: set.sha256.clone(),
            count: set.crops,
            pixels,
            side_degrees,
            cut: (!set.whole).then_some(cut),
            maps_per_box: manifest.maps_per_box,
            version: manifest.version.clone(),
            simulation: Simulation::of(&set.boxes.first()?.settings),
            boxes: boxes.collect(),
        })
    }

    /// Returns the seed of a box that both share.
    ///
    /// Boxes with equal seeds count as equal whatever their other settings, as in `cosmogan dataset`.
    pub fn shared_box(&self, other: &Self) -> Option<u64> {
        let mut seeds = self.boxes.iter().map(|of_box| of_box.seed);
        seeds.find(|&seed| other.boxes.iter().any(|of_box| of_box.seed == seed))
    }
}

impl Simulation {
    fn of(settings: &BoxSettings) -> Self {
        let BoxSettings {
            cosmology,
            source_redshift,
            seed: _,
            particles,
            mesh,
            box_side,
            steps,
        } = *settings;
        Self {
            cosmology,
            source_redshift,
            particles,
            mesh,
            box_side,
            steps,
        }
    }
}

impl fmt::Display for Provenance {
    /// Formats the record as one line for a report or a terminal.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = format!(
            "{}² pixels and {:.4}° a side",
            self.pixels, self.side_degrees
        );
        let whole = self.boxes.len() as u64 * self.maps_per_box;
        match self.cut {
            None => write!(formatter, "{} set, {whole} whole maps of {size}", self.set)?,
            Some(Cut {
                map_pixels,
                per_map,
                seed,
            }) => write!(
                formatter,
                "{} set, {} crops of {size}, {per_map} from each of {whole} maps of {map_pixels}² (seed {seed})",
                self.set, self.count
            )?,
        }
        let Simulation {
            cosmology,
            source_redshift,
            particles,
            mesh,
            box_side,
            steps,
        } = &self.simulation;
        write!(
            formatter,
            "; {} of {box_side} Mpc/h ({particles}³ particles, mesh {mesh}³, {steps} steps), z_s {source_redshift}, Ωm {}, \
             Ωb {}, h {}, σ8 {}, n_s {}, w {}",
            self.seeds(),
            cosmology.omega_m,
            cosmology.omega_b,
            cosmology.hubble,
            cosmology.sigma8,
            cosmology.spectral_index,
            cosmology.dark_energy
        )?;
        write!(
            formatter,
            "; made by version {}, SHA-256 {}",
            self.version, self.sha256
        )
    }
}

impl Provenance {
    /// Lists the seeds of the boxes, with consecutive ones as ranges.
    fn seeds(&self) -> String {
        let mut seeds: Vec<u64> = self.boxes.iter().map(|of_box| of_box.seed).collect();
        seeds.sort_unstable();
        let ranges = seeds.chunk_by(|a, b| a.checked_add(1) == Some(*b));
        let mut text = match seeds.len() {
            1 => "box of seed".to_owned(),
            _ => "boxes of seeds".to_owned(),
        };
        for (index, range) in ranges.enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = match range {
                [first, .., last] => write!(text, "{comma} {first}–{last}"),
                [only] => write!(text, "{comma} {only}"),
                [] => Ok(()),
            };
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provenance(seeds: &[u64]) -> Provenance {
        Provenance {
            set: "training".to_owned(),
            file: "training.npy".to_owned(),
            sha256: "0".repeat(64),
            count: 10,
            pixels: 256,
            side_degrees: 0.866,
            cut: None,
            maps_per_box: 1,
            version: "0.1.0".to_owned(),
            simulation: Simulation::of(&BoxSettings::default()),
            boxes: seeds
                .iter()
                .map(|&seed| BoxOrigin {
                    seed,
                    manifest_sha256: "1".repeat(64),
                })
                .collect(),
        }
    }

    #[test]
    fn boxes_are_named_in_ranges_and_compared_by_seed() {
        assert_eq!(
            provenance(&[9, 1, 3, 2, 7]).seeds(),
            "boxes of seeds 1–3, 7, 9"
        );
        assert_eq!(
            provenance(&[u64::MAX]).seeds(),
            format!("box of seed {}", u64::MAX)
        );
        let shared = |a: &[u64], b: &[u64]| provenance(a).shared_box(&provenance(b));
        assert_eq!(shared(&[1, 2], &[3, 4]), None);
        assert_eq!(shared(&[1, 2], &[3, 2]), Some(2));
    }
}
