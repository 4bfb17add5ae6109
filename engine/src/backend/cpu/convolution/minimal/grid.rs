//! Where tiles lie in images, and where their points lie in scratch memory.

use std::ops::Range;

use crate::geometry::ConvGeometry;
use crate::simd::filtering::{POINTS, PRODUCTS, TILE, phases_at, points};
use crate::simd::phases::PHASES;

/// Values between rows that a product reads together, beyond their lengths: rows whose distance is a power of two would
/// compete for the same places of the first-level cache.
const GAP: usize = 16;

/// Tiles of 4×4 positions of the coarse images of a batch, and the images on both sides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    /// Rows and columns of a coarse image.
    pub(super) coarse: [usize; 2],
    /// Channels of a coarse image.
    pub(super) coarse_channels: usize,
    /// Channels of a fine image, which has twice as many rows and columns.
    pub(super) fine_channels: usize,
    /// Tiles along a column and along a row.
    sides: [usize; 2],
    /// Tiles of all images.
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

    /// The image of a tile, and its first row and column.
    pub(super) fn place(&self, tile: usize) -> (usize, [usize; 2]) {
        let [rows, columns] = self.sides;
        let within = tile % (rows * columns);
        (
            tile / (rows * columns),
            [TILE * (within / columns), TILE * (within % columns)],
        )
    }
}

/// One side of the images.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    /// Tiles are of its pixels.
    Coarse,
    /// Tiles are of the pixels of each of its four [`PHASES`].
    Fine,
}

impl Side {
    /// Phases of a tile.
    pub(super) fn phases(self) -> usize {
        match self {
            Self::Coarse => 1,
            Self::Fine => 4,
        }
    }

    /// Points of a phase along columns and along rows.
    pub(super) fn points(self, phase: usize) -> [usize; 2] {
        match self {
            Self::Coarse => [POINTS; 2],
            Self::Fine => PHASES[phase].map(points),
        }
    }

    /// Columns of a point's matrix that it has: those of the phases that have this point.
    pub(super) fn columns(self, grid: &Grid, product: usize) -> Range<usize> {
        match self {
            Self::Coarse => 0..grid.coarse_channels,
            Self::Fine => {
                let phases = phases_at(product);
                phases.start * grid.fine_channels..phases.end * grid.fine_channels
            }
        }
    }

    /// Channels of a pixel.
    pub(super) fn channels(self, grid: &Grid) -> usize {
        match self {
            Self::Coarse => grid.coarse_channels,
            Self::Fine => grid.fine_channels,
        }
    }

    /// Channels of all phases of a tile: the depth or the width of a product.
    pub(super) fn depth(self, grid: &Grid) -> usize {
        self.phases() * self.channels(grid)
    }

    /// Index of the first channel of a pixel of an image, from its position in one phase; none outside the image.
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

/// The order in which the pixels of tiles and windows stand along both axes. The filter that makes coarse pixels from a
/// phase of fine ones is the reverse of the one that makes the phase from coarse pixels. Where pixels are taken in the
/// opposite order on both sides, the same transformed taps serve both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// From the first to the last.
    Forwards,
    /// From the last to the first.
    Backwards,
}

impl Order {
    /// The position of entry `index` of the window of a tile that begins at `first`, which has one more on each side.
    pub(super) fn of_window(self, first: usize, index: usize) -> isize {
        match self {
            Self::Forwards => (first + index) as isize - 1,
            Self::Backwards => (first + TILE) as isize - index as isize,
        }
    }

    /// The position of entry `index` of a tile that begins at `first`.
    pub(super) fn of_tile(self, first: usize, index: usize) -> isize {
        match self {
            Self::Forwards => (first + index) as isize,
            Self::Backwards => (first + TILE - 1 - index) as isize,
        }
    }
}

/// Values at all points of some tiles: for each point a matrix with a row for each tile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Points {
    /// The first of the tiles.
    pub(super) first: usize,
    /// How many there are.
    pub(super) tiles: usize,
    /// Values of a row.
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

    /// From a row to the next.
    pub(super) fn stride(&self) -> usize {
        self.columns.next_multiple_of(GAP) + GAP
    }

    /// From a point to the next.
    pub(super) fn matrix(&self) -> usize {
        self.tiles * self.stride()
    }

    /// Values altogether.
    pub(super) fn len(&self) -> usize {
        PRODUCTS * self.matrix()
    }
}
