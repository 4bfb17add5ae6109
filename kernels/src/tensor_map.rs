//! Tensor maps: the tensors and boxes of tensor memory accelerator (TMA) copies.

use crate::precision::Precision;

/// Bytes of the innermost axis of a box, the width of the 128-byte swizzle.
pub const BOX_BYTES: usize = 128;
/// Largest extent of a box along an axis, and largest step between its elements (CUDA driver API,
/// `cuTensorMapEncodeTiled`).
const MOST_EXTENT: usize = 256;
const MOST_STEP: usize = 8;

/// A dense tensor of operands, innermost axis first, and a box of it.
///
/// Elements outside the tensor read as 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorMap {
    /// Format of the elements.
    pub operand: Precision,
    /// Elements along each axis.
    pub extents: Vec<usize>,
    /// Elements of a box along each axis.
    pub boxes: Vec<usize>,
    /// Distance between the elements of a box along each axis.
    pub steps: Vec<usize>,
}

impl TensorMap {
    /// Activations `[batch, rows, columns, depth]`.
    ///
    /// A box has `pixels` (columns, rows, images) that are `steps` apart (columns, rows), and 128 bytes of channels.
    pub(crate) fn images(
        operand: Precision,
        extents: [usize; 4],
        pixels: [usize; 3],
        steps: [usize; 2],
    ) -> Self {
        let [columns, rows, images] = pixels;
        Self {
            operand,
            extents: extents.to_vec(),
            boxes: vec![slab(operand), columns, rows, images],
            steps: vec![1, steps[0], steps[1], 1],
        }
    }

    /// Weights `[taps, columns, depth]`.
    ///
    /// A box has `columns` columns of one tap and 128 bytes of channels.
    pub(crate) fn weights(operand: Precision, extents: [usize; 3], columns: usize) -> Self {
        Self {
            operand,
            extents: extents.to_vec(),
            boxes: vec![slab(operand), columns, 1],
            steps: vec![1; 3],
        }
    }

    /// Bytes from one element to the next along each axis except the innermost.
    pub fn strides(&self) -> Vec<usize> {
        let mut stride = self.operand.bytes();
        let outer = self.extents.len().saturating_sub(1);
        self.extents[..outer]
            .iter()
            .map(|extent| {
                stride *= extent;
                stride
            })
            .collect()
    }

    /// Extents that a box covers in the tensor, including elements that are stepped over.
    pub fn spans(&self) -> Vec<usize> {
        let pairs = self.boxes.iter().zip(&self.steps);
        pairs.map(|(extent, step)| extent * step).collect()
    }

    /// Checks whether the hardware supports the map.
    ///
    /// # Errors
    /// The violated limit: an axis of a box is too long, or rows are not aligned to 16 bytes.
    pub fn check(&self) -> Result<(), String> {
        let rank = self.extents.len();
        if !(3..=5).contains(&rank) || self.boxes.len() != rank || self.steps.len() != rank {
            return Err(format!(
                "a tensor of {rank} axes with a box of {} axes is not supported",
                self.boxes.len()
            ));
        }
        if self.boxes[0] * self.operand.bytes() != BOX_BYTES || self.steps[0] != 1 {
            return Err(format!(
                "a box of {} channels is not 128 contiguous bytes wide",
                self.boxes[0]
            ));
        }
        if let Some(extent) = self
            .spans()
            .iter()
            .find(|&&extent| !(1..=MOST_EXTENT).contains(&extent))
        {
            return Err(format!(
                "a box that spans {extent} elements exceeds the limit of {MOST_EXTENT}"
            ));
        }
        if let Some(step) = self
            .steps
            .iter()
            .find(|&&step| !(1..=MOST_STEP).contains(&step))
        {
            return Err(format!(
                "a box in steps of {step} exceeds the limit of {MOST_STEP}"
            ));
        }
        if let Some(stride) = self.strides().iter().find(|&&stride| stride % 16 != 0) {
            return Err(format!(
                "rows of {stride} bytes are not aligned to 16 bytes"
            ));
        }
        Ok(())
    }
}

/// Channels in a row of a box.
pub(crate) const fn slab(operand: Precision) -> usize {
    BOX_BYTES / operand.bytes()
}
