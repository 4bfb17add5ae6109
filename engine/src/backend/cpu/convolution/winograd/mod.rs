//! The three convolution GEMMs, 5×5 with stride 2, by Winograd (minimal) filtering.
//!
//! This takes 7.6 multiplications per coarse pixel and pair of channels, where the definition has 25.
//!
//! A fine image consists of four phases, by the parity of rows and columns. Each phase is related to the coarse image
//! by a filter of stride 1 with two or three taps along an axis. For a tile of 4×4 pixels this filter takes 36
//! multiplications, one per point of the transforms ([`crate::simd::winograd`]); each point, over all tiles and
//! channels, is one GEMM. Phases with two taps along an axis do not need the last point there, so that C stands for
//! four phases at 25 points, for two at ten and for one at the last:
//!
//! ```text
//!   dgrad   fine phases   = Aᵀ( windows of the coarse image [tiles × K] · taps [K × C] )A
//!   fprop   coarse image  = Aᵀ( windows of the fine phases [tiles × C] · taps [C × K] )A
//!   wgrad   taps' gradient = windows of the fine phases ᵀ [C × tiles] · spread coarse tiles [tiles × K]
//! ```
//!
//! Tiles pass through the stages in chunks whose scratch memory stays in the third-level cache. Every sum over
//! channels or tiles has one order, whatever the number of threads and the batch size.
#![allow(unsafe_code)]

mod grid;
mod product;
mod transform;
mod weights;

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use self::grid::{Grid, Order, Points, Side};
use self::product::{BetweenImages, ByTaps, ROWS};
use self::transform::{Factor, MOST_CHANNELS, ToImages, ToPoints};
use self::weights::{BLOCK, Depth, Extents, Gather, Panels, Transform};
use crate::geometry::ConvGeometry;
use crate::simd::InstructionSet;
use crate::simd::memory::{Aligned, Shared};
use crate::simd::winograd::PRODUCTS;

/// Values in the scratch memory of a chunk of tiles: 48 MB.
const SCRATCH: usize = 12_000_000;

/// Tiles that are transformed as one task.
const TILES: usize = 16;

/// Whether Winograd filtering is used for a geometry.
///
/// With few channels, the transforms cost more than the GEMMs save.
pub(super) fn applies(geometry: &ConvGeometry) -> bool {
    let [fine, coarse] = [geometry.input_channels, geometry.output_channels];
    let whole = |channels: usize| channels.is_multiple_of(BLOCK) && channels <= MOST_CHANNELS;
    geometry.kernel == [5, 5]
        && geometry.stride == [2, 2]
        && geometry.padding.begin == [1, 1]
        && geometry.input == geometry.output.map(|extent| 2 * extent)
        && whole(fine)
        && whole(coarse)
        && coarse >= 2 * BLOCK
}

/// Scratch memory that is kept from one GEMM to the next.
///
/// The first touch of a fresh page costs more than most operators.
#[derive(Debug, Default)]
pub(super) struct Workspaces(Mutex<Vec<Workspace>>);

#[derive(Debug, Default)]
struct Workspace {
    /// Transformed taps, or their gradients.
    taps: Aligned,
    /// Transformed tiles of one chunk.
    factors: Aligned,
    /// The same tiles on the other side: results, or the other factors.
    others: Aligned,
}

impl Workspaces {
    fn with<T>(&self, work: impl FnOnce(&mut Workspace) -> T) -> T {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut workspace = lock().pop().unwrap_or_default();
        let result = work(&mut workspace);
        lock().push(workspace);
        result
    }
}

/// Returns the first `length` values of `memory`, which grows if necessary.
fn at_least(memory: &mut Aligned, length: usize) -> &mut [f32] {
    if memory.len() < length {
        *memory = Aligned::zeroed(length);
    }
    &mut memory[..length]
}

/// One of the three GEMMs of a geometry.
pub(super) struct Winograd<'a> {
    set: InstructionSet,
    grid: Grid,
    extents: Extents,
    workspaces: &'a Workspaces,
}

impl<'a> Winograd<'a> {
    /// Creates a GEMM; [`applies`] must hold for the geometry, and operands must have its lengths.
    pub(super) fn new(
        geometry: &ConvGeometry,
        set: InstructionSet,
        workspaces: &'a Workspaces,
    ) -> Self {
        Self {
            set,
            grid: Grid::new(geometry),
            extents: Extents {
                fine: geometry.input_channels,
                coarse: geometry.output_channels,
            },
            workspaces,
        }
    }

    /// y = conv(x, w) + bias.
    pub(super) fn fprop(&self, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
        self.by_taps([Side::Fine, Side::Coarse], x, weight, bias, y);
    }

    /// x = convᵀ(y, w) + bias.
    pub(super) fn dgrad(&self, y: &[f32], weight: &[f32], bias: Option<&[f32]>, x: &mut [f32]) {
        self.by_taps([Side::Coarse, Side::Fine], y, weight, bias, x);
    }

