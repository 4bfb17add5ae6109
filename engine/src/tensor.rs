//! A dense array of `f32` on one device.

use std::sync::Arc;

use crate::backend::Buffer;
use crate::error::{Error, Result};
use crate::shape::Shape;

/// A dense row-major array of `f32` on one device. Clones share the memory; nothing writes to shared memory.
#[derive(Clone, Debug)]
pub struct Tensor {
    shape: Shape,
    buffer: Arc<Buffer>,
}

impl Tensor {
    /// Wraps fresh device memory of `shape.len()` elements. For backends.
    pub fn from_buffer(shape: Shape, buffer: Buffer) -> Self {
        debug_assert_eq!(shape.len(), buffer.len());
        Self {
            shape,
            buffer: Arc::new(buffer),
        }
    }

    /// The extents.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The device memory, for reading. For backends.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// The device memory, for writing, which needs that no clone of this tensor is alive. For backends.
    pub fn buffer_mut(&mut self, operator: &'static str) -> Result<&mut Buffer> {
        let shape = &self.shape;
        Arc::get_mut(&mut self.buffer).ok_or_else(|| Error::StillShared {
            operator,
            shape: shape.clone(),
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
        })
    }
}
