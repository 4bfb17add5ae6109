//! Images and weights as products multiply them: rounded, and in padded rows.

use cosmogan_kernels::convolution::ConvShape;
use cosmogan_kernels::pack::{self, Operand};

use super::{Allocation, Arguments, Image, LaunchBackend};
use crate::error::Result;

/// What operands are refused for.
const NAME: &str = "convolution";

/// A packed operand: in memory of its own, or as it lies where there is nothing to pack.
pub(super) struct Packed {
    pub(super) address: u64,
    _memory: Option<Box<dyn Allocation>>,
}

impl LaunchBackend {
    /// The image as an operand of products, of `[rows, channels]`.
    pub(super) fn pack_rows(
        &self,
        operand: Operand,
        rows: usize,
        channels: usize,
        image: Image,
    ) -> Result<Packed> {
        let padded = operand.padded(channels);
        let packed = match image.format {
            Operand::F32 => operand == Operand::F32 && padded == channels,
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

    /// Packs `[rows, channels]`.
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

    /// Lets `compute` write `[rows, channels]` as `to` says, or, where passes are on their own, as values that are packed then.
    pub(super) fn packing(
        &self,
        to: Image,
        [rows, channels]: [usize; 2],
        compute: impl FnOnce(Image) -> Result<()>,
    ) -> Result<()> {
        if self.fused || to.format == Operand::F32 {
            return compute(to);
        }
        let values = self.scratch(4 * rows * channels)?;
        compute(Image::of(values.address()))?;
        self.pack_into(to, [rows, channels], values.address())
    }

    /// Weights as an operand of products, with the channels innermost.
    pub(super) fn pack_transposed(
        &self,
        operand: Operand,
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
