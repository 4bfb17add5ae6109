//! `cosmogan dataset`: training and test sets from disjoint N-body boxes.

use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::Args;

use crate::data::{MapWriter, crops};
use crate::error::{Error, Result};
use crate::files::{
    cannot_write, create_folder, lock, refuse_foreign, require_space, sha256_of, write_json,
};
use crate::help::examples;
use crate::interrupt;
use crate::progress::Progress;
use crate::provenance::{BoxRecord, DatasetManifest, MANIFEST, SetRecord};
use crate::simulate::nbody::{BoxSettings, NBodyBox};

/// Lock file of the process that writes the sets.
const LOCK: &str = "lock";
/// Names of the sets and, with .npy, of their files.
const SETS: [&str; 4] = ["training", "validation", "development", "auxiliary"];

/// Cut boxes of `simulate --method nbody` into training, validation, development and auxiliary sets
#[derive(Debug, Args)]
#[command(after_help = examples(&["cosmogan simulate --method nbody --maps 64 --seed 1 --out 1.npy     # and seeds 2, 3", "cosmogan dataset --training 1.box 2.box --validation 3.box --out data"]))]
pub(super) struct DatasetArguments {
    /// Boxes of the training set
    #[arg(long, required = true, num_args = 1.., value_name = "BOX")]
    training: Vec<PathBuf>,
    /// Boxes of the validation set, none of them in another set
    #[arg(long, num_args = 1.., value_name = "BOX")]
    validation: Vec<PathBuf>,
    /// Boxes of the development set, used to select a generator
    #[arg(long, num_args = 1.., value_name = "BOX")]
    development: Vec<PathBuf>,
    /// Boxes of the auxiliary set, used as a baseline for the validation set
    #[arg(long, num_args = 1.., value_name = "BOX")]
    auxiliary: Vec<PathBuf>,
    /// Output folder for training.npy, the other sets and dataset.json
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Maps per box
    #[arg(long, default_value_t = 64, value_name = "N")]
    maps_per_box: u64,
    /// Pixels on a side of a map
    #[arg(long, default_value_t = 1024)]
    pixels: usize,
    /// Side of a map in degrees
    #[arg(long, default_value_t = 12_f64.sqrt())]
    side_degrees: f64,
    /// Pixels on a side of a crop
    #[arg(long, default_value_t = 256)]
    size: usize,
    /// Crops per map
    #[arg(long, default_value_t = 200)]
    per_map: usize,
    /// Random seed of the crop positions
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Keep the maps of the training set whole, for `cosmogan train --crops`
    #[arg(long)]
    whole_training: bool,
}

