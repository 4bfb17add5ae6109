//! What the tensor memory accelerator (TMA) must know of a tensor: its extents, and the box that one copy takes out of it.

use crate::pack::Operand;

/// Bytes of the innermost axis of a box: what a swizzle of 128 bytes takes.
pub const BOX_BYTES: usize = 128;
/// The most elements of a box along an axis, and the most elements that it may step by (CUDA driver API,
/// `cuTensorMapEncodeTiled`).
const MOST_EXTENT: usize = 256;
const MOST_STEP: usize = 8;

/// A tensor of operands, dense, its innermost axis first, and a box of it. What lies outside the tensor is 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorMap {
    /// What its elements are.
    pub operand: Operand,
    /// Elements along each axis.
    pub extents: Vec<usize>,
    /// Elements of a box along each axis.
    pub boxes: Vec<usize>,
    /// How far apart the elements of a box lie along each axis.
    pub steps: Vec<usize>,
}

impl TensorMap {
    /// Images `[batch, rows, columns, depth]`: a box has `pixels` of them (columns, rows, images) that lie `steps` apart
    /// (columns, rows), and 128 bytes of channels.
    pub(crate) fn images(
        operand: Operand,
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

    /// Weights `[taps, columns, depth]`: a box has `columns` columns of one tap and 128 bytes of channels.
    pub(crate) fn weights(operand: Operand, extents: [usize; 3], columns: usize) -> Self {
        Self {
            operand,
            extents: extents.to_vec(),
            boxes: vec![slab(operand), columns, 1],
            steps: vec![1; 3],
        }
    }

    /// Bytes from one element to the next along each axis but the innermost.
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

    /// Extents of a box in the tensor, the elements that are stepped over included.
    pub fn spans(&self) -> Vec<usize> {
        let pairs = self.boxes.iter().zip(&self.steps);
        pairs.map(|(extent, step)| extent * step).collect()
    }

    /// Why the hardware does not take it, if it does not.
    ///
    /// # Errors
    /// Where an axis of a box is too long, or rows are not aligned to 16 bytes.
    pub fn check(&self) -> Result<(), String> {
        let rank = self.extents.len();
        if !(3..=5).contains(&rank) || self.boxes.len() != rank || self.steps.len() != rank {
            return Err(format!("{rank} axes, and a box of {}", self.boxes.len()));
        }
        if self.boxes[0] * self.operand.bytes() != BOX_BYTES || self.steps[0] != 1 {
            return Err(format!("a box of {} channels", self.boxes[0]));
        }
        if let Some(extent) = self
            .spans()
            .iter()
            .find(|&&extent| !(1..=MOST_EXTENT).contains(&extent))
        {
            return Err(format!("a box that spans {extent} elements"));
        }
        if let Some(step) = self
            .steps
            .iter()
            .find(|&&step| !(1..=MOST_STEP).contains(&step))
        {
            return Err(format!("a box in steps of {step}"));
        }
        if let Some(stride) = self.strides().iter().find(|&&stride| stride % 16 != 0) {
            return Err(format!("rows of {stride} bytes"));
        }
        Ok(())
    }
}

/// Channels in 128 bytes.
pub(crate) const fn slab(operand: Operand) -> usize {
    BOX_BYTES / operand.bytes()
}
