//! Launches of `pack.cu`: operands of products, rounded, padded and transposed.

use crate::convolution::ConvShape;
use crate::kernel::{Launch, Work, f32_bytes, kernel};

/// What a product multiplies; it adds in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// 8 significant bits, 2 bytes.
    Bf16,
    /// 11 significant bits, 4 bytes.
    Tf32,
    /// 24 significant bits, 4 bytes: as it is.
    F32,
}

impl Operand {
    /// Bytes of one value in memory.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Bf16 => 2,
            Self::Tf32 | Self::F32 => 4,
        }
    }

    /// `channels` rounded up to whole chunks of 16 bytes.
    pub const fn padded(self, channels: usize) -> usize {
        channels.next_multiple_of(16 / self.bytes())
    }

    /// Values from one row of an image of `channels` channels to the next: padded, but for f32, which is what images are
    /// kept in as they are.
    pub const fn row(self, channels: usize) -> usize {
        match self {
            Self::F32 => channels,
            Self::Bf16 | Self::Tf32 => self.padded(channels),
        }
    }

    /// What kernels call it.
    pub(crate) const fn bits(self) -> u32 {
        match self {
            Self::Bf16 => 16,
            Self::Tf32 => 19,
            Self::F32 => 32,
        }
    }

    pub(crate) fn constant(self) -> (&'static str, u32) {
        ("OPERAND_BITS", self.bits())
    }

    /// Bytes of an image of `rows` by `channels` that lies so.
    pub const fn image_bytes(self, rows: usize, channels: usize) -> usize {
        self.bytes() * rows * self.row(channels)
    }
}

kernel!(
    /// The innermost axis stays where it is.
    ROWS,
    "pack.cu",
    Plain,
    "pack_rows",
    "rows of f32 to rows of operands, padded to whole chunks of 16 bytes",
    "lets the products copy 16 aligned bytes at a time, and rounds to nearest, which the hardware does not; 16 bytes per thread"
);

kernel!(
    /// The two innermost axes change places.
    TRANSPOSED,
    "pack.cu",
    Plain,
    "pack_transposed",
    "weights [taps, C, K] of f32 to operands [taps, K, C], padded to whole chunks of 16 bytes",
    "through a tile in shared memory, so that both sides coalesce"
);

/// Packs `[rows, channels]`.
pub fn rows(operand: Operand, rows: usize, channels: usize) -> Launch {
    let packed = rows * operand.padded(channels);
    Launch::specialised(
        &ROWS,
        vec![operand.constant()],
        [(packed * operand.bytes() / 16).div_ceil(256), 1, 1],
        [256, 1, 1],
        work(operand, rows * channels, packed),
    )
}

/// A launch that writes rows of operands where it would write `[rows, channels]` of f32.
#[must_use]
pub fn with_packed_result(mut launch: Launch, to: Operand, rows: usize, channels: usize) -> Launch {
    launch.work.bytes += to.image_bytes(rows, channels) as f64 - f32_bytes(rows * channels);
    launch
}

/// Packs w `[taps, channels, outputs]` with the channels innermost.
pub fn transposed(operand: Operand, shape: &ConvShape) -> Launch {
    let padded = operand.padded(shape.channels);
    Launch::specialised(
        &TRANSPOSED,
        vec![operand.constant()],
        [
            padded.div_ceil(32),
            shape.outputs.div_ceil(32),
            shape.taps(),
        ],
        [32, 8, 1],
        work(
            operand,
            shape.weight_len(),
            shape.taps() * shape.outputs * padded,
        ),
    )
}

fn work(operand: Operand, values: usize, packed: usize) -> Work {
    Work {
        operations: 0.0,
        bytes: (4 * values + operand.bytes() * packed) as f64,
    }
}
