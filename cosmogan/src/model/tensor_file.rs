//! Tensors in a safetensors file, where it lies in memory.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use cosmogan_engine::half::widened;
use tinyjson::JsonValue;

use super::config::ModelConfig;
use super::json;
use super::specification::{NetworkKind, tensors};
use crate::error::{Error, Result};

/// The metadata key that carries the configuration.
pub const CONFIG_KEY: &str = "cosmogan.config";

/// A safetensors file in memory, parsed: eight bytes with the length of the header, the header in JSON, and the values.
/// Those stay where they are, but for tensors of float16: with one of them in it, a file is copied, widened to float32.
#[derive(Debug)]
pub struct TensorFile<'a> {
    path: &'a Path,
    values: Cow<'a, [u8]>,
    tensors: HashMap<String, Tensor>,
    metadata: HashMap<String, String>,
}

#[derive(Debug)]
struct Tensor {
    dtype: String,
    dims: Vec<usize>,
    bytes: Range<usize>,
}

impl<'a> TensorFile<'a> {
    /// Parses `bytes`, which came from `path`.
    ///
    /// # Errors
    /// Where they are not a safetensors file.
    pub fn parse(path: &'a Path, bytes: &'a [u8]) -> Result<Self> {
        let refused = |problem: &str| {
            Error::file(
                path,
                format!("not a whole safetensors file: {problem}"),
                "name a file that was written by `cosmogan train` or by safetensors",
            )
        };
        let (length, rest) = bytes
            .split_first_chunk::<8>()
            .ok_or_else(|| refused("it is shorter than eight bytes"))?;
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > rest.len() {
            return Err(refused("it ends within its header"));
        }
        let (header, values) = rest.split_at(length);
        let header = std::str::from_utf8(header).map_err(|_| refused("its header is no text"))?;
        let entries =
            json::object(header).ok_or_else(|| refused("its header is no JSON object"))?;
        let mut tensors = HashMap::new();
        let mut metadata = HashMap::new();
        for (name, entry) in entries {
            if name == "__metadata__" {
                let pairs: &HashMap<String, JsonValue> = entry
                    .get()
                    .ok_or_else(|| refused("its metadata are no JSON object"))?;
                metadata = pairs
                    .iter()
                    .filter_map(|(key, value)| Some((key.clone(), value.get::<String>()?.clone())))
                    .collect();
                continue;
            }
            let tensor = tensor(&entry, values.len())
                .ok_or_else(|| refused(&format!("tensor `{name}` does not lie in it")))?;
            tensors.insert(name, tensor);
        }
        let mut values = Cow::Borrowed(values);
        if tensors.values().any(Tensor::is_half) {
            values = Cow::Owned(widen(&values, tensors.values_mut()));
        }
        Ok(Self {
            path,
            values,
            tensors,
            metadata,
        })
    }

