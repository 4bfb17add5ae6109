//! Folder of a box on disk.
//!
//! It contains the lens planes of finished slabs, the particles to resume from, and a manifest with the hash of each
//! file.
//!
//! A file is written before the manifest lists it, and removed only after the manifest no longer lists it. So the
//! manifest lists complete files only, whenever the program is killed.

mod manifest;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::initial::LinearField;
use super::lenses::Lens;
use super::particles::{Particle, Particles, THICKNESS};
use super::planes::PLANES;
use super::settings::BoxSettings;
use crate::data::npy_header;
use crate::files::{
    AtomicFile, cannot_write, create_folder, lock, refuse_foreign, sha256, write_json,
};
use cosmogan_base::{Error, Result};

pub use manifest::GrowthRecord;
use manifest::{FileRecord, Manifest, SlabRecord, StateRecord};

const MANIFEST: &str = "manifest.json";
const LOCK: &str = "lock";
/// Bytes per particle in a file: position and momentum.
const PARTICLE: usize = 6 * size_of::<f32>();

/// A box on disk, locked by this process.
#[derive(Debug)]
pub(super) struct BoxFolder {
    path: PathBuf,
    manifest: Manifest,
    /// Held for as long as this file is open.
    _lock: File,
}

impl BoxFolder {
    /// Opens the box that `settings` describes, or starts a new one.
    ///
    /// # Errors
    /// If the folder contains another box or unrelated files, or another process is using it.
    pub(super) fn open(path: &Path, settings: &BoxSettings) -> Result<Self> {
        let own = |name: &str| {
            name == MANIFEST
                || name == LOCK
                || (name.starts_with("slab-") && name.ends_with(".npy"))
                || (name.starts_with("state-") && name.ends_with(".bin"))
        };
        refuse_foreign(path, own, "--box")?;
        create_folder(path)?;
        let lock = lock(&path.join(LOCK), "box", "--box")?;
        let manifest_path = path.join(MANIFEST);
        let manifest = match fs::read_to_string(&manifest_path) {
            Ok(text) => {
                let manifest = Manifest::parse(&manifest_path, &text)?;
                manifest.check_settings(&manifest_path, settings)?;
                manifest
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Manifest::new(*settings),
            Err(error) => {
                return Err(Error::file(
                    &manifest_path,
                    error,
                    "name another folder with --box",
                ));
            }
        };
        Ok(Self {
            path: path.to_owned(),
            manifest,
            _lock: lock,
        })
    }

    /// Path of the manifest of the box in `folder`.
    pub(super) fn manifest_of(folder: &Path) -> PathBuf {
        folder.join(MANIFEST)
    }

    /// Reads the settings of the box in `folder`.
    ///
    /// # Errors
    /// If there is no box, or its manifest is damaged.
    pub(super) fn settings_in(folder: &Path) -> Result<BoxSettings> {
        let path = Self::manifest_of(folder);
        let text = fs::read_to_string(&path).map_err(|error| {
            Error::file(
                &path,
                error,
                "name the folder of a box of `cosmogan simulate --method nbody`",
            )
        })?;
        Ok(Manifest::parse(&path, &text)?.settings)
    }

    pub(super) fn growth(&self) -> &[GrowthRecord] {
        &self.manifest.growth
    }

    /// Properties of the initial field; zeros before it has been drawn.
    pub(super) fn linear(&self) -> LinearField {
        self.manifest.linear
    }

    pub(super) fn set_linear(&mut self, linear: LinearField) {
        self.manifest.linear = linear;
    }

    /// Records the growth at the start of step `step`, replacing entries of an interrupted run.
    pub(super) fn record_growth(&mut self, step: usize, growth: GrowthRecord) {
        self.manifest.growth.truncate(step);
        self.manifest.growth.push(growth);
    }

    pub(super) fn has_slab(&self, slab: usize) -> bool {
        self.record(slab).is_some()
    }

    /// Whether all planes are finished and the simulation has ended.
    /// The planes of the last slab are not enough: the last growth record follows them.
    pub(super) fn is_complete(&self, slabs: usize) -> bool {
        (0..slabs).all(|slab| self.has_slab(slab))
            && self.manifest.growth.len() == self.manifest.settings.steps
            && self.manifest.state.is_none()
    }

    fn record(&self, slab: usize) -> Option<&SlabRecord> {
        self.manifest
            .slabs
            .iter()
            .find(|record| record.slab == slab)
    }

    /// Rejects a box started by another version of the program, whose results could differ.
    pub(super) fn check_version(&self) -> Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        if self.manifest.version == version {
            return Ok(());
        }
        Err(Error::file(
            self.path.join(MANIFEST),
            format!(
                "was started by version {}, but this is {version}",
                self.manifest.version
            ),
            "continue with that version, or remove the folder to start over",
        ))
    }

