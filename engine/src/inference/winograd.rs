//! A transposed convolution by Winograd (minimal) filtering of all phases at once.
//!
//! References: S. Winograd 1980; A. Lavin and S. Gray 2016, arXiv:1509.09308.
//!
//! Each phase is a convolution of stride 1 with two or three taps along an axis. For a tile of 4×4 input pixels all
//! phases read the same window of 6×6, so that one transformed window serves all of them, and the layer becomes 36
//! GEMMs of [tiles × inputs] by [inputs × phases·outputs]. 25 of them have all four phases, ten have two and one has
//! one: 7.6 multiplications per input pixel and pair of channels, where the direct method has 25.
#![allow(unsafe_code)]

use super::image::{BLOCK, Extents};
use crate::simd::memory::{Aligned, Shared};
use crate::simd::phases::{KERNEL, PHASES, taps};
use crate::simd::product::{Ahead, RowKernel, accumulate, tile_rows, zero};
use crate::simd::winograd::{
    POINTS, PRODUCTS, TAPS, TILE, phases_at, points, transform_products, transform_window,
};
use crate::simd::{InstructionSet, Kernel, Simd};

/// Most columns of a GEMM per task: four phases of a block of output channels.
const COLUMNS: usize = 4 * BLOCK;
/// Most tiles per task, so that the results stay in the second-level cache.
const TILES: usize = 32;

/// Values of scratch memory per worker.
pub(super) const SCRATCH: usize = TILES * PRODUCTS * COLUMNS;

/// Transformed weights: for each block of outputs, each GEMM, and each panel of two vectors of the phases of that
/// GEMM, a row per input.
#[derive(Debug)]
pub(super) struct Winograd {
    input: Extents,
    output: Extents,
    panels: Aligned,
    bias: Aligned,
    places: Vec<Place>,
    width: usize,
}

/// Columns of a GEMM in a panel.
#[derive(Clone, Copy, Debug)]
struct Place {
    product: usize,
    /// First column.
    column: usize,
}

/// The panels of a block, in order.
///
/// The last one of a GEMM may be wider than its phases.
fn places(width: usize) -> Vec<Place> {
    let of_product = |product: usize| {
        let phases = phases_at(product);
        let columns = (phases.start * BLOCK..phases.end * BLOCK).step_by(width);
        columns.map(move |column| Place { product, column })
    };
    (0..PRODUCTS).flat_map(of_product).collect()
}

/// Packs the weights of a block of outputs.
struct Packing<'a, W> {
    weight: &'a W,
    inputs: usize,
    outputs: usize,
    block: usize,
    /// Destination of the block's weights.
    packed: &'a mut [f32],
    places: &'a [Place],
    depth: usize,
    width: usize,
}

