//! `checkpoint.safetensors`: the complete state of a run, from which it resumes bit for bit.
//!
//! It holds both networks (`generator.*`, `discriminator.*`), Adam's moments (`….adam_first`, `….adam_second`) and, if
//! one is kept, the generator's moving average (`average.*`), in the layouts of weight files. Random numbers need no
//! state: they are functions of the seed and the step.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use cosmogan_engine::backend::Backend;
use serde::{Deserialize, Serialize};

use super::average::Average;
use super::segment::Segment;
use super::step::{Moments, Trainer};
use crate::data::{MapFile, Survey};
use crate::error::{Error, Result};
use crate::files::sha256;
use crate::model::network::{Network, download, upload};
use crate::model::preset::TrainingConfig;
use crate::model::tensor_file::TensorFile;
use crate::model::weights::{DATA_ENTRY, read_file, require_finite, write_tensors};
use crate::model::{ModelConfig, NetworkKind, TensorSpecification};
use crate::provenance::Provenance;
use crate::train::DataPrecision;

const KEY: &str = "cosmogan.checkpoint";
/// Format version; changes whenever the meaning of a field or tensor changes.
const FORMAT: &str = "cosmogan checkpoint 2";
const FIRST: &str = "adam_first";
const SECOND: &str = "adam_second";
const AVERAGE: &str = "average";

/// Everything that determines a run: two runs of equal identity have the same bits after every step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunIdentity {
    /// Extents of both networks.
    pub model: ModelConfig,
    /// Training settings.
    pub training: TrainingConfig,
    /// Seed of everything random.
    pub seed: u64,
    /// The training maps.
    pub data: DataIdentity,
    /// Crops of each map per epoch; `None` for whole maps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crops: Option<usize>,
    /// Number format that the training maps are rounded to.
    #[serde(default, skip_serializing_if = "DataPrecision::is_single")]
    pub data_precision: DataPrecision,
}

impl RunIdentity {
    /// Name of the run, equal for equal runs: the first 16 digits of the SHA-256 of everything that determines it.
    pub fn name(&self) -> String {
        let mut plain = self.clone();
        // Neither belongs to the identity.
        plain.training.epochs = 0;
        plain.data.provenance = None;
        let mut name = sha256(to_json(&plain).as_bytes());
        name.truncate(16);
        name
    }

    /// The entries in the configuration of its weights: the run and its training maps.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'static str, serde_json::Value)> {
        let name = [("run", serde_json::json!(self.name()))];
        let provenance = self.data.provenance.as_ref();
        let provenance = provenance.map(|known| (DATA_ENTRY, serde_json::json!(known)));
        let crops = self.crops.map(|crops| ("crops", crops.into()));
        let precision = self.data_precision;
        let rounded =
            (!precision.is_single()).then(|| ("data_precision", serde_json::json!(precision)));
        name.into_iter()
            .chain(provenance)
            .chain(crops)
            .chain(rounded)
    }
}

/// Identity and provenance of a data set. Equality compares the maps, not the provenance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DataIdentity {
    /// Number of maps.
    pub count: usize,
    /// [`Survey::fingerprint`].
    pub fingerprint: String,
    /// Provenance, if a manifest beside the file states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
}

impl PartialEq for DataIdentity {
    fn eq(&self, other: &Self) -> bool {
        (self.count, &self.fingerprint) == (other.count, &other.fingerprint)
    }
}

impl DataIdentity {
    /// The identity of `maps` from their `survey` and the manifest beside their file.
    ///
    /// # Errors
    /// If the manifest is damaged or describes another file.
    pub fn of(maps: &MapFile, survey: &Survey) -> Result<Self> {
        let dims = [maps.count(), maps.height(), maps.width()];
        Ok(Self {
            count: maps.count(),
            fingerprint: survey.fingerprint.clone(),
            provenance: Provenance::of(maps.path(), dims)?,
        })
    }

