//! The extents of a tensor.

use std::fmt;

/// Extents of a row-major tensor, outermost first; the last varies fastest. A scalar has none.
///
/// Activations are `[N, H, W, C]`: images, rows, columns, channels.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// The extents.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// Number of elements: the product of the extents.
    pub fn len(&self) -> usize {
        self.0.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The last extent, which is the number of channels or features; 1 for a scalar.
    pub fn channels(&self) -> usize {
        self.0.last().copied().unwrap_or(1)
    }

    /// Product of all extents except the last.
    pub fn rows(&self) -> usize {
        self.0[..self.0.len().saturating_sub(1)].iter().product()
    }
}

impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Self {
        Self(dims.to_vec())
    }
}

impl<const RANK: usize> From<[usize; RANK]> for Shape {
    fn from(dims: [usize; RANK]) -> Self {
        Self(dims.to_vec())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[")?;
        for (axis, extent) in self.0.iter().enumerate() {
            let separator = if axis == 0 { "" } else { "×" };
            write!(formatter, "{separator}{extent}")?;
        }
        formatter.write_str("]")
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}
