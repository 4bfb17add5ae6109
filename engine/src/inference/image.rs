//! Feature maps with a border of zeros, and where a layer's results go.

use crate::simd::memory::Aligned;

/// Channels are counted in blocks of this many; missing ones are zero.
pub(super) const BLOCK: usize = 16;

/// Extents of images `[N, H, W, C]` with a border: one pixel above and to the left, at least one below and to the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extents {
    /// Rows and columns without the border.
    pub(super) size: usize,
    /// Channels, a multiple of [`BLOCK`].
    pub(super) channels: usize,
    /// Rows and columns with it.
    padded: usize,
}

impl Extents {
    pub(super) fn new(size: usize, channels: usize) -> Self {
        Self {
            size,
            channels: channels.next_multiple_of(BLOCK),
            // Tiles of four by four pixels look at one more on each side.
            padded: size.next_multiple_of(4) + 2,
        }
    }

    /// Values of an image.
    pub(super) fn image(&self) -> usize {
        self.padded * self.row()
    }

    /// Values of a row.
    pub(super) fn row(&self) -> usize {
        self.padded * self.channels
    }

    /// Index of the first channel of a pixel. Row and column −1 are the border's.
    pub(super) fn pixel(&self, image: usize, row: isize, column: isize) -> usize {
        debug_assert!((-1..self.padded as isize - 1).contains(&row));
        debug_assert!((-1..self.padded as isize - 1).contains(&column));
        let (row, column) = ((row + 1) as usize, (column + 1) as usize);
        image * self.image() + row * self.row() + column * self.channels
    }

    /// Room for some images, all zero. Borders stay so: no layer writes there.
    pub(super) fn allocate(&self, images: usize) -> Aligned {
        Aligned::zeroed(images * self.image())
    }
}
