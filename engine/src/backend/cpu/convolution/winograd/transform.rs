//! Transforms of Winograd filtering in two dimensions, between images and points, for some tiles of a batch.

use super::grid::{Grid, Order, Points, Side};
use crate::simd::memory::Shared;
use crate::simd::winograd::{
    POINTS, PRODUCTS, TILE, spread_results, transform_products, transform_window,
};
use crate::simd::{Kernel, Simd};

/// Factor of a GEMM into which tiles are transformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Factor {
    /// Bᵀ d B of the 6×6 window around a tile, to be multiplied by transformed taps.
    Windows,
    /// A y Aᵀ of the 4×4 tile: from a gradient with respect to results to one with respect to products.
    Products,
}

/// Transforms tiles `range` of images to points.
pub(super) struct ToPoints<'a> {
    pub(super) grid: &'a Grid,
    pub(super) side: Side,
    pub(super) order: Order,
    pub(super) factor: Factor,
    pub(super) images: &'a [f32],
    pub(super) range: std::ops::Range<usize>,
    pub(super) points: Points,
    /// Values at all points; each task writes its own tiles.
    pub(super) to: Shared<'a>,
}

/// Zeros in place of pixels outside an image.
static OUTSIDE: [f32; MOST_CHANNELS] = [0.0; MOST_CHANNELS];

/// Maximum number of channels for Winograd filtering.
pub(super) const MOST_CHANNELS: usize = 4096;

impl Kernel for ToPoints<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let channels = self.side.channels(self.grid);
        for tile in self.range.clone() {
            let (image, [top, left]) = self.grid.place(tile);
            let row = (tile - self.points.first) * self.points.stride();
            for phase in 0..self.side.phases() {
                let pixel = |position| {
                    let at = self.side.pixel(self.grid, image, phase, position);
                    at.map_or(&OUTSIDE[..channels], |at| &self.images[at..at + channels])
                };
                let to = row + phase * channels;
                match self.factor {
                    Factor::Windows => {
                        let window: [[&[f32]; POINTS]; POINTS] = std::array::from_fn(|y| {
                            let row = self.order.of_window(top, y);
                            std::array::from_fn(|x| pixel([row, self.order.of_window(left, x)]))
                        });
                        match self.side.points(phase) {
                            [5, 5] => {
                                self.transform::<S, POINTS, 5, 5, OfWindows>(simd, &window, to)
                            }
                            [5, _] => {
                                self.transform::<S, POINTS, 5, 6, OfWindows>(simd, &window, to)
                            }
                            [_, 5] => {
                                self.transform::<S, POINTS, 6, 5, OfWindows>(simd, &window, to)
                            }
                            _ => self.transform::<S, POINTS, 6, 6, OfWindows>(simd, &window, to),
                        }
                    }
                    Factor::Products => {
                        let window: [[&[f32]; TILE]; TILE] = std::array::from_fn(|y| {
                            let row = self.order.of_tile(top, y);
                            std::array::from_fn(|x| pixel([row, self.order.of_tile(left, x)]))
                        });
                        self.transform::<S, TILE, 6, 6, OfTiles>(simd, &window, to);
                    }
                }
            }
        }
    }
}

/// A transform along one axis.
///
/// A trait, because a closure would not be inlined and compiled for the instruction set.
trait Axis<const SIZE: usize> {
    fn along<S: Simd>(simd: S, values: [S::Vector; SIZE]) -> [S::Vector; POINTS];
}

struct OfWindows;

impl Axis<POINTS> for OfWindows {
    #[inline(always)]
    fn along<S: Simd>(simd: S, values: [S::Vector; POINTS]) -> [S::Vector; POINTS] {
        transform_window(simd, values)
    }
}

struct OfTiles;

impl Axis<TILE> for OfTiles {
    #[inline(always)]
    fn along<S: Simd>(simd: S, values: [S::Vector; TILE]) -> [S::Vector; POINTS] {
        spread_results(simd, values)
    }
}

