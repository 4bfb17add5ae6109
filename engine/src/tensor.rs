//! Dense arrays of `f32` on one device.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::part::Part;
use crate::shape::Shape;

/// Memory of one device. Only that device's backend accesses it, by its own type.
pub trait Buffer: Any + fmt::Debug + Send + Sync {
    /// Number of elements.
    fn len(&self) -> usize;

    /// Whether the buffer has no elements.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A dense row-major array of `f32` on one device.
///
/// Clones and parts share memory, which is read-only while shared.
#[derive(Clone, Debug)]
pub struct Tensor {
    shape: Shape,
    buffer: Arc<dyn Buffer>,
    /// Offset of the first element in the memory, in elements; nonzero only for parts.
    first: usize,
}

impl Tensor {
    /// Wraps fresh device memory of `shape.len()` elements. For backends.
    pub fn from_buffer(shape: Shape, buffer: impl Buffer) -> Self {
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

    /// The device memory for reading. For backends.
    ///
    /// This tensor may be a part of it: see [`range`](Self::range).
    ///
    /// `None` if it is not of the type `B`, because another device owns it.
    pub fn buffer<B: Buffer>(&self) -> Option<&B> {
        let buffer: &dyn Any = &*self.buffer;
        buffer.downcast_ref()
    }

    /// Range of this tensor's elements in the memory. For backends.
    pub fn range(&self) -> Range<usize> {
        self.first..self.first + self.shape.len()
    }

    /// Whether it shares memory with a larger tensor.
    pub fn is_part(&self) -> bool {
        self.shape.len() < self.buffer.len()
    }

    /// The device memory for writing. For backends.
    ///
    /// # Errors
    /// If a clone of this tensor is alive, it is a part of another one, or another device owns it.
    pub fn buffer_mut<B: Buffer>(&mut self, operator: &'static str) -> Result<&mut B> {
        let shape = &self.shape;
        let still_shared = || Error::StillShared {
            operator,
            shape: shape.clone(),
        };
        if self.is_part() {
            return Err(still_shared());
        }
        let buffer: &mut dyn Any = Arc::get_mut(&mut self.buffer).ok_or_else(still_shared)?;
        buffer
            .downcast_mut()
            .ok_or_else(|| Error::foreign(operator))
    }

    /// Whether both share memory.
    pub fn shares_memory(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.buffer, &other.buffer)
    }

    /// Returns a part of the first axis, without a copy.
    ///
    /// While it lives, neither it nor the whole can be written.
    ///
    /// # Errors
    /// If the axis cannot be split into this number of parts.
    pub fn part(&self, part: Part) -> Result<Self> {
        let shape = part.shape(&self.shape)?;
        Ok(Self {
            first: self.first + part.index * shape.len(),
            shape,
            buffer: Arc::clone(&self.buffer),
        })
    }

    /// Returns the same elements in the same order with other extents, without a copy.
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
