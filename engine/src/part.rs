//! Equal parts of a tensor's first axis, such as batches that pass through a network together.

use std::fmt;

use crate::error::{Error, Result};
use crate::shape::Shape;

/// One of several equal parts of a first axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Index of the part, from 0 on.
    pub index: usize,
    /// Number of parts.
    pub of: usize,
}

impl Part {
    /// All parts of a division into `of` parts.
    pub fn all(of: usize) -> impl Iterator<Item = Self> {
        (0..of).map(move |index| Self { index, of })
    }

    /// Returns the extent of this part of an axis.
    ///
    /// # Errors
    /// If the axis cannot be split into this number of parts.
    pub fn extent(self, whole: usize) -> Result<usize> {
        if self.index < self.of && whole.is_multiple_of(self.of) {
            return Ok(whole / self.of);
        }
        Err(Error::InvalidOperand {
            operator: "part",
            problem: format!("an axis of {whole} has no {self} of equal size"),
        })
    }

    /// Returns the extents of this part of a tensor.
    ///
    /// # Errors
    /// If the first axis cannot be split into this number of parts, or there is none.
    pub fn shape(self, whole: &Shape) -> Result<Shape> {
        let mut dims = whole.dims().to_vec();
        let Some(first) = dims.first_mut() else {
            return Err(Error::InvalidOperand {
                operator: "part",
                problem: format!("a scalar has no {self}"),
            });
        };
        *first = self.extent(*first)?;
        Ok(Shape::from(&dims[..]))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "part {} of {}", self.index + 1, self.of)
    }
}
