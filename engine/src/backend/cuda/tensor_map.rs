//! Tensors as the driver describes them to the tensor memory accelerator.

use cosmogan_kernels::pack::Operand;
use cosmogan_kernels::tensor_map::TensorMap;
use cudarc::driver::sys;

use super::device::describe;
use crate::error::{Error, Result};

/// `map` at `address`.
pub(super) fn encode(map: &TensorMap, address: u64) -> Result<[u8; 128]> {
    map.check().map_err(|problem| {
        Error::Device(format!(
            "the tensor memory accelerator does not take {problem}"
        ))
    })?;
    let narrow = |extents: Vec<usize>| -> Vec<u32> {
        let fits = |extent| u32::try_from(extent).unwrap_or(u32::MAX);
        extents.into_iter().map(fits).collect()
    };
    let wide =
        |extents: &[usize]| -> Vec<u64> { extents.iter().map(|&extent| extent as u64).collect() };
    let data_type = match map.operand {
        Operand::Bf16 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        // Rounded to tf32 already, so that they are copied as they are.
        Operand::Tf32 | Operand::F32 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
    };
    let (extents, strides) = (wide(&map.extents), wide(&map.strides()));
    let (spans, steps) = (narrow(map.spans()), narrow(map.steps.clone()));
    let mut encoded = sys::CUtensorMap { opaque: [0; 16] };
    // SAFETY: every pointer leads to as many numbers as the tensor has axes (one less for strides), which `check` has seen
    // to; the driver notes the address and reads nothing there.
    let outcome = unsafe {
        sys::cuTensorMapEncodeTiled(
            &raw mut encoded,
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
    for (to, word) in bytes.chunks_mut(8).zip(encoded.opaque) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
    Ok(bytes)
}
