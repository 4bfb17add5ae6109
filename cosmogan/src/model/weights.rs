//! Weight files: safetensors in PyTorch's layout and naming.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use cosmogan_engine::backend::Backend;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::config::ModelConfig;
use super::network::Network;
use super::specification::{NetworkKind, TensorSpecification, tensors};
use crate::error::{Error, Result};
use crate::files::write_atomically;

/// The metadata key that carries the configuration.
pub const CONFIG_KEY: &str = "cosmogan.config";

/// A safetensors file in memory, parsed.
#[derive(Debug)]
pub struct TensorFile<'a> {
    path: &'a Path,
    tensors: SafeTensors<'a>,
    metadata: HashMap<String, String>,
}

impl<'a> TensorFile<'a> {
    /// Parses `bytes`, which came from `path`.
    ///
    /// # Errors
    /// Where they are not a safetensors file.
    pub fn parse(path: &'a Path, bytes: &'a [u8]) -> Result<Self> {
        let refused = |error| {
            Error::file(
                path,
                format!("not a whole safetensors file: {error}"),
                "name a file that was written by `cosmogan train` or by safetensors",
            )
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(refused)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(refused)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        Ok(Self {
            path,
            tensors,
            metadata,
        })
    }

    /// A metadata entry.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// Names of all tensors.
    pub fn names(&self) -> Vec<&str> {
        self.tensors.names()
    }

    /// Extents and values of a tensor of float32 or float64, if there is one of that name.
    ///
    /// # Errors
    /// Where it has another type.
    pub fn get(&self, name: &str) -> Result<Option<(Vec<usize>, Vec<f64>)>> {
        let Ok(view) = self.tensors.tensor(name) else {
            return Ok(None);
        };
        let bytes = view.data();
        let values = match view.dtype() {
            Dtype::F32 => bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|bytes| f64::from(f32::from_le_bytes(*bytes)))
                .collect(),
            Dtype::F64 => bytes
                .as_chunks::<8>()
                .0
                .iter()
                .map(|bytes| f64::from_le_bytes(*bytes))
                .collect(),
            other => {
                return Err(Error::file(
                    self.path,
                    format!("tensor `{name}` has type {other:?}"),
                    "store weights as float32",
                ));
            }
        };
        Ok(Some((view.shape().to_vec(), values)))
    }

    /// Values of a tensor that must be there with these extents.
    ///
    /// # Errors
    /// Where it is missing, has other extents, or holds a value that is not finite.
    pub fn expect(&self, name: &str, dims: &[usize]) -> Result<Vec<f64>> {
        const REMEDY: &str = "use a file that belongs to this model";
        let (found, values) = self
            .get(name)?
            .ok_or_else(|| Error::file(self.path, format!("tensor `{name}` is missing"), REMEDY))?;
        if found != dims {
            return Err(Error::file(
                self.path,
                format!("tensor `{name}` has shape {found:?} where {dims:?} is expected"),
                REMEDY,
            ));
        }
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::file(
                self.path,
                format!("tensor `{name}` holds {} at element {index}", values[index]),
                "use an earlier checkpoint",
            ));
        }
        Ok(values)
    }

    /// The configuration: from the metadata or, for a file that another program wrote, from the extents themselves.
    ///
    /// # Errors
    /// Where neither says what the model is, or the metadata describes an impossible one.
    pub fn config(&self, kind: NetworkKind) -> Result<ModelConfig> {
        const REMEDY: &str = "use a weight file of this model";
        let config = match self.metadata(CONFIG_KEY) {
            Some(json) => serde_json::from_str(json).map_err(|error| {
                Error::file(
                    self.path,
                    format!("metadata `{CONFIG_KEY}` is not a configuration: {error}"),
                    REMEDY,
                )
            })?,
            None => self.inferred_config(kind).ok_or_else(|| {
                Error::file(
                    self.path,
                    format!(
                        "this is not a {}: its tensors do not say what model it is",
                        kind.name()
                    ),
                    REMEDY,
                )
            })?,
        };
        match config.problem() {
            None => Ok(config),
            Some(problem) => Err(Error::file(self.path, problem, REMEDY)),
        }
    }

    /// The configuration that tensors of these extents must have come from. What a network does not show of the
    /// other (its channels, the latent width) is taken to be equal or the paper's.
    fn inferred_config(&self, kind: NetworkKind) -> Option<ModelConfig> {
        let shape = |name: &str| {
            self.tensors
                .tensor(name)
                .ok()
                .map(|view| view.shape().to_vec())
        };
        let fc = shape("fc.weight")?;
        let (layers, base, c_dim, features, z_dim) = match kind {
            NetworkKind::Generator => {
                let layers =
                    (1..).take_while(|layer| shape(&format!("deconv{layer}.weight")).is_some());
                let layers = layers.count();
                let last = shape(&format!("deconv{layers}.weight"))?;
                (
                    layers,
                    *last.first()?,
                    *last.get(1)?,
                    *fc.first()?,
                    *fc.get(1)?,
                )
            }
            NetworkKind::Discriminator => {
                let layers =
                    (0..).take_while(|layer| shape(&format!("conv{layer}.weight")).is_some());
                let first = shape("conv0.weight")?;
                (
                    layers.count(),
                    *first.first()?,
                    *first.get(1)?,
                    *fc.get(1)?,
                    64,
                )
            }
        };
        if !(1..=6).contains(&layers) {
            return None;
        }
        let channels = base.checked_shl(layers as u32 - 1)?;
        let coarse = features.checked_div(channels)?.isqrt();
        Some(ModelConfig {
            output_size: coarse.checked_shl(layers as u32)?,
            layers,
            gf_dim: base,
            df_dim: base,
            z_dim,
            c_dim,
        })
    }
}

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
    let bytes = read_file(path)?;
    let file = TensorFile::parse(path, &bytes)?;
    let config = file.config(kind)?;
    refuse_strangers(&file, &tensors(kind, &config))?;
    Network::from_file_values(kind, config, backend, |tensor| {
        let values = file.expect(&tensor.name, &tensor.file_dims)?;
        Ok(values.into_iter().map(|value| value as f32).collect())
    })
}