    /// Removes leftovers of a killed program.
    /// These are partial files, and complete ones that the manifest does not list.
    pub(super) fn remove_leftovers(&self) -> Result<()> {
        let unreadable = |error| Error::file(&self.path, error, "name another folder with --box");
        for entry in fs::read_dir(&self.path).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            let name = name.to_string_lossy();
            let named = self.manifest.slabs.iter().map(|slab| &slab.planes);
            let state = self.manifest.state.iter().map(|state| &state.particles);
            let kept = named.chain(state).any(|record| record.file == name);
            if !kept && name != MANIFEST && name != LOCK {
                let path = self.path.join(&*name);
                fs::remove_file(&path).map_err(|error| cannot_write(&path, &error))?;
            }
        }
        Ok(())
    }

    /// Upper limit for the bytes still to be written for `slabs` slabs.
    pub(super) fn bytes_missing(&self, slabs: usize) -> u64 {
        if self.is_complete(slabs) {
            return 0;
        }
        let settings = &self.manifest.settings;
        let missing = (0..slabs).filter(|&slab| !self.has_slab(slab)).count();
        let planes = PLANES * settings.plane_pixels().pow(2) * size_of::<f16>();
        // The old state exists until the new one has been written.
        (missing * planes + 2 * settings.particles.pow(3) * PARTICLE) as u64
    }

    /// Writes the planes of `slab` in half precision and adds them to the manifest.
    ///
    /// # Errors
    /// If a pixel exceeds the range of half precision, or the file cannot be written.
    pub(super) fn write_slab(&mut self, slab: usize, lens: &Lens, planes: &[f32]) -> Result<()> {
        let pixels = self.manifest.settings.plane_pixels();
        let name = Manifest::slab_file(slab);
        let mut bytes = npy_header("<f2", &[PLANES, pixels, pixels]);
        let start = bytes.len();
        bytes.resize(start + planes.len() * size_of::<f16>(), 0);
        let rows = bytes[start..].par_chunks_mut(pixels * size_of::<f16>());
        let finite = rows
            .zip(planes.par_chunks(pixels))
            .map_init(
                || vec![f16::ZERO; pixels],
                |row, (bytes, values)| {
                    row.convert_from_f32_slice(values);
                    for (bytes, value) in bytes.chunks_exact_mut(size_of::<f16>()).zip(&*row) {
                        bytes.copy_from_slice(&value.to_le_bytes());
                    }
                    row.iter().all(|value| value.is_finite())
                },
            )
            .reduce(|| true, |a, b| a && b);
        if !finite {
            return Err(Error::usage(
                "--particles",
                format!(
                    "a lens plane has a pixel above {} times the mean density",
                    f16::MAX
                ),
                "use more particles or a smaller --mesh",
            ));
        }
        let planes = self.write(name, &bytes)?;
        self.manifest.slabs.push(SlabRecord {
            slab,
            distance: lens.distance,
            scale_factor: lens.scale_factor,
            planes,
        });
        self.write_manifest()
    }

    /// Reads the [`PLANES`] planes of `slab`, one after the other.
    ///
    /// # Errors
    /// If the file is missing, truncated or damaged.
    pub(super) fn read_slab(&self, slab: usize) -> Result<Vec<f32>> {
        let record = self.record(slab).ok_or_else(|| {
            Error::file(
                self.path.join(MANIFEST),
                format!("lists no planes for slab {slab}"),
                "run the same command again",
            )
        })?;
        let pixels = self.manifest.settings.plane_pixels();
        let bytes = self.read(&record.planes)?;
        let header = npy_header("<f2", &[PLANES, pixels, pixels]);
        let refused = |problem| {
            let path = self.path.join(&record.planes.file);
            Err(Error::file(path, problem, self.start_over()))
        };
        if !bytes.starts_with(&header) {
            return refused("is damaged: its header is not that of lens planes");
        }
        let mut values = vec![0.0; PLANES * pixels * pixels];
        values
            .par_chunks_mut(pixels)
            .zip(bytes[header.len()..].par_chunks(pixels * size_of::<f16>()))
            .for_each_init(
                || vec![f16::ZERO; pixels],
                |row, (values, bytes)| {
                    for (value, bytes) in row.iter_mut().zip(bytes.as_chunks().0) {
                        *value = f16::from_le_bytes(*bytes);
                    }
                    row.convert_to_f32_slice(values);
                },
            );
        if !values.par_iter().all(|value| value.is_finite()) {
            return refused("is damaged: it holds a pixel that is not finite");
        }
        Ok(values)
    }

    /// Reads all planes and compares them with their hashes.
    ///
    /// # Errors
    /// See [`BoxFolder::read_slab`].
    pub(super) fn verify(&self) -> Result<()> {
        for slab in &self.manifest.slabs {
            self.read(&slab.planes)?;
        }
        Ok(())
    }

    /// Saves the particles after `steps_done` steps, replacing the previous state.
    pub(super) fn write_state(&mut self, steps_done: usize, particles: &Particles) -> Result<()> {
        let counts = particles.slabs().iter().map(|slab| slab.len() as u64);
        let mut bytes: Vec<u8> = counts.flat_map(u64::to_le_bytes).collect();
        bytes.reserve_exact(particles.count() * PARTICLE);
        for particle in particles.slabs().iter().flatten() {
            for numbers in [particle.position, particle.momentum] {
                bytes.extend(numbers.map(f32::to_le_bytes).as_flattened());
            }
        }
        let record = self.write(Manifest::state_file(steps_done), &bytes)?;
        self.replace_state(Some(StateRecord {
            steps_done,
            particles: record,
        }))
    }

    /// Reads the saved particles and the number of steps they have completed.
    pub(super) fn read_state(&self) -> Result<Option<(usize, Particles)>> {
        let Some(state) = &self.manifest.state else {
            return Ok(None);
        };
        let mesh = self.manifest.settings.mesh;
        let bytes = self.read(&state.particles)?;
        let (counts, rest) = bytes.split_at(mesh / THICKNESS * size_of::<u64>());
        match slabs_of(counts, rest, mesh) {
            Some(slabs) => Ok(Some((state.steps_done, Particles::from_slabs(mesh, slabs)))),
            None => Err(Error::file(
                self.path.join(&state.particles.file),
                "is damaged: its particles are not those of a box",
                self.start_over(),
            )),
        }
    }

    /// Ends the simulation by removing the saved particles.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.replace_state(None)
    }

    fn replace_state(&mut self, state: Option<StateRecord>) -> Result<()> {
        let old = std::mem::replace(&mut self.manifest.state, state);
        self.write_manifest()?;
        if let Some(old) = old {
            let path = self.path.join(old.particles.file);
            fs::remove_file(&path).map_err(|error| cannot_write(&path, &error))?;
        }
        Ok(())
    }

    fn write_manifest(&self) -> Result<()> {
        write_json(self.path.join(MANIFEST), &self.manifest)
    }

    fn write(&self, name: String, bytes: &[u8]) -> Result<FileRecord> {
        let mut file = AtomicFile::create(self.path.join(&name))?;
        // One thread hashes while another writes.
        let (written, sha256) = rayon::join(
            || file.append(bytes).and_then(|()| file.commit()),
            || sha256(bytes),
        );
        written?;
        Ok(FileRecord {
            file: name,
            bytes: bytes.len() as u64,
            sha256,
        })
    }

    fn start_over(&self) -> String {
        format!(
            "remove the folder {} and run again to simulate the box from the start",
            self.path.display()
        )
    }

    /// Reads a file of the manifest and checks its length and hash.
    fn read(&self, record: &FileRecord) -> Result<Vec<u8>> {
        let path = self.path.join(&record.file);
        let remedy = self.start_over();
        let bytes = fs::read(&path).map_err(|error| Error::file(&path, error, remedy.as_str()))?;
        if bytes.len() as u64 != record.bytes {
            return Err(Error::file(
                path,
                format!(
                    "has {} bytes, but its manifest says {}: it was truncated or replaced",
                    bytes.len(),
                    record.bytes
                ),
                remedy,
            ));
        }
        if sha256(&bytes) != record.sha256 {
            return Err(Error::file(
                path,
                "is damaged: its SHA-256 differs from the one in its manifest",
                remedy,
            ));
        }
        Ok(bytes)
    }
}

/// The particles of each slab of a mesh of `mesh`³ cells; `None` unless each lies in its slab and none is left over.
fn slabs_of(counts: &[u8], mut rest: &[u8], mesh: usize) -> Option<Vec<Vec<Particle>>> {
    let slabs = counts
        .as_chunks()
        .0
        .iter()
        .enumerate()
        .map(|(slab, count)| {
            let bytes = usize::try_from(u64::from_le_bytes(*count)).ok()?;
            let (own, others) = rest.split_at_checked(bytes.checked_mul(PARTICLE)?)?;
            rest = others;
            let particles: Vec<Particle> = own.par_chunks_exact(PARTICLE).map(particle).collect();
            let is_inside = |particle: &Particle| particle.is_in_slab(slab, mesh);
            particles.par_iter().all(is_inside).then_some(particles)
        });
    let slabs = slabs.collect::<Option<_>>();
    slabs.filter(|_| rest.is_empty())
}

fn particle(bytes: &[u8]) -> Particle {
    let mut numbers = bytes
        .as_chunks()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes));
    let mut three = || [0; 3].map(|_| numbers.next().unwrap_or_default());
    Particle {
        position: three(),
        momentum: three(),
    }
}
