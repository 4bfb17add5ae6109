//! Reading and writing of weight files: safetensors in PyTorch's layout and naming.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use cosmogan_engine::backend::Backend;
use half::f16;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::de::DeserializeOwned;

use super::network::Network;
use crate::error::{Error, Result};
use crate::files::write_atomically;
use cosmogan_generator::specification::NetworkKind;
use cosmogan_generator::tensor_file::{CONFIG_KEY, TensorFile, refuse_strangers};

/// The configuration entry that describes the training maps.
pub(crate) const DATA_ENTRY: &str = "data";

/// Reads a whole file.
///
/// # Errors
/// If it cannot be read.
pub fn read_file(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| Error::file(path, error, "name a readable file"))
}

/// Loads a network from a weight file.
///
/// # Errors
/// If the file is not a complete safetensors file, if tensors are missing, superfluous, of other extents or not finite,
/// or if the configuration in its metadata disagrees with its tensors.
pub fn load(path: &Path, kind: NetworkKind, backend: &Arc<dyn Backend>) -> Result<Network> {
    from_bytes(path, &read_file(path)?, kind, backend)
}

/// Loads a network from the bytes of a weight file; `path` names it in error messages.
///
/// # Errors
/// As [`load`], except for reading the file.
pub fn from_bytes(
    path: &Path,
    bytes: &[u8],
    kind: NetworkKind,
    backend: &Arc<dyn Backend>,
) -> Result<Network> {
    let file = TensorFile::parse(path, bytes)?;
    let config = file.config(kind)?;
    refuse_strangers(&file, kind, &config)?;
    Network::from_file_values(kind, config, backend, |tensor| {
        let values = file.parameter(tensor)?;
        Ok(values.into_iter().map(|value| value as f32).collect())
    })
}

/// Saves a network in the form that PyTorch's `load_state_dict` accepts.
///
/// # Errors
/// If the file cannot be written.
pub fn save(network: &Network, path: &Path) -> Result<()> {
    save_with(network, path, None)
}

/// Saves a network as [`save`] does, with additional configuration entries, which [`load`] ignores.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn save_with(
    network: &Network,
    path: &Path,
    entries: impl IntoIterator<Item = (&'static str, serde_json::Value)>,
) -> Result<()> {
    let mut described = serde_json::json!(network.config());
    for (key, entry) in entries {
        described[key] = entry;
    }
    let downloaded = network.download()?;
    let tensors = downloaded.iter().map(|(tensor, values)| {
        (
            tensor.name.clone(),
            tensor.file_dims.clone(),
            values.as_slice(),
        )
    });
    write_tensors(path, tensors, (CONFIG_KEY, described.to_string()))
}

/// The configuration entry `key` of the weight file at `path`, if present.
///
/// # Errors
/// If the file cannot be read, or the entry does not deserialise to `T`.
pub(crate) fn entry<T: DeserializeOwned>(path: &Path, key: &str) -> Result<Option<T>> {
    let bytes = read_file(path)?;
    entry_in(&TensorFile::parse(path, &bytes)?, key)
}

/// The configuration entry `key` of a weight file, if present.
///
/// # Errors
/// If the entry does not deserialise to `T`.
pub(crate) fn entry_in<T: DeserializeOwned>(file: &TensorFile<'_>, key: &str) -> Result<Option<T>> {
    let refused = |error: serde_json::Error| {
        let problem = format!("`{key}` in its `{CONFIG_KEY}` is damaged: {error}");
        Error::file(file.path(), problem, "use weights written by this program")
    };
    let Some(config) = file.metadata(CONFIG_KEY) else {
        return Ok(None);
    };
    let mut config: serde_json::Value = serde_json::from_str(config).map_err(refused)?;
    let found = config.get_mut(key).map(serde_json::Value::take);
    found
        .map(serde_json::from_value)
        .transpose()
        .map_err(refused)
}

/// Number format of stored values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// float32.
    Single,
    /// float16; vectors stay float32, because they are small and some hold variances.
    Half,
}

impl Storage {
    fn of(self, dims: &[usize], values: &[f32]) -> (Dtype, Vec<u8>) {
        if self == Self::Half && dims.len() > 1 {
            let halves = values.iter().map(|&value| f16::from_f32(value));
            return (Dtype::F16, halves.flat_map(f16::to_le_bytes).collect());
        }
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        (Dtype::F32, bytes.collect())
    }
}

/// Checks values before they take the place of those in the file at `path`.
///
/// # Errors
/// If one is not finite: every program refuses to read such weights.
pub(crate) fn require_finite(path: &Path, name: &str, values: &[f32]) -> Result<()> {
    // No branch per value, so that the loop vectorises.
    if values
        .iter()
        .fold(true, |all, value| all & value.is_finite())
    {
        return Ok(());
    }
    let value = values.iter().find(|value| !value.is_finite());
    let value = value.copied().unwrap_or(f32::NAN);
    Err(Error::file(
        path,
        format!("not written: tensor `{name}` holds {value}, so the training diverged"),
        "the file that is there is intact; start again with a lower learning_rate in --config",
    ))
}

/// Writes float32 tensors (name, extents, values) to a safetensors file.
///
/// # Errors
/// As [`write_stored`].
pub fn write_tensors<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, Vec<usize>, &'a [f32])>,
    metadata: (&str, String),
) -> Result<()> {
    write_stored(path, Storage::Single, tensors, metadata)
}

/// Writes tensors (name, extents, values) to a safetensors file.
///
/// There is only one metadata entry: the safetensors crate writes several in random order, and equal runs must write
/// equal bytes.
///
/// # Errors
/// If a value is not finite or the file cannot be written.
pub fn write_stored<'a>(
    path: &Path,
    storage: Storage,
    tensors: impl IntoIterator<Item = (String, Vec<usize>, &'a [f32])>,
    metadata: (&str, String),
) -> Result<()> {
    let bytes = serialized(path, storage, tensors, metadata)?;
    Ok(write_atomically(path, &bytes)?)
}

/// The bytes of the file that [`write_stored`] writes to `path`.
///
/// # Errors
/// If a value is not finite.
pub fn serialized<'a>(
    path: &Path,
    storage: Storage,
    tensors: impl IntoIterator<Item = (String, Vec<usize>, &'a [f32])>,
    (key, entry): (&str, String),
) -> Result<Vec<u8>> {
    let metadata = HashMap::from([(key.to_owned(), entry)]);
    let owned: Vec<_> = tensors
        .into_iter()
        .map(|(name, dims, values)| {
            require_finite(path, &name, values)?;
            let stored = storage.of(&dims, values);
            Ok((name, dims, stored))
        })
        .collect::<Result<_>>()?;
    owned
        .iter()
        .map(|(name, dims, (dtype, bytes))| {
            TensorView::new(*dtype, dims.clone(), bytes).map(|view| (name.as_str(), view))
        })
        .collect::<std::result::Result<Vec<_>, _>>()
        .and_then(|views| safetensors::serialize(views, Some(metadata)))
        .map_err(|error| Error::file(path, error, "report this as a bug"))
}