impl<W: Fn([usize; 2], usize, usize) -> f32> Kernel for Packing<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let outputs = (self.outputs - (self.block * BLOCK).min(self.outputs)).min(BLOCK);
        for input in 0..self.inputs {
            let mut values = [[[0.0_f64; BLOCK]; KERNEL]; KERNEL];
            for channel in 0..outputs {
                for (row, values) in values.iter_mut().enumerate() {
                    for (column, values) in values.iter_mut().enumerate() {
                        let output = self.block * BLOCK + channel;
                        values[channel] = (self.weight)([row, column], input, output).into();
                    }
                }
            }
            let mut rows = [[[[0.0_f64; BLOCK]; KERNEL]; POINTS]; 2];
            for (parity, rows) in rows.iter_mut().enumerate() {
                for (factors, rows) in TAPS.iter().zip(rows) {
                    for &(offset, tap) in taps(parity) {
                        let factor = factors[(offset + 1) as usize];
                        for (sums, values) in rows.iter_mut().zip(&values[tap]) {
                            add_scaled(sums, factor, values);
                        }
                    }
                }
            }
            let length = self.depth * self.width;
            for (place, panel) in self.places.iter().zip(self.packed.chunks_exact_mut(length)) {
                let row = &mut panel[input * self.width..(input + 1) * self.width];
                let phases = phases_at(place.product);
                for (part, values) in row.chunks_mut(BLOCK).enumerate() {
                    let column = place.column + part * BLOCK;
                    let (phase, channel) = (column / BLOCK, column % BLOCK);
                    if !phases.contains(&phase) {
                        continue;
                    }
                    let [down, across] = PHASES[phase];
                    let rows = &rows[down][place.product / POINTS];
                    let mut sums = [0.0; BLOCK];
                    for &(offset, tap) in taps(across) {
                        let factor = TAPS[place.product % POINTS][(offset + 1) as usize];
                        add_scaled(&mut sums, factor, &rows[tap]);
                    }
                    for (value, sum) in values.iter_mut().zip(&sums[channel..]) {
                        *value = *sum as f32;
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn add_scaled(sums: &mut [f64; BLOCK], factor: f64, values: &[f64; BLOCK]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += factor * value;
    }
}

impl Winograd {
    /// Packs `weight([row tap, column tap], input, output)` and a bias per output on `threads` threads.
    pub(super) fn pack(
        set: InstructionSet,
        [input, output]: [Extents; 2],
        weight: impl Fn([usize; 2], usize, usize) -> f32 + Sync,
        bias: &[f32],
        inputs: usize,
        threads: usize,
    ) -> Self {
        let width = 2 * set.lanes();
        let places = places(width);
        let block_length = places.len() * input.channels * width;
        let blocks = output.channels / BLOCK;
        let mut panels = Aligned::zeroed(blocks * block_length);
        let shared = Shared::new(&mut panels);
        super::team::run(&mut vec![(); threads], |worker, ()| {
            worker.share(blocks, |block| {
                // SAFETY: each block belongs to one worker, and the ranges of blocks do not overlap.
                let packed =
                    unsafe { shared.range(block * block_length..(block + 1) * block_length) };
                set.dispatch(Packing {
                    weight: &weight,
                    inputs,
                    outputs: bias.len(),
                    block,
                    packed,
                    places: &places,
                    depth: input.channels,
                    width,
                });
            });
        });
        let mut packed_bias = Aligned::zeroed(output.channels);
        packed_bias[..bias.len()].copy_from_slice(bias);
        Self {
            input,
            output,
            panels,
            bias: packed_bias,
            places,
            width,
        }
    }

    /// Tiles along an axis.
    fn side(&self) -> usize {
        self.input.size.div_ceil(TILE)
    }

    fn tiles(&self, images: usize) -> usize {
        images * self.side().pow(2)
    }

    /// Distance between the transformed windows of two tiles.
    ///
    /// Not a power of two, so that rows do not compete for the same sets of the first-level cache.
    fn stride(&self) -> usize {
        self.input.channels + BLOCK
    }

    /// Values of the transformed windows of `images` images.
    pub(super) fn windows(&self, images: usize) -> usize {
        PRODUCTS * self.tiles(images) * self.stride()
    }

    /// Number of tasks of [`WindowKernel`].
    pub(super) fn window_items(&self, images: usize) -> usize {
        images * self.side()
    }

    /// Number of tasks of [`ProductKernel`].
    pub(super) fn product_items(&self, images: usize) -> usize {
        self.output.channels / BLOCK * self.tiles(images).div_ceil(TILES)
    }
}

/// Transforms the windows of one row of tiles.
pub(super) struct WindowKernel<'a> {
    pub(super) layer: &'a Winograd,
    pub(super) images: usize,
    pub(super) item: usize,
    pub(super) input: &'a [f32],
    pub(super) windows: Shared<'a>,
}

impl Kernel for WindowKernel<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let layer = self.layer;
        let (side, extents) = (layer.side(), layer.input);
        let (image, row) = (self.item / side, self.item % side);
        let product_length = layer.tiles(self.images) * layer.stride();
        let rows: [&[f32]; POINTS] = std::array::from_fn(|y| {
            let start = extents.pixel(image, (TILE * row + y) as isize - 1, -1);
            &self.input[start..start + extents.row()]
        });
        for column in 0..side {
            let tile = self.item * side + column;
            for channel in (0..extents.channels).step_by(S::LANES) {
                let first = TILE * column * extents.channels + channel;
                let last = first + (POINTS - 1) * extents.channels + S::LANES;
                let mut window = [[simd.splat(0.0); POINTS]; POINTS];
                for (row, window) in rows.iter().zip(&mut window) {
                    let pixels = row[first..last].as_ptr();
                    for (x, value) in window.iter_mut().enumerate() {
                        // SAFETY: the slice ends one vector after the start of the sixth pixel.
                        *value = unsafe { simd.load(pixels.add(x * extents.channels)) };
                    }
                    *window = transform_window(simd, *window);
                }
                let mut columns = [[simd.splat(0.0); POINTS]; POINTS];
                for (y, row) in window.into_iter().enumerate() {
                    for (x, value) in row.into_iter().enumerate() {
                        columns[x][y] = value;
                    }
                }
                for (x, column) in columns.into_iter().enumerate() {
                    let column = transform_window(simd, column);
                    for (y, value) in column.into_iter().enumerate() {
                        let at =
                            (y * POINTS + x) * product_length + tile * layer.stride() + channel;
                        // SAFETY: no other task writes this tile.
                        unsafe {
                            simd.store(self.windows.range(at..at + S::LANES).as_mut_ptr(), value);
                        }
                    }
                }
            }
        }
    }
}

/// Computes the GEMMs of some tiles with a block of outputs, transforms the results, adds the bias and rectifies.
pub(super) struct ProductKernel<'a> {
    pub(super) layer: &'a Winograd,
    pub(super) images: usize,
    pub(super) item: usize,
    pub(super) windows: &'a [f32],
    /// Scratch memory of [`SCRATCH`] values.
    pub(super) scratch: &'a mut [f32],
    pub(super) output: Shared<'a>,
}

