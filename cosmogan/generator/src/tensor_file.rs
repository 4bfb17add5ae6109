//! Reader of safetensors files in memory, without copying their values.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use cosmogan_engine::half::widened;
use tinyjson::JsonValue;

use crate::config::ModelConfig;
use crate::json;
use crate::specification::{NetworkKind, Role, TensorSpecification, tensors};
use cosmogan_base::{Error, Result};

/// Metadata key of the configuration.
pub const CONFIG_KEY: &str = "cosmogan.config";

/// A parsed safetensors file in memory.
///
/// The file consists of the length of the header in eight bytes, the header in JSON, and the values. The values are
/// borrowed, unless a tensor is float16: then all values are copied, and float16 is widened to float32.
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
    /// Parses `bytes`, the contents of the file at `path`.
    ///
    /// # Errors
    /// If they are not a complete safetensors file.
    pub fn parse(path: &'a Path, bytes: &'a [u8]) -> Result<Self> {
        let refused = |problem: &str| {
            Error::file(
                path,
                format!("not a complete safetensors file: {problem}"),
                "name a file written by `cosmogan train` or by safetensors",
            )
        };
        if let Some((problem, remedy)) = foreign(bytes) {
            return Err(Error::file(path, problem, remedy));
        }
        let (length, rest) = bytes
            .split_first_chunk::<8>()
            .ok_or_else(|| refused("it is shorter than eight bytes"))?;
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > rest.len() {
            return Err(refused("it ends within its header"));
        }
        let (header, values) = rest.split_at(length);
        let header = std::str::from_utf8(header).map_err(|_| refused("its header is not UTF-8"))?;
        let entries =
            json::object(header).ok_or_else(|| refused("its header is not a JSON object"))?;
        if let Some(key) = json::repeated_key(header) {
            let key = key.escape_debug();
            return Err(refused(&format!("its header has the key `{key}` twice")));
        }
        let mut tensors = HashMap::new();
        let mut metadata = HashMap::new();
        for (name, entry) in entries {
            if name == "__metadata__" {
                let pairs: &HashMap<String, JsonValue> = entry
                    .get()
                    .ok_or_else(|| refused("its metadata is not a JSON object"))?;
                metadata = pairs
                    .iter()
                    .filter_map(|(key, value)| Some((key.clone(), value.get::<String>()?.clone())))
                    .collect();
                continue;
            }
            let tensor = tensor(&entry, values.len()).ok_or_else(|| {
                refused(&format!(
                    "tensor `{}` is malformed or lies outside the file",
                    name.escape_debug()
                ))
            })?;
            tensors.insert(name, tensor);
        }
        require_each_byte_once(&tensors, values.len()).map_err(|problem| refused(&problem))?;
        strip_prefix(&mut tensors);
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

    /// The path of the file.
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

    /// Extents and values of the floating-point tensor `name`; `None` if the file has no such tensor.
    ///
    /// # Errors
    /// If it has another type.
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

    /// Values of a tensor of a network. A missing bias in front of a batch normalisation, which has no effect, is zero.
    ///
    /// # Errors
    /// As [`expect`](Self::expect).
    pub fn parameter(&self, tensor: &TensorSpecification) -> Result<Vec<f64>> {
        match (tensor.role, &tensor.file_dims[..]) {
            (Role::IneffectiveBias, &[channels]) => self.ineffective_bias(&tensor.name, channels),
            (_, dims) => self.expect(&tensor.name, dims),
        }
    }

    /// Values of a bias in front of a batch normalisation; zeros if the file has none.
    ///
    /// # Errors
    /// As [`expect`](Self::expect).
    pub(crate) fn ineffective_bias(&self, name: &str, channels: usize) -> Result<Vec<f64>> {
        match self.tensors.contains_key(name) {
            true => self.expect(name, &[channels]),
            false => Ok(vec![0.0; channels]),
        }
    }

    /// The same tensors under the names that `name` gives them.
    ///
    /// # Errors
    /// If two tensors get one name.
    pub fn renamed(mut self, name: impl Fn(&str) -> String) -> Result<Self> {
        for (old, tensor) in std::mem::take(&mut self.tensors) {
            let new = name(&old);
            if self.tensors.insert(new.clone(), tensor).is_some() {
                return Err(Error::file(
                    self.path,
                    format!("holds `{new}` under two names, one of them `{old}`"),
                    "use a file that holds only the tensors of one generator",
                ));
            }
        }
        Ok(self)
    }

    /// Extents and bytes of the tensor `name`; float16 is widened to float32.
    pub fn stored(&self, name: &str) -> Option<(&[usize], &[u8])> {
        let tensor = self.tensors.get(name)?;
        Some((&tensor.dims, &self.values[tensor.bytes.clone()]))
    }

    /// Values of the tensor `name`, which must exist with extents `dims`.
    ///
    /// # Errors
    /// If it is missing, has other extents, or holds a value that is not finite.
    pub fn expect(&self, name: &str, dims: &[usize]) -> Result<Vec<f64>> {
        self.require_extents(name, dims)?;
        let values = self.get(name)?.map(|(_, values)| values);
        let values = values.unwrap_or_default();
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(index) => Err(self.refuse_value(name, index, values[index])),
        }
    }

    /// Values of the float32 or float16 tensor `name` as little-endian float32, without copying.
    ///
    /// # Errors
    /// As [`expect`](Self::expect), and if the tensor has another type.
    pub fn expect_in_place(&self, name: &str, dims: &[usize]) -> Result<&[[u8; 4]]> {
        let tensor = self.require_extents(name, dims)?;
        if tensor.dtype != "F32" {
            return Err(self.refuse_type(name, &tensor.dtype));
        }
        let (values, _) = self.values[tensor.bytes.clone()].as_chunks::<4>();
        // No branch per value, so that the loop vectorises.
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

    /// The configuration: from the metadata or, in a file that another program wrote, inferred from the extents.
    ///
    /// # Errors
    /// If it can be taken from neither, or is invalid.
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
                        "this is not a {}: its tensors do not determine a model",
                        kind.name()
                    ),
                    match self.tensors.keys().any(|name| name.starts_with("main.")) {
                        true => "convert it with `cosmogan import`",
                        false => REMEDY,
                    },
                )
            })?,
        };
        match config.problem() {
            None => Ok(config),
            Some(problem) => Err(Error::file(self.path, problem, REMEDY)),
        }
    }

    /// The configuration implied by the extents of the tensors.
    ///
    /// The tensors of one network leave the other's channels and latent width open: the same number of channels and the
    /// paper's latent width are assumed.
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