impl ToPoints<'_> {
    /// Transforms all channels of one window, columns first, to the first `DOWN` by `ACROSS` points.
    #[inline(always)]
    fn transform<
        S: Simd,
        const SIZE: usize,
        const DOWN: usize,
        const ACROSS: usize,
        A: Axis<SIZE>,
    >(
        &self,
        simd: S,
        window: &[[&[f32]; SIZE]; SIZE],
        to: usize,
    ) {
        let matrix = self.points.matrix();
        for channel in (0..window[0][0].len()).step_by(S::LANES) {
            let mut columns = [[simd.splat(0.0); SIZE]; POINTS];
            for x in 0..SIZE {
                let mut column = [simd.splat(0.0); SIZE];
                for (value, row) in column.iter_mut().zip(window) {
                    let pixel = &row[x][channel..channel + S::LANES];
                    // SAFETY: the slice holds a vector.
                    *value = unsafe { simd.load(pixel.as_ptr()) };
                }
                for (row, value) in columns.iter_mut().zip(A::along(simd, column)) {
                    row[x] = value;
                }
            }
            for (y, row) in columns.into_iter().enumerate().take(DOWN) {
                for (x, value) in A::along(simd, row).into_iter().enumerate().take(ACROSS) {
                    let at = (y * POINTS + x) * matrix + to + channel;
                    // SAFETY: no other task writes this row.
                    unsafe { simd.store(self.to.range(at..at + S::LANES).as_mut_ptr(), value) };
                }
            }
        }
    }
}

/// Transforms the products of tiles `range` to the pixels of their 4×4 tiles: Aᵀ m A.
pub(super) struct ToImages<'a> {
    pub(super) grid: &'a Grid,
    pub(super) side: Side,
    pub(super) order: Order,
    pub(super) products: &'a [f32],
    pub(super) points: Points,
    pub(super) range: std::ops::Range<usize>,
    /// Per-channel value that is added to every pixel.
    pub(super) bias: Option<&'a [f32]>,
    pub(super) images: Shared<'a>,
}

impl Kernel for ToImages<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let channels = self.side.channels(self.grid);
        for tile in self.range.clone() {
            let (image, [top, left]) = self.grid.place(tile);
            let row = (tile - self.points.first) * self.points.stride();
            for phase in 0..self.side.phases() {
                let pixels: [[Option<usize>; TILE]; TILE] = std::array::from_fn(|y| {
                    let row = self.order.of_tile(top, y);
                    std::array::from_fn(|x| {
                        let position = [row, self.order.of_tile(left, x)];
                        self.side.pixel(self.grid, image, phase, position)
                    })
                });
                for channel in (0..channels).step_by(S::LANES) {
                    let from = row + phase * channels + channel;
                    let rows = match self.side.points(phase) {
                        [5, 5] => self.columns::<S, 5, 5>(simd, from),
                        [5, _] => self.columns::<S, 5, 6>(simd, from),
                        [_, 5] => self.columns::<S, 6, 5>(simd, from),
                        _ => self.columns::<S, 6, 6>(simd, from),
                    };
                    let bias = match self.bias {
                        // SAFETY: the slice holds a vector.
                        Some(bias) => unsafe {
                            simd.load(bias[channel..channel + S::LANES].as_ptr())
                        },
                        None => simd.splat(0.0),
                    };
                    for (row, pixels) in rows.into_iter().zip(&pixels) {
                        for (value, pixel) in transform_products(simd, row).into_iter().zip(pixels)
                        {
                            // The last tiles may extend beyond the image.
                            let Some(at) = pixel.map(|pixel| pixel + channel) else {
                                continue;
                            };
                            let value = simd.add(value, bias);
                            // SAFETY: no other task writes the pixels of this tile.
                            unsafe {
                                let to = self.images.range(at..at + S::LANES);
                                simd.store(to.as_mut_ptr(), value);
                            }
                        }
                    }
                }
            }
        }
    }
}

impl ToImages<'_> {
    /// Transforms the products at the first `DOWN` by `ACROSS` points along columns; the others are zero.
    #[inline(always)]
    fn columns<S: Simd, const DOWN: usize, const ACROSS: usize>(
        &self,
        simd: S,
        from: usize,
    ) -> [[S::Vector; POINTS]; TILE] {
        let matrix = self.points.matrix();
        let products = &self.products[from..from + (PRODUCTS - 1) * matrix + S::LANES];
        let mut rows = [[simd.splat(0.0); POINTS]; TILE];
        for x in 0..ACROSS {
            let mut column = [simd.splat(0.0); POINTS];
            for (y, value) in column.iter_mut().enumerate().take(DOWN) {
                let at = (y * POINTS + x) * matrix;
                // SAFETY: the slice ends one vector after the start of the last product.
                *value = unsafe { simd.load(products.as_ptr().add(at)) };
            }
            for (row, value) in rows.iter_mut().zip(transform_products(simd, column)) {
                row[x] = value;
            }
        }
        rows
    }
}
