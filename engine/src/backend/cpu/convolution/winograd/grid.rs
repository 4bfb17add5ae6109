//! Layout of tiles in images, and of their points in scratch memory.

use std::ops::Range;

use crate::geometry::ConvGeometry;
use crate::simd::phases::PHASES;
use crate::simd::winograd::{POINTS, PRODUCTS, TILE, phases_at, points};

/// Padding between rows that a GEMM reads together.
///
/// Rows whose distance is a power of two would compete for the same sets of the first-level cache.
const GAP: usize = 16;

/// Tiles of 4×4 positions of a batch of coarse images, and the extents of coarse and fine images.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    /// Rows and columns of a coarse image.
    pub(super) coarse: [usize; 2],
    /// Channels of a coarse image.
    pub(super) coarse_channels: usize,
    /// Channels of a fine image, which has twice as many rows and columns.
    pub(super) fine_channels: usize,
    /// Number of tiles down and across an image.
    sides: [usize; 2],
    /// Number of tiles in the batch.
    pub(super) tiles: usize,
}

impl Grid {
    pub(super) fn new(geometry: &ConvGeometry) -> Self {
        let sides = geometry.output.map(|extent| extent.div_ceil(TILE));
        Self {
            coarse: geometry.output,
            coarse_channels: geometry.output_channels,
            fine_channels: geometry.input_channels,
            sides,
            tiles: geometry.batch * sides[0] * sides[1],
        }
    }

    /// Returns the image of a tile, and its first row and column.
    pub(super) fn place(&self, tile: usize) -> (usize, [usize; 2]) {
        let [rows, columns] = self.sides;
        let within = tile % (rows * columns);
        (
            tile / (rows * columns),
            [TILE * (within / columns), TILE * (within % columns)],
        )
    }
}

/// Coarse or fine side of a convolution.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    /// Tiles cover its pixels.
    Coarse,
    /// Tiles cover the pixels of each of its four [`PHASES`].
    Fine,
}

impl Side {
    /// Phases per tile.
    pub(super) fn phases(self) -> usize {
        match self {
            Self::Coarse => 1,
            Self::Fine => 4,
        }
    }

    /// Number of points of a phase along columns and along rows.
    pub(super) fn points(self, phase: usize) -> [usize; 2] {
        match self {
            Self::Coarse => [POINTS; 2],
            Self::Fine => PHASES[phase].map(points),
        }
    }

    /// Columns of a point's matrix: those of the phases that have this point.
    pub(super) fn columns(self, grid: &Grid, product: usize) -> Range<usize> {
        match self {
            Self::Coarse => 0..grid.coarse_channels,
            Self::Fine => {
                let phases = phases_at(product);
                phases.start * grid.fine_channels..phases.end * grid.fine_channels
            }
        }
    }

    /// Channels per pixel.
    pub(super) fn channels(self, grid: &Grid) -> usize {
        match self {
            Self::Coarse => grid.coarse_channels,
            Self::Fine => grid.fine_channels,
        }
    }

    /// Channels of all phases of a tile, which is the depth or the width of a GEMM.
    pub(super) fn depth(self, grid: &Grid) -> usize {
        self.phases() * self.channels(grid)
    }

    /// Index of the first channel of a pixel, from its position in one phase; `None` outside the image.
    pub(super) fn pixel(
        self,
        grid: &Grid,
        image: usize,
        phase: usize,
        [row, column]: [isize; 2],
    ) -> Option<usize> {
        let [rows, columns] = grid.coarse;
        let inside = |at: isize, extent: usize| usize::try_from(at).ok().filter(|at| *at < extent);
        let (row, column) = (inside(row, rows)?, inside(column, columns)?);
        let pixel = match self {
            Self::Coarse => (image * rows + row) * columns + column,
            Self::Fine => {
                let [down, across] = PHASES[phase];
                let row = 2 * (image * rows + row) + down;
                row * 2 * columns + 2 * column + across
            }
        };
        Some(pixel * self.channels(grid))
    }
}

/// Order of the pixels of tiles and windows along both axes.
///
/// The filter from a phase of fine pixels to coarse pixels is the reverse of the filter from coarse pixels to that
/// phase. If fprop takes pixels in the opposite order on both sides, it can use the same transformed taps as dgrad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// From first to last.
    Forwards,
    /// From last to first.
    Backwards,
}

impl Order {
    /// Position of entry `index` in the window of a tile that begins at `first`.
    ///
    /// The window has one more entry on each side.
    pub(super) fn of_window(self, first: usize, index: usize) -> isize {
        match self {
            Self::Forwards => (first + index) as isize - 1,
            Self::Backwards => (first + TILE) as isize - index as isize,
        }
    }

    /// Position of entry `index` in a tile that begins at `first`.
    pub(super) fn of_tile(self, first: usize, index: usize) -> isize {
        match self {
            Self::Forwards => (first + index) as isize,
            Self::Backwards => (first + TILE - 1 - index) as isize,
        }
    }
}

/// Values at all points of some tiles: one matrix per point, with one row per tile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Points {
    /// First tile.
    pub(super) first: usize,
    /// Number of tiles.
    pub(super) tiles: usize,
    /// Values per row.
    pub(super) columns: usize,
}

impl Points {
    pub(super) fn new(tiles: &Range<usize>, columns: usize) -> Self {
        Self {
            first: tiles.start,
            tiles: tiles.len(),
            columns,
        }
    }

    /// Distance between rows.
    pub(super) fn stride(&self) -> usize {
        self.columns.next_multiple_of(GAP) + GAP
    }

    /// Distance between the matrices of two points.
    pub(super) fn matrix(&self) -> usize {
        self.tiles * self.stride()
    }

    /// Number of values in all.
    pub(super) fn len(&self) -> usize {
        PRODUCTS * self.matrix()
    }
}