    /// Takes the provenance from `earlier` if it describes the same maps and their manifest is missing.
    pub fn or_as_known(mut self, earlier: Option<&Self>) -> Self {
        if let Some(earlier) = earlier.filter(|earlier| **earlier == self) {
            self.provenance = self.provenance.or_else(|| earlier.provenance.clone());
        }
        self
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Metadata {
    format: String,
    identity: RunIdentity,
    steps_done: u64,
    segments: Vec<Segment>,
    /// [`Metadata::seal`] of everything else.
    sha256: String,
}

impl Metadata {
    /// SHA-256 of these entries and of all tensors (name, extents, SHA-256 of the values), in hexadecimal.
    fn seal(&self, tensors: impl Iterator<Item = String>) -> String {
        let unsealed = Self {
            sha256: String::new(),
            ..self.clone()
        };
        let mut lines: Vec<String> = tensors.collect();
        lines.sort_unstable();
        lines.push(to_json(&unsealed));
        sha256(lines.join("\n").as_bytes())
    }
}

/// The line of a tensor in a seal.
fn sealed(name: &str, dims: &[usize], values: &[u8]) -> String {
    format!("{name} {dims:?} {}", sha256(values))
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data has a JSON form")
}

/// Description of a run in its checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// Settings, seed and data.
    pub identity: RunIdentity,
    /// Versions, devices and precisions of its steps.
    pub segments: Vec<Segment>,
}

/// Writes a checkpoint atomically. The one that it replaces stays at `previous`.
///
/// # Errors
/// If the training has diverged, or the file cannot be written; then both files stay as they are.
pub fn save(
    path: &Path,
    previous: &Path,
    trainer: &Trainer,
    Record { identity, segments }: &Record,
) -> Result<()> {
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    for (network, moments) in parts(trainer) {
        let prefix = network.kind().name();
        for (tensor, values) in network.download()? {
            tensors.push((
                format!("{prefix}.{}", tensor.name),
                tensor.file_dims.clone(),
                values,
            ));
        }
        let backend = &**network.backend();
        for (tensor, moments) in network.trained().zip(moments) {
            for (suffix, moment) in [(FIRST, &moments.first), (SECOND, &moments.second)] {
                tensors.push((
                    format!("{prefix}.{}.{suffix}", tensor.name),
                    tensor.file_dims.clone(),
                    download(backend, tensor, moment)?,
                ));
            }
        }
    }
    if let Some(average) = trainer.average() {
        for (tensor, values) in average.network().download()? {
            let name = format!("{AVERAGE}.{}", tensor.name);
            tensors.push((name, tensor.file_dims.clone(), values));
        }
    }
    for (name, _, values) in &tensors {
        require_finite(path, name, values)?;
    }
    let mut metadata = Metadata {
        format: FORMAT.to_owned(),
        identity: identity.clone(),
        steps_done: trainer.steps_done(),
        segments: segments.clone(),
        sha256: String::new(),
    };
    metadata.sha256 = metadata.seal(tensors.iter().map(|(name, dims, values)| {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        sealed(name, dims, &bytes)
    }));
    keep_previous(path, previous);
    let tensors = tensors
        .iter()
        .map(|(name, dims, values)| (name.clone(), dims.clone(), values.as_slice()));
    write_tensors(path, tensors, (KEY, to_json(&metadata)))
}

/// Gives the checkpoint a second name, under which it remains when the next one takes its place.
fn keep_previous(checkpoint: &Path, previous: &Path) {
    if checkpoint.exists() {
        let _ = fs::remove_file(previous);
        // On a file system without links only the last checkpoint is kept.
        let _ = fs::hard_link(checkpoint, previous);
    }
}

/// Reads the description of a run from its checkpoint.
///
/// # Errors
/// If the file cannot be read, is not a checkpoint, or is damaged.
pub fn record(path: &Path) -> Result<Record> {
    let bytes = read_file(path)?;
    let metadata = metadata(&TensorFile::parse(path, &bytes)?, path)?;
    Ok(Record {
        identity: metadata.identity,
        segments: metadata.segments,
    })
}

/// Reads the description of a run, and restores both networks, their optimisers and the moving average.
///
/// # Errors
/// If the file cannot be read or is not a complete checkpoint.
pub fn load(path: &Path, backend: &Arc<dyn Backend>) -> Result<(Record, Trainer)> {
    let bytes = read_file(path)?;
    let file = TensorFile::parse(path, &bytes)?;
    let Metadata {
        identity,
        steps_done,
        segments,
        ..
    } = metadata(&file, path)?;
    let values = |prefix: &str, tensor: &TensorSpecification, suffix: &str| {
        let name = format!("{prefix}.{}{suffix}", tensor.name);
        let values = file.expect(&name, &tensor.file_dims)?;
        Ok(values
            .into_iter()
            .map(|value| value as f32)
            .collect::<Vec<f32>>())
    };
    let restore = |kind| -> Result<(Network, Vec<Moments>)> {
        let network = Network::from_file_values(kind, identity.model, backend, |tensor| {
            values(kind.name(), tensor, "")
        })?;
        let moments = network
            .trained()
            .map(|tensor| {
                let moment = |suffix: &str| {
                    let values = values(kind.name(), tensor, &format!(".{suffix}"))?;
                    upload(&**backend, tensor, &values)
                };
                Ok(Moments {
                    first: moment(FIRST)?,
                    second: moment(SECOND)?,
                })
            })
            .collect::<Result<_>>()?;
        Ok((network, moments))
    };
    let (generator, generator_moments) = restore(NetworkKind::Generator)?;
    let (discriminator, discriminator_moments) = restore(NetworkKind::Discriminator)?;
    let mut trainer = Trainer::new(generator, discriminator, identity.training.adam())?
        .with_step_sizes(&identity.training);
    trainer.generator_moments = generator_moments;
    trainer.discriminator_moments = discriminator_moments;
    trainer.steps_done = steps_done;
    let decay = identity.training.average;
    if decay > 0.0 {
        let kind = NetworkKind::Generator;
        let network = Network::from_file_values(kind, identity.model, backend, |tensor| {
            values(AVERAGE, tensor, "")
        })?;
        trainer = trainer.with_average(Average::new(network, decay));
    }
    Ok((Record { identity, segments }, trainer))
}

fn parts(trainer: &Trainer) -> [(&Network, &[Moments]); 2] {
    [
        (&trainer.generator, &trainer.generator_moments),
        (&trainer.discriminator, &trainer.discriminator_moments),
    ]
}

fn metadata(file: &TensorFile<'_>, path: &Path) -> Result<Metadata> {
    let refused = |problem: String| {
        Error::file(
            path,
            problem,
            "name a run folder of `cosmogan train`, or start a new run",
        )
    };
    let json = file.metadata(KEY).ok_or_else(|| {
        refused("not a checkpoint: its metadata does not describe a run".to_owned())
    })?;
    let damaged = |problem: String| {
        let previous = "checkpoint-previous.safetensors";
        Error::file(
            path,
            format!("is damaged: {problem}"),
            format!("copy {previous} of the same folder over it, or start again with --overwrite"),
        )
    };
    let json: serde_json::Value =
        serde_json::from_str(json).map_err(|error| damaged(error.to_string()))?;
    if json["format"] != FORMAT {
        let format = json["format"].as_str().unwrap_or("cosmogan checkpoint 1");
        return Err(refused(format!(
            "has the format `{}`, but this program reads `{FORMAT}`",
            format.escape_debug()
        )));
    }
    let metadata: Metadata =
        serde_json::from_value(json).map_err(|error| damaged(error.to_string()))?;
    let names = file.names();
    let tensors = names.iter().filter_map(|name| {
        let (dims, values) = file.stored(name)?;
        Some(sealed(name, dims, values))
    });
    if metadata.seal(tensors) != metadata.sha256 {
        return Err(damaged(
            "its SHA-256 differs from the one it holds".to_owned(),
        ));
    }
    let identity = &metadata.identity;
    match identity
        .model
        .problem()
        .or_else(|| identity.training.problem())
    {
        None => Ok(metadata),
        Some(problem) => Err(refused(problem)),
    }
}