    /// The file.
    pub fn path(&self) -> &'a Path {
        self.path
    }

    /// A metadata entry.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// Names of all tensors.
    pub fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    /// Extents and values of a tensor of floating point numbers, if there is one of that name.
    ///
    /// # Errors
    /// Where it has another type.
    pub fn get(&self, name: &str) -> Result<Option<(Vec<usize>, Vec<f64>)>> {
        let Some(tensor) = self.tensors.get(name) else {
            return Ok(None);
        };
        let bytes = &self.values[tensor.bytes.clone()];
        let values = match tensor.dtype.as_str() {
            "F32" => bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|bytes| f64::from(f32::from_le_bytes(*bytes)))
                .collect(),
            "F64" => bytes
                .as_chunks::<8>()
                .0
                .iter()
                .map(|bytes| f64::from_le_bytes(*bytes))
                .collect(),
            other => return Err(self.refuse_type(name, other)),
        };
        Ok(Some((tensor.dims.clone(), values)))
    }

    /// Values of a tensor that must be there with these extents.
    ///
    /// # Errors
    /// Where it is missing, has other extents, or holds a value that is not finite.
    pub fn expect(&self, name: &str, dims: &[usize]) -> Result<Vec<f64>> {
        self.require_extents(name, dims)?;
        let values = self.get(name)?.map(|(_, values)| values);
        let values = values.unwrap_or_default();
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(index) => Err(self.refuse_value(name, index, values[index])),
        }
    }

    /// Values of a tensor of float32 or float16 that must be there with these extents, as float32: where they lie in the
    /// file, unless they were widened.
    ///
    /// # Errors
    /// As of [`expect`](Self::expect), and where it has another type.
    pub fn expect_in_place(&self, name: &str, dims: &[usize]) -> Result<&[[u8; 4]]> {
        let tensor = self.require_extents(name, dims)?;
        if tensor.dtype != "F32" {
            return Err(self.refuse_type(name, &tensor.dtype));
        }
        let (values, _) = self.values[tensor.bytes.clone()].as_chunks::<4>();
        // Without a branch for each value, so that millions are looked at in a moment.
        let finite = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes).is_finite();
        let all_finite = values.iter().fold(true, |all, bytes| all & finite(bytes));
        if let (false, Some(index)) = (all_finite, values.iter().position(|v| !finite(v))) {
            return Err(self.refuse_value(name, index, f32::from_le_bytes(values[index]).into()));
        }
        Ok(values)
    }

    fn require_extents(&self, name: &str, dims: &[usize]) -> Result<&Tensor> {
        const REMEDY: &str = "use a file that belongs to this model";
        let tensor = self
            .tensors
            .get(name)
            .ok_or_else(|| Error::file(self.path, format!("tensor `{name}` is missing"), REMEDY))?;
        if tensor.dims == dims {
            return Ok(tensor);
        }
        Err(Error::file(
            self.path,
            format!(
                "tensor `{name}` has shape {:?} where {dims:?} is expected",
                tensor.dims
            ),
            REMEDY,
        ))
    }

    fn refuse_type(&self, name: &str, dtype: &str) -> Error {
        Error::file(
            self.path,
            format!("tensor `{name}` has type {dtype}"),
            "store weights as float32 or float16",
        )
    }

    fn refuse_value(&self, name: &str, index: usize, value: f64) -> Error {
        Error::file(
            self.path,
            format!("tensor `{name}` holds {value} at element {index}"),
            "use an earlier checkpoint",
        )
    }

    /// The configuration: from the metadata or, for a file that another program wrote, from the extents themselves.
    ///
    /// # Errors
    /// Where neither says what the model is, or the metadata describes an impossible one.
    pub fn config(&self, kind: NetworkKind) -> Result<ModelConfig> {
        const REMEDY: &str = "use a weight file of this model";
        let config = match self.metadata(CONFIG_KEY) {
            Some(text) => ModelConfig::from_json(text).map_err(|problem| {
                Error::file(
                    self.path,
                    format!("metadata `{CONFIG_KEY}` is not a configuration: {problem}"),
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
        let shape = |name: &str| self.tensors.get(name).map(|tensor| &tensor.dims);
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

impl Tensor {
    fn is_half(&self) -> bool {
        self.dtype == "F16"
    }
}

/// All values, those of half precision in single, and from now on at these places.
fn widen<'t>(values: &[u8], tensors: impl Iterator<Item = &'t mut Tensor>) -> Vec<u8> {
    let mut widened_values = Vec::new();
    for tensor in tensors {
        let bytes = &values[tensor.bytes.clone()];
        let start = widened_values.len();
        if tensor.is_half() {
            let (halves, _) = bytes.as_chunks::<2>();
            let wide = halves
                .iter()
                .map(|bytes| widened(u16::from_le_bytes(*bytes)));
            widened_values.extend(wide.flat_map(f32::to_le_bytes));
            tensor.dtype = "F32".to_owned();
        } else {
            widened_values.extend_from_slice(bytes);
        }
        tensor.bytes = start..widened_values.len();
    }
    widened_values
}

/// What the header says of a tensor; nothing where that is incomplete or does not fit into so many bytes.
fn tensor(entry: &JsonValue, available: usize) -> Option<Tensor> {
    let entry: &HashMap<String, JsonValue> = entry.get()?;
    let list = |name: &str| -> Option<Vec<usize>> {
        let values: &Vec<JsonValue> = entry.get(name)?.get()?;
        values.iter().map(json::whole).collect()
    };
    let (dtype, dims) = (entry.get("dtype")?.get::<String>()?.clone(), list("shape")?);
    let &[start, end] = &list("data_offsets")?[..] else {
        return None;
    };
    let width = match dtype.as_str() {
        "F64" | "I64" | "U64" => 8,
        "F32" | "I32" | "U32" => 4,
        "F16" | "BF16" | "I16" | "U16" => 2,
        _ => 1,
    };
    let bytes = dims
        .iter()
        .try_fold(width, |bytes: usize, &extent| bytes.checked_mul(extent))?;
    let fits = start <= end && end <= available && end - start == bytes;
    fits.then_some(Tensor {
        dtype,
        dims,
        bytes: start..end,
    })
}

/// Refuses tensors that the model does not have, except PyTorch's batch counters, which nothing here needs.
///
/// # Errors
/// Naming the first of them.
pub(crate) fn refuse_strangers(
    file: &TensorFile<'_>,
    kind: NetworkKind,
    config: &ModelConfig,
) -> Result<()> {
    let expected = tensors(kind, config);
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

#[cfg(all(test, feature = "program"))]
mod tests {
    use super::widened;

    #[test]
    fn every_number_is_widened_exactly() {
        for bits in 0..=u16::MAX {
            let (found, expected) = (widened(bits), half::f16::from_bits(bits).to_f32());
            let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
            assert!(same, "{bits:#06x}: {found} is not {expected}");
        }
    }
}