    /// Transforms the images of one side, multiplies by transformed taps, and transforms back to images of the other
    /// side.
    fn by_taps(
        &self,
        [from, to]: [Side; 2],
        images: &[f32],
        weight: &[f32],
        bias: Option<&[f32]>,
        results: &mut [f32],
    ) {
        let (depth, order) = match from {
            Side::Fine => (Depth::Fine, Order::Backwards),
            Side::Coarse => (Depth::Coarse, Order::Forwards),
        };
        let panels = Panels::new(self.extents, depth, self.set.lanes());
        let results = Shared::new(results);
        self.workspaces.with(|workspace| {
            let taps = at_least(&mut workspace.taps, panels.len());
            self.transform_taps(weight, depth, panels, taps);
            for tiles in self.chunks() {
                let [from_points, to_points] =
                    [from, to].map(|side| Points::new(&tiles, side.depth(&self.grid)));
                let transformed = at_least(&mut workspace.factors, from_points.len());
                self.to_points(
                    from,
                    order,
                    Factor::Windows,
                    images,
                    from_points,
                    transformed,
                );
                let products = at_least(&mut workspace.others, to_points.len());
                let shared = Shared::new(products);
                let blocks = tiles.len().div_ceil(ROWS);
                (0..PRODUCTS * blocks).into_par_iter().for_each(|item| {
                    let first = item % blocks * ROWS;
                    self.set.dispatch(ByTaps {
                        from: transformed,
                        from_points,
                        taps,
                        panels,
                        to: shared,
                        to_points,
                        point: item / blocks,
                        first,
                        rows: ROWS.min(tiles.len() - first),
                        depth: from.columns(&self.grid, item / blocks),
                        columns: to.columns(&self.grid, item / blocks),
                    });
                });
                pieces(&tiles).for_each(|range| {
                    self.set.dispatch(ToImages {
                        grid: &self.grid,
                        side: to,
                        order,
                        products,
                        points: to_points,
                        range,
                        bias,
                        images: results,
                    });
                });
            }
        });
    }

    /// w = Σ x·y over images and windows.
    pub(super) fn wgrad(&self, x: &[f32], y: &[f32], weight: &mut [f32]) {
        let rows = Side::Fine.depth(&self.grid);
        let stride = Points::new(&(0..0), self.extents.coarse).stride();
        self.workspaces.with(|workspace| {
            let gradients = at_least(&mut workspace.taps, PRODUCTS * rows * stride);
            let shared = Shared::new(gradients);
            for tiles in self.chunks() {
                let [fine_points, coarse_points] = [Side::Fine, Side::Coarse]
                    .map(|side| Points::new(&tiles, side.depth(&self.grid)));
                let fine = at_least(&mut workspace.factors, fine_points.len());
                let coarse = at_least(&mut workspace.others, coarse_points.len());
                let order = Order::Backwards;
                self.to_points(Side::Fine, order, Factor::Windows, x, fine_points, fine);
                self.to_points(
                    Side::Coarse,
                    order,
                    Factor::Products,
                    y,
                    coarse_points,
                    coarse,
                );
                let blocks = rows.div_ceil(ROWS);
                (0..PRODUCTS * blocks).into_par_iter().for_each(|item| {
                    let columns = Side::Fine.columns(&self.grid, item / blocks);
                    let first = columns.start + item % blocks * ROWS;
                    if first >= columns.end {
                        return;
                    }
                    self.set.dispatch(BetweenImages {
                        fine,
                        fine_points,
                        coarse,
                        coarse_points,
                        gradients: shared,
                        stride,
                        adds: tiles.start > 0,
                        point: item / blocks,
                        first,
                        rows: ROWS.min(columns.end - first),
                    });
                });
            }
            let weights = Shared::new(weight);
            (0..self.extents.fine).into_par_iter().for_each(|channel| {
                self.set.dispatch(Gather {
                    extents: self.extents,
                    gradients,
                    stride,
                    channel,
                    weights,
                });
            });
        });
    }

    fn transform_taps(&self, weights: &[f32], depth: Depth, panels: Panels, taps: &mut [f32]) {
        let channels = match depth {
            Depth::Fine => self.extents.fine,
            Depth::Coarse => self.extents.coarse,
        };
        let to = Shared::new(taps);
        (0..channels).into_par_iter().for_each(|channel| {
            self.set.dispatch(Transform {
                extents: self.extents,
                weights,
                depth,
                panels,
                channel,
                to,
            });
        });
    }

    fn to_points(
        &self,
        side: Side,
        order: Order,
        factor: Factor,
        images: &[f32],
        points: Points,
        to: &mut [f32],
    ) {
        let to = Shared::new(to);
        pieces(&(points.first..points.first + points.tiles)).for_each(|range| {
            self.set.dispatch(ToPoints {
                grid: &self.grid,
                side,
                order,
                factor,
                images,
                range,
                points,
                to,
            });
        });
    }

    /// All tiles, in chunks that fit the scratch memory.
    fn chunks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let strides = [Side::Fine, Side::Coarse]
            .map(|side| Points::new(&(0..0), side.depth(&self.grid)).stride());
        let fitting = SCRATCH / (PRODUCTS * (strides[0] + strides[1]));
        let chunk = (fitting / ROWS).max(1) * ROWS;
        let tiles = self.grid.tiles;
        (0..tiles)
            .step_by(chunk)
            .map(move |first| first..tiles.min(first + chunk))
    }
}

/// Splits a range of tiles into tasks.
fn pieces(tiles: &Range<usize>) -> impl ParallelIterator<Item = Range<usize>> {
    let tiles = tiles.clone();
    (0..tiles.len().div_ceil(TILES))
        .into_par_iter()
        .map(move |piece| {
            let first = tiles.start + piece * TILES;
            first..tiles.end.min(first + TILES)
        })
}
