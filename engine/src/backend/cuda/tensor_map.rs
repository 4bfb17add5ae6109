//! Encoded tensor maps for the tensor memory accelerator (TMA).

use cosmogan_kernels::Precision;
use cosmogan_kernels::tensor_map::TensorMap;
use cudarc::driver::sys;

use super::device::describe;
use crate::error::{Error, Result};

/// A tensor map as CUDA 13 declares it; earlier releases align it to 64 bytes.
#[repr(C, align(128))]
struct Aligned(sys::CUtensorMap);

/// Encodes `map` for the tensor at `address`.
pub(super) fn encode(map: &TensorMap, address: u64) -> Result<[u8; 128]> {
    map.check().map_err(|problem| {
        Error::Device(format!(
            "the tensor memory accelerator does not support {problem}"
        ))
    })?;
    let narrow = |extents: Vec<usize>| -> Vec<u32> {
        let fits = |extent| u32::try_from(extent).unwrap_or(u32::MAX);
        extents.into_iter().map(fits).collect()
    };
    let wide =
        |extents: &[usize]| -> Vec<u64> { extents.iter().map(|&extent| extent as u64).collect() };
    let data_type = match map.operand {
        Precision::Bf16 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        // Values are rounded to tf32 already, so they are copied unchanged.
        Precision::Tf32 | Precision::F32 => {
            sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT32
        }
    };
    let (extents, strides) = (wide(&map.extents), wide(&map.strides()));
    let (spans, steps) = (narrow(map.spans()), narrow(map.steps.clone()));
    let mut encoded = Aligned(sys::CUtensorMap { opaque: [0; 16] });
    // SAFETY: `check` ensures that every pointer refers to as many numbers as the tensor has axes, or one fewer for
    // strides; the driver stores the address and does not read from it.
    let outcome = unsafe {
        sys::cuTensorMapEncodeTiled(
            &raw mut encoded.0,
            data_type,
            map.extents.len() as u32,
            address as *mut _,
            extents.as_ptr(),
            strides.as_ptr(),
            spans.as_ptr(),
            steps.as_ptr(),
            sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    };
    outcome
        .result()
        .map_err(|error| describe("describe", &format!("a tensor ({map:?})"), error))?;
    let mut bytes = [0; 128];
    for (to, word) in bytes.chunks_mut(8).zip(encoded.0.opaque) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
    Ok(bytes)
}