type Set = (&'static str, Vec<(PathBuf, NBodyBox)>);

impl DatasetArguments {
    pub(super) fn run(self) -> Result<()> {
        self.validate()?;
        let sets = self.open()?;
        let own = |name: &str| {
            name == MANIFEST || name == LOCK || SETS.iter().any(|set| name == file_name(set))
        };
        refuse_foreign(&self.out, own, "--out")?;
        create_folder(&self.out)?;
        let _lock = lock(&self.out.join(LOCK), "data set", "--out")?;
        let boxes: usize = sets.iter().map(|(_, boxes)| boxes.len()).sum();
        let maps = (boxes as u64).saturating_mul(self.maps_per_box);
        let bytes = sets.iter().map(|(set, boxes)| {
            let [count, pixels] = self.images(set);
            [
                self.maps_per_box,
                count,
                pixels,
                pixels,
                size_of::<f32>() as u64,
            ]
            .iter()
            .fold(boxes.len() as u64, |product, &factor| {
                product.saturating_mul(factor)
            })
        });
        let bytes = bytes.fold(0, u64::saturating_add);
        require_space(&[(&self.out, bytes)])?;
        interrupt::listen();
        verify(&sets, boxes as u64)?;
        self.remove_earlier()?;

        let mut progress = Progress::new("cropping", maps);
        let mut index = 0;
        let mut records = Vec::new();
        for (set, boxes) in &sets {
            records.push(self.write_set(set, boxes, &mut index, &mut progress)?);
        }
        let manifest = DatasetManifest {
            format: DatasetManifest::FORMAT.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            maps_per_box: self.maps_per_box,
            map_pixels: self.pixels,
            map_side_degrees: self.side_degrees,
            crop_pixels: self.size,
            crop_side_degrees: self.crop_side(),
            crops_per_map: self.per_map,
            seed: self.seed,
            sets: records,
        };
        write_json(self.out.join(MANIFEST), &manifest)?;
        progress.finish(format_args!("written to {}", self.out.display()));
        for record in &manifest.sets {
            let (what, side) = match record.whole {
                true => ("whole maps", manifest.map_side_degrees),
                false => ("crops", manifest.crop_side_degrees),
            };
            let boxes = match record.boxes.len() {
                1 => "box",
                _ => "boxes",
            };
            println!(
                "{}: {} {what} of {side:.4}° a side from {} {boxes}",
                record.file,
                record.crops,
                record.boxes.len()
            );
        }
        Ok(())
    }

    fn validate(&self) -> Result<()> {
        let counts = [
            ("--maps-per-box", self.maps_per_box),
            ("--size", self.size as u64),
            ("--per-map", self.per_map as u64),
        ];
        for (flag, value) in counts {
            if value == 0 {
                return Err(Error::usage(flag, "0", "give 1 or more"));
            }
        }
        if !(8..=8192).contains(&self.pixels) {
            return Err(Error::usage(
                "--pixels",
                format!("{} is out of range", self.pixels),
                "give a number from 8 to 8192",
            ));
        }
        if self.size > self.pixels {
            return Err(Error::usage(
                "--size",
                format!(
                    "crops of {0}² pixels do not fit into maps of {1}²",
                    self.size, self.pixels
                ),
                "choose a smaller --size or more --pixels",
            ));
        }
        Ok(())
    }

    /// Whether the maps of a set are kept whole.
    fn is_whole(&self, set: &str) -> bool {
        self.whole_training && set == SETS[0]
    }

    /// Number of images per map in a set, and pixels on a side of each.
    fn images(&self, set: &str) -> [u64; 2] {
        match self.is_whole(set) {
            true => [1, self.pixels as u64],
            false => [self.per_map as u64, self.size as u64],
        }
    }

    fn crop_side(&self) -> f64 {
        self.side_degrees * self.size as f64 / self.pixels as f64
    }

    /// Opens all boxes.
    ///
    /// # Errors
    /// If a box is incomplete, has other settings than the rest, or has the seed of another.
    fn open(&self) -> Result<Vec<Set>> {
        let all = [
            &self.training,
            &self.validation,
            &self.development,
            &self.auxiliary,
        ];
        let mut known: Vec<(&Path, BoxSettings)> = Vec::new();
        let mut sets = Vec::new();
        for (set, folders) in SETS.into_iter().zip(all) {
            let mut boxes = Vec::new();
            for folder in folders {
                let settings = NBodyBox::settings_in(folder)?;
                check_beside(folder, &settings, &known)?;
                settings.check_map(self.side_degrees)?;
                let opened = NBodyBox::open(folder, &settings)?;
                if !opened.is_complete() {
                    return Err(Error::file(
                        folder,
                        "is not complete",
                        "run its `cosmogan simulate` command again to continue it",
                    ));
                }
                known.push((folder, settings));
                boxes.push((folder.clone(), opened));
            }
            if !boxes.is_empty() {
                sets.push((set, boxes));
            }
        }
        Ok(sets)
    }

    /// Removes the files of an earlier run, the manifest first.
    ///
    /// So the manifest never lists sets that it does not describe. All sets are removed, since old and new sets could
    /// share boxes.
    fn remove_earlier(&self) -> Result<()> {
        let names = [MANIFEST.to_owned()].into_iter().chain(SETS.map(file_name));
        for path in names.map(|name| self.out.join(name)) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(cannot_write(&path, &error).into());
                }
                _ => {}
            }
        }
        let unreadable = |error| Error::file(&self.out, error, "choose another folder for --out");
        for entry in fs::read_dir(&self.out).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let of_a_set = |set| name.starts_with(&format!(".{}.", file_name(set)));
            if name.ends_with(".partial") && SETS.into_iter().any(of_a_set) {
                fs::remove_file(&path).map_err(|error| cannot_write(&path, &error))?;
            }
        }
        Ok(())
    }

    fn write_set(
        &self,
        set: &'static str,
        boxes: &[(PathBuf, NBodyBox)],
        index: &mut u64,
        progress: &mut Progress,
    ) -> Result<SetRecord> {
        let path = self.out.join(file_name(set));
        let whole = self.is_whole(set);
        let [of_each, pixels] = self.images(set).map(|number| number as usize);
        let count = boxes.len() * self.maps_per_box as usize * of_each;
        let side = match whole {
            true => self.side_degrees,
            false => self.crop_side(),
        };
        let mut writer = MapWriter::create(&path, count, pixels, pixels, Some(side))?;
        let mut records = Vec::new();
        for (folder, simulated) in boxes {
            let at_once = NBodyBox::maps_at_once(self.pixels);
            let mut first = 0;
            while first < self.maps_per_box {
                stop_if_asked()?;
                let last = (first + at_once).min(self.maps_per_box);
                for map in simulated.maps(first..last, self.pixels, self.side_degrees)? {
                    let of_map = (self.seed, *index);
                    // Whole maps are counted too, so that the other sets have the same crops either way.
                    *index += 1;
                    if whole {
                        writer.push(&map)?;
                        continue;
                    }
                    for crop in crops(&map, self.pixels, self.size, self.per_map, of_map) {
                        writer.push(&crop)?;
                    }
                }
                progress.advance(last - first, set);
                first = last;
            }
            records.push(BoxRecord {
                folder: folder.clone(),
                settings: *simulated.settings(),
                manifest_sha256: sha256_of(&NBodyBox::manifest_of(folder))?,
            });
        }
        writer.finish()?;
        Ok(SetRecord {
            set: set.to_owned(),
            file: file_name(set),
            crops: count,
            whole,
            sha256: sha256_of(&path)?,
            boxes: records,
        })
    }
}

