//! Readers for golden files: tensors in PyTorch's layout, maps and latents.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

/// Tensors by name.
pub(crate) type Tensors = BTreeMap<String, Vec<f64>>;

pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(name)
}

pub(crate) fn read_tensors(path: &Path) -> Tensors {
    with_shapes(path)
        .into_iter()
        .map(|(name, (_, values))| (name, values))
        .collect()
}

/// Extents and values by name.
pub(crate) fn with_shapes(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f64>)> {
    let bytes = std::fs::read(path).expect("golden files are part of the repository");
    let file = SafeTensors::deserialize(&bytes).expect("golden files are safetensors");
    file.tensors()
        .into_iter()
        .map(|(name, view)| {
            let values = match view.dtype() {
                Dtype::F32 => view
                    .data()
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|bytes| f64::from(f32::from_le_bytes(*bytes)))
                    .collect(),
                Dtype::F64 => view
                    .data()
                    .as_chunks::<8>()
                    .0
                    .iter()
                    .map(|bytes| f64::from_le_bytes(*bytes))
                    .collect(),
                other => panic!("{name} has type {other:?}"),
            };
            (name, (view.shape().to_vec(), values))
        })
        .collect()
}

/// Values of a float32 array in the NPY format, version 1.0.
pub(crate) fn read_maps(path: &Path) -> Vec<f64> {
    let bytes = std::fs::read(path).expect("golden files are part of the repository");
    assert!(
        bytes.starts_with(b"\x93NUMPY\x01\x00"),
        "golden maps are NPY 1.0"
    );
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8_lossy(&bytes[10..start]);
    assert!(header.contains("'descr': '<f4', 'fortran_order': False"));
    let (values, []) = bytes[start..].as_chunks::<4>() else {
        panic!("golden maps hold whole numbers");
    };
    values
        .iter()
        .map(|bytes| f64::from(f32::from_le_bytes(*bytes)))
        .collect()
}