impl Kernel for ProductKernel<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let layer = self.layer;
        let tiles = layer.tiles(self.images);
        let groups = tiles.div_ceil(TILES);
        // Tasks that share weights are consecutive.
        let (block, group) = (self.item / groups, self.item % groups);
        let first = group * TILES;
        let count = TILES.min(tiles - first);
        let depth = layer.input.channels;
        let panel_length = depth * layer.width;
        let block_length = layer.places.len() * panel_length;
        let panels = &layer.panels[block * block_length..(block + 1) * block_length];
        for (place, panel) in layer.places.iter().zip(panels.chunks_exact(panel_length)) {
            let start = (place.product * tiles + first) * layer.stride();
            let mut rows = Rows {
                windows: &self.windows[start..start + count * layer.stride()],
                stride: layer.stride(),
                panel,
                count,
                scratch: &mut *self.scratch,
                column: place.product * COLUMNS + place.column,
            };
            tile_rows(simd, count, &mut rows);
        }
        for tile in 0..count {
            let products =
                &self.scratch[tile * PRODUCTS * COLUMNS..(tile + 1) * PRODUCTS * COLUMNS];
            for (phase, parities) in PHASES.into_iter().enumerate() {
                for lane in (0..BLOCK).step_by(S::LANES) {
                    let products = &products[phase * BLOCK + lane..];
                    let results = match parities.map(points) {
                        [5, 5] => finish::<S, 5, 5>(simd, products),
                        [5, _] => finish::<S, 5, 6>(simd, products),
                        [_, 5] => finish::<S, 6, 5>(simd, products),
                        _ => finish::<S, 6, 6>(simd, products),
                    };
                    let channel = block * BLOCK + lane;
                    self.write(simd, first + tile, parities, channel, results);
                }
            }
        }
    }
}

/// Transforms the products at `DOWN` by `ACROSS` points of 6×6, `COLUMNS` values apart.
///
/// The others are zero.
#[inline(always)]
fn finish<S: Simd, const DOWN: usize, const ACROSS: usize>(
    simd: S,
    products: &[f32],
) -> [[S::Vector; TILE]; TILE] {
    let products = &products[..(PRODUCTS - 1) * COLUMNS + S::LANES];
    let mut rows = [[simd.splat(0.0); POINTS]; TILE];
    for x in 0..ACROSS {
        let mut column = [simd.splat(0.0); POINTS];
        for (y, value) in column.iter_mut().enumerate().take(DOWN) {
            // SAFETY: the slice ends one vector after the start of the last product.
            *value = unsafe { simd.load(products.as_ptr().add((y * POINTS + x) * COLUMNS)) };
        }
        for (row, value) in rows.iter_mut().zip(transform_products(simd, column)) {
            row[x] = value;
        }
    }
    let mut results = [[simd.splat(0.0); TILE]; TILE];
    for (result, row) in results.iter_mut().zip(rows) {
        *result = transform_products(simd, row);
    }
    results
}

impl ProductKernel<'_> {
    #[inline(always)]
    fn write<S: Simd>(
        &self,
        simd: S,
        tile: usize,
        [down, across]: [usize; 2],
        channel: usize,
        results: [[S::Vector; TILE]; TILE],
    ) {
        let (side, output) = (self.layer.side(), self.layer.output);
        let (image, tile) = (tile / side.pow(2), tile % side.pow(2));
        let (tile_row, tile_column) = (tile / side, tile % side);
        // SAFETY: there is a bias for each channel of each block.
        let bias = unsafe { simd.load(self.layer.bias[channel..channel + S::LANES].as_ptr()) };
        for (y, results) in results.into_iter().enumerate() {
            let row = TILE * tile_row + y;
            for (x, result) in results.into_iter().enumerate() {
                let column = TILE * tile_column + x;
                // The last tiles may extend beyond the image.
                if row < self.layer.input.size && column < self.layer.input.size {
                    let (row, column) = (2 * row + down, 2 * column + across);
                    let at = output.pixel(image, row as isize, column as isize) + channel;
                    let value = simd.rectify(simd.add(result, bias));
                    // SAFETY: no other task writes these channels of this tile.
                    unsafe { simd.store(self.output.range(at..at + S::LANES).as_mut_ptr(), value) };
                }
            }
        }
    }
}

/// One panel of one GEMM, for some tiles.
struct Rows<'a> {
    windows: &'a [f32],
    stride: usize,
    panel: &'a [f32],
    /// Number of tiles that are multiplied by the panel.
    count: usize,
    scratch: &'a mut [f32],
    /// First column of the panel among the results of a tile.
    column: usize,
}

impl<S: Simd> RowKernel<S> for Rows<'_> {
    #[inline(always)]
    fn run<const ROWS: usize>(&mut self, simd: S, first: usize) {
        let windows = &self.windows[first * self.stride..(first + ROWS) * self.stride];
        let mut sums = zero::<S, ROWS>(simd);
        let ahead = Ahead::behind(self.panel, first, ROWS, self.count, S::LANES);
        accumulate(simd, windows, self.stride, self.panel, ahead, &mut sums);
        for (row, sums) in sums.into_iter().enumerate() {
            let at = (first + row) * PRODUCTS * COLUMNS + self.column;
            let to = self.scratch[at..at + 2 * S::LANES].as_mut_ptr();
            // SAFETY: the slice holds two vectors.
            unsafe {
                simd.store(to, sums[0]);
                simd.store(to.add(S::LANES), sums[1]);
            }
        }
    }
}
