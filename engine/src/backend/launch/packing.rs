//! Activations and weights as GEMM operands: rounded, in padded rows.

use cosmogan_kernels::convolution::ConvShape;
use cosmogan_kernels::{Precision, pack};

use super::{Allocation, Arguments, Image, LaunchBackend};
use crate::error::Result;

/// Operator name in errors.
const NAME: &str = "convolution";

/// A packed operand, in memory of its own or, if it needs no packing, in the original memory.
pub(super) struct Packed {
    pub(super) address: u64,
    _memory: Option<Box<dyn Allocation>>,
}

impl LaunchBackend {
    /// Returns an image `[rows, channels]` as a GEMM operand.
    pub(super) fn pack_rows(
        &self,
        operand: Precision,
        rows: usize,
        channels: usize,
        image: Image,
    ) -> Result<Packed> {
        let padded = operand.padded(channels);
        let packed = match image.format {
            Precision::F32 => operand == Precision::F32 && padded == channels,
            format => format == operand,
        };
        if packed {
            return Ok(Packed {
                address: image.address,
                _memory: None,
            });
        }
        let values = image.values(NAME)?;
        let packed = self.scratch(operand.bytes() * rows * padded)?;
        let to = Image {
            address: packed.address(),
            format: operand,
        };
        self.pack_into(to, [rows, channels], values)?;
        Ok(Packed {
            address: to.address,
            _memory: Some(packed),
        })
    }

    /// Packs `[rows, channels]` values.
    pub(super) fn pack_into(
        &self,
        to: Image,
        [rows, channels]: [usize; 2],
        values: u64,
    ) -> Result<()> {
        let arguments = Arguments::new()
            .int(rows)
            .int(channels)
            .int(to.format.padded(channels))
            .address(values)
            .address(to.address);
        self.launch(&pack::rows(to.format, rows, channels), &arguments)
    }

    /// Runs `compute` with `to` as the destination of `[rows, channels]`.
    ///
    /// Without fusion, `compute` writes f32 values, which are then packed.
    pub(super) fn packing(
        &self,
        to: Image,
        [rows, channels]: [usize; 2],
        compute: impl FnOnce(Image) -> Result<()>,
    ) -> Result<()> {
        if self.fused || to.format == Precision::F32 {
            return compute(to);
        }
        let values = self.scratch(4 * rows * channels)?;
        compute(Image::of(values.address()))?;
        self.pack_into(to, [rows, channels], values.address())
    }

    /// Packs weights as a GEMM operand with the channels innermost.
    pub(super) fn pack_transposed(
        &self,
        operand: Precision,
        s: &ConvShape,
        w: u64,
    ) -> Result<Box<dyn Allocation>> {
        let padded = operand.padded(s.channels);
        let packed = self.scratch(operand.bytes() * s.taps() * s.outputs * padded)?;
        let arguments = Arguments::new()
            .int(s.channels)
            .int(s.outputs)
            .int(padded)
            .address(w)
            .address(packed.address());
        self.launch(&pack::transposed(operand, s), &arguments)?;
        Ok(packed)
    }
}