/// Rejects damaged boxes before cropping starts.
///
/// Reading maps also checks the planes, but the last box is read last.
fn verify(sets: &[Set], boxes: u64) -> Result<()> {
    let mut progress = Progress::new("checking boxes", boxes);
    for (folder, simulated) in sets.iter().flat_map(|(_, boxes)| boxes) {
        stop_if_asked()?;
        simulated.verify()?;
        progress.advance(1, folder.display());
    }
    progress.finish("no damage found");
    Ok(())
}

fn stop_if_asked() -> Result<()> {
    if interrupt::requested() {
        return Err(Error::interrupted(
            "run the same command again: the sets are created from the start".to_owned(),
        ));
    }
    Ok(())
}

fn file_name(set: &str) -> String {
    format!("{set}.npy")
}

/// Rejects a box with the seed of another, or with other settings.
fn check_beside(
    folder: &Path,
    settings: &BoxSettings,
    known: &[(&Path, BoxSettings)],
) -> Result<()> {
    if let Some((other, _)) = known.iter().find(|(_, other)| other.seed == settings.seed) {
        return Err(Error::file(
            folder,
            format!(
                "has the same seed as {}, and so the same matter",
                other.display()
            ),
            "simulate a box with another --seed",
        ));
    }
    // All known boxes have equal settings except for the seed.
    let Some((first, alike)) = known.first() else {
        return Ok(());
    };
    let but_for_the_seed = BoxSettings {
        seed: settings.seed,
        ..*alike
    };
    match settings.difference(&but_for_the_seed) {
        None => Ok(()),
        Some((flag, here, there)) => Err(Error::file(
            folder,
            format!("has {flag} {here}, but {} has {there}", first.display()),
            "omit it, or create a separate data set from it",
        )),
    }
}
