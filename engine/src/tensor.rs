//! A dense array of `f32` on one device.

use std::ops::Range;
use std::sync::Arc;

use crate::backend::Buffer;
use crate::error::{Error, Result};
use crate::part::Part;
use crate::shape::Shape;

/// A dense row-major array of `f32` on one device. Clones and parts share the memory; nothing writes to shared memory.
#[derive(Clone, Debug)]
pub struct Tensor {
    shape: Shape,
    buffer: Arc<Buffer>,
    /// Where the first element lies in the memory, counted in elements; not 0 for parts alone.
    first: usize,
}

impl Tensor {
    /// Wraps fresh device memory of `shape.len()` elements. For backends.
    pub fn from_buffer(shape: Shape, buffer: Buffer) -> Self {
        debug_assert_eq!(shape.len(), buffer.len());
        Self {
            shape,
            buffer: Arc::new(buffer),
            first: 0,
        }
    }

    /// The extents.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The device memory, for reading, of which this tensor may be a part: see [`range`](Self::range). For backends.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Which elements of the memory are this tensor's. For backends.
    pub fn range(&self) -> Range<usize> {
        self.first..self.first + self.shape.len()
    }

    /// Whether it shares memory with a larger tensor.
    pub fn is_part(&self) -> bool {
        self.shape.len() < self.buffer.len()
    }

    /// The device memory, for writing, which needs that no clone of this tensor is alive and that it is no part of another.
    /// For backends.
    ///
    /// # Errors
    /// Where it may not be written.
    pub fn buffer_mut(&mut self, operator: &'static str) -> Result<&mut Buffer> {
        let shape = &self.shape;
        let still_shared = || Error::StillShared {
            operator,
            shape: shape.clone(),
        };
        if self.is_part() {
            return Err(still_shared());
        }
        Arc::get_mut(&mut self.buffer).ok_or_else(still_shared)
    }

    /// A part of the first axis, without a copy. It is for reading; while it lives, the whole is not written either.
    ///
    /// # Errors
    /// Where the axis does not come in so many parts.
    pub fn part(&self, part: Part) -> Result<Self> {
        let shape = part.shape(&self.shape)?;
        Ok(Self {
            first: self.first + part.index * shape.len(),
            shape,
            buffer: Arc::clone(&self.buffer),
        })
    }

    /// The same elements in the same order under other extents, without a copy.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        if shape.len() != self.shape.len() {
            return Err(Error::ShapeMismatch {
                operator: "reshape",
                left_name: "the tensor",
                left: self.shape.clone(),
                right_name: "the result",
                right: shape,
            });
        }
        Ok(Self {
            shape,
            buffer: Arc::clone(&self.buffer),
            first: self.first,
        })
    }
}
