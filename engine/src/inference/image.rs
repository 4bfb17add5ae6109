//! Layout of feature maps with a border of zeros.

use crate::simd::memory::Aligned;

/// Channels are padded with zeros to a multiple of this number.
pub(super) const BLOCK: usize = 16;

/// Extents of images `[N, H, W, C]` with a border.
///
/// One pixel above and to the left, at least one below and to the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extents {
    /// Rows and columns without the border.
    pub(super) size: usize,
    /// Channels, a multiple of [`BLOCK`].
    pub(super) channels: usize,
    /// Rows and columns with the border.
    padded: usize,
}

impl Extents {
    pub(super) fn new(size: usize, channels: usize) -> Self {
        Self {
            size,
            channels: channels.next_multiple_of(BLOCK),
            // Tiles of 4×4 pixels read one more pixel on each side.
            padded: size.next_multiple_of(4) + 2,
        }
    }

    /// Values per image.
    pub(super) fn image(&self) -> usize {
        self.padded * self.row()
    }

    /// Values per row.
    pub(super) fn row(&self) -> usize {
        self.padded * self.channels
    }

    /// Index of the first channel of a pixel. Row and column −1 belong to the border.
    pub(super) fn pixel(&self, image: usize, row: isize, column: isize) -> usize {
        debug_assert!((-1..self.padded as isize - 1).contains(&row));
        debug_assert!((-1..self.padded as isize - 1).contains(&column));
        let (row, column) = ((row + 1) as usize, (column + 1) as usize);
        image * self.image() + row * self.row() + column * self.channels
    }

    /// Allocates memory for some images, all zero.
    ///
    /// Borders stay zero, because no layer writes there.
    pub(super) fn allocate(&self, images: usize) -> Aligned {
        Aligned::zeroed(images * self.image())
    }
}