/// What a file is that is often taken for weights, and the remedy.
fn foreign(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    const SAVE: &str =
        "load it in Python, and save its state_dict with safetensors.torch.save_file";
    match bytes {
        [b'P', b'K', 3, 4, ..] | [0x80, 2..=5, ..] => Some((
            "is a file of torch.save (.pth, .pt), not a safetensors file",
            SAVE,
        )),
        [0x89, b'H', b'D', b'F', ..] => Some(("is an HDF5 file, not a safetensors file", SAVE)),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Some((
            "is a NumPy array (.npy), not a safetensors file",
            "name a file of weights",
        )),
        _ if bytes.starts_with(b"SIMPLE  =") => Some((
            "is a FITS file, not a safetensors file",
            "name a file of weights",
        )),
        [b'<', ..] => Some((
            "is a web page, perhaps an error message of a download",
            "download the file again",
        )),
        _ if bytes.starts_with(b"version https://git-lfs") => Some((
            "is a pointer of Git LFS, not the file itself",
            "fetch the file with git lfs pull",
        )),
        _ => None,
    }
}

/// Checks that the tensors cover all values, each byte once, as the format requires.
///
/// # Errors
/// The first tensor that shares bytes with another one or follows a gap, or the bytes that belong to none.
fn require_each_byte_once(
    tensors: &HashMap<String, Tensor>,
    available: usize,
) -> std::result::Result<(), String> {
    let mut ranges: Vec<_> = tensors
        .iter()
        .map(|(name, tensor)| (tensor.bytes.start, tensor.bytes.end, name))
        .collect();
    ranges.sort_unstable();
    let mut next = 0;
    for (start, end, name) in ranges {
        if start != next {
            let how = match start < next {
                true => "shares bytes with another one",
                false => "follows bytes that belong to none",
            };
            return Err(format!("tensor `{}` {how}", name.escape_debug()));
        }
        next = end;
    }
    match available - next {
        0 => Ok(()),
        left => Err(format!("{left} bytes at its end belong to no tensor")),
    }
}

/// Removes a prefix that wrappers of PyTorch put before every name, such as `module.`, `_orig_mod.` and `generator.`.
fn strip_prefix(tensors: &mut HashMap<String, Tensor>) {
    const PREFIXES: [&str; 4] = ["module.", "_orig_mod.", "generator.", "discriminator."];
    while let Some(prefix) = PREFIXES
        .into_iter()
        .find(|prefix| !tensors.is_empty() && tensors.keys().all(|name| name.starts_with(prefix)))
    {
        let all = std::mem::take(tensors);
        tensors.extend(
            all.into_iter()
                .map(|(name, tensor)| (name[prefix.len()..].to_owned(), tensor)),
        );
    }
}

impl Tensor {
    fn is_half(&self) -> bool {
        self.dtype == "F16"
    }
}

/// Copies all values, float16 widened to float32, and updates each tensor's type and byte range.
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

/// Parses a tensor's header entry; `None` if it is incomplete or does not fit into `available` bytes.
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

/// Rejects tensors that do not belong to the model, except PyTorch's batch counters, which are not used here.
///
/// # Errors
/// If there is such a tensor; the message names the first.
pub fn refuse_strangers(
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
            "use a file that holds only the tensors of this network and configuration",
        )),
    }
}

#[cfg(test)]
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
