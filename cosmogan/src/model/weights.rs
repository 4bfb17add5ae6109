//! Networks from weight files and back: safetensors in PyTorch's layout and naming.

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
use super::specification::NetworkKind;
use super::tensor_file::{CONFIG_KEY, TensorFile, refuse_strangers};
use crate::error::{Error, Result};
use crate::files::write_atomically;

/// The entry of a configuration that says what maps a network was trained on.
pub(crate) const DATA_ENTRY: &str = "data";

/// Reads a whole file.
///
/// # Errors
/// Where it cannot be read.
pub fn read_file(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| Error::file(path, error, "name a readable file"))
}

/// Loads a network from a weight file.
///
/// # Errors
/// Where the file is not a whole safetensors file, where tensors are missing, superfluous, of other extents or not
/// finite, or where the configuration in its metadata disagrees with its tensors.
pub fn load(path: &Path, kind: NetworkKind, backend: &Arc<dyn Backend>) -> Result<Network> {
    from_bytes(path, &read_file(path)?, kind, backend)
}

/// Takes the bytes of such a file, which came from `path`.
///
/// # Errors
/// As [`load`], but for reading the file.
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
        let values = file.expect(&tensor.name, &tensor.file_dims)?;
        Ok(values.into_iter().map(|value| value as f32).collect())
    })
}

/// Saves a network so that PyTorch's `load_state_dict` takes it as it is.
///
/// # Errors
/// Where the file cannot be written.
pub fn save(network: &Network, path: &Path) -> Result<()> {
    save_with(network, path, None)
}

/// Saves a network as [`save`] does, with more entries in its configuration, which readers of weights pass over.
///
/// # Errors
/// Where the file cannot be written.
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

/// What the weights at `path` say under `key` in their configuration, if they do.
///
/// # Errors
/// Where the file cannot be read, or the entry is not of this kind.
pub(crate) fn entry<T: DeserializeOwned>(path: &Path, key: &str) -> Result<Option<T>> {
    let bytes = read_file(path)?;
    let file = TensorFile::parse(path, &bytes)?;
    let refused = |error: serde_json::Error| {
        let problem = format!("`{key}` in its `{CONFIG_KEY}` is damaged: {error}");
        Error::file(path, problem, "use weights that this program wrote")
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

/// How the values of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// float32.
    Single,
    /// float16, but for vectors: there are few values in those, and some are variances.
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

/// Writes float32 tensors, each a name, its extents and its values, to a safetensors file.
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

/// Writes tensors, each a name, its extents and its values, to a safetensors file.
///
/// There is one metadata entry only: the format's library writes several in random order, and the same run is to
/// give the same bytes.
///
/// # Errors
/// Where the file cannot be written.
pub fn write_stored<'a>(
    path: &Path,
    storage: Storage,
    tensors: impl IntoIterator<Item = (String, Vec<usize>, &'a [f32])>,
    (key, entry): (&str, String),
) -> Result<()> {
    let metadata = HashMap::from([(key.to_owned(), entry)]);
    let owned: Vec<_> = tensors
        .into_iter()
        .map(|(name, dims, values)| {
            let stored = storage.of(&dims, values);
            (name, dims, stored)
        })
        .collect();
    let bytes = owned
        .iter()
        .map(|(name, dims, (dtype, bytes))| {
            TensorView::new(*dtype, dims.clone(), bytes).map(|view| (name.as_str(), view))
        })
        .collect::<std::result::Result<Vec<_>, _>>()
        .and_then(|views| safetensors::serialize(views, Some(metadata)))
        .map_err(|error| Error::file(path, error, "report this as a defect"))?;
    write_atomically(path, &bytes)
}