/// Refuses tensors that the model does not have, except PyTorch's batch counters, which nothing here needs.
fn refuse_strangers(file: &TensorFile<'_>, expected: &[TensorSpecification]) -> Result<()> {
    let mut names = file.names();
    names.sort_unstable();
    let stranger = names.into_iter().find(|name| {
        !name.ends_with(".num_batches_tracked")
            && !expected.iter().any(|tensor| tensor.name == *name)
    });
    match stranger {
        None => Ok(()),
        Some(name) => Err(Error::file(
            file.path,
            format!("tensor `{name}` does not belong to this model"),
            "use a file of this network and configuration, without others' tensors",
        )),
    }
}

/// Saves a network so that PyTorch's `load_state_dict` takes it as it is.
///
/// # Errors
/// Where the file cannot be written.
pub fn save(network: &Network, path: &Path) -> Result<()> {
    save_described(network, path, network.config().to_json())
}

/// Saves a network as [`save`] does, with one more entry in its configuration, which readers of weights pass over.
///
/// # Errors
/// Where the file cannot be written.
pub(crate) fn save_with(
    network: &Network,
    path: &Path,
    (key, entry): (&str, serde_json::Value),
) -> Result<()> {
    let mut described = serde_json::json!(network.config());
    described[key] = entry;
    save_described(network, path, described.to_string())
}

fn save_described(network: &Network, path: &Path, config: String) -> Result<()> {
    let downloaded = network.download()?;
    let tensors = downloaded.iter().map(|(tensor, values)| {
        (
            tensor.name.clone(),
            tensor.file_dims.clone(),
            values.as_slice(),
        )
    });
    write_tensors(path, tensors, (CONFIG_KEY, config))
}

/// Writes float32 tensors, each a name, its extents and its values, to a safetensors file.
///
/// There is one metadata entry only: the format's library writes several in random order, and the same run is to
/// give the same bytes.
///
/// # Errors
/// Where the file cannot be written.
pub fn write_tensors<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, Vec<usize>, &'a [f32])>,
    (key, entry): (&str, String),
) -> Result<()> {
    let metadata = HashMap::from([(key.to_owned(), entry)]);
    let owned: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, dims, values)| {
            let bytes = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            (name, dims, bytes)
        })
        .collect();
    let bytes = owned
        .iter()
        .map(|(name, dims, bytes)| {
            TensorView::new(Dtype::F32, dims.clone(), bytes).map(|view| (name.as_str(), view))
        })
        .collect::<std::result::Result<Vec<_>, _>>()
        .and_then(|views| safetensors::serialize(views, Some(metadata)))
        .map_err(|error| Error::file(path, error, "report this as a defect"))?;
    write_atomically(path, &bytes)
}
