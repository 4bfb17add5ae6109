//! Images of maps as PNG: a grid on one colour scale.

use super::colour::{ColourRange, inferno};
use super::encode::{encode, encode_rgb};
use super::plots::{self, ScaleBar};
use cosmogan_base::{Error, Result};

/// Gap between maps, in image pixels.
const GAP: usize = 4;
/// Smaller maps are enlarged by an integer factor to sharp square pixels.
const SMALLEST_SIDE: usize = 160;
/// Larger maps are averaged down by an integer factor.
const LARGEST_SIDE: usize = 512;
/// Palette index of the gaps; the other entries are the colour map.
const GAP_COLOUR: u8 = 255;
const COLOURS: f64 = 254.0;

/// Scale between map pixels and image pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zoom {
    /// Each map pixel becomes a square with this many image pixels on a side.
    Enlarged(usize),
    /// The mean over a square with this many map pixels on a side becomes one image pixel.
    Averaged(usize),
}

impl Zoom {
    /// Returns the zoom for maps of `height` × `width` pixels.
    pub fn for_maps(height: usize, width: usize) -> Self {
        let side = height.max(width).max(1);
        if side > LARGEST_SIDE {
            Self::Averaged(side.div_ceil(LARGEST_SIDE))
        } else {
            Self::Enlarged(SMALLEST_SIDE.div_ceil(side))
        }
    }

    /// Number of maps of `side` pixels per row of a page.
    pub fn columns(self, side: usize) -> usize {
        match self.picture_side(side) {
            0..=200 => 6,
            201..=330 => 4,
            _ => 3,
        }
    }

    fn picture_side(self, side: usize) -> usize {
        match self {
            Self::Enlarged(factor) => side * factor,
            Self::Averaged(factor) => side.div_ceil(factor),
        }
    }
}

/// A palette image: one byte per pixel.
pub(super) struct Grid {
    pub(super) indices: Vec<u8>,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// Draws a grid of maps with a colour bar as a PNG.
///
/// Each of `maps` has `height` × `width` values of κ in row order; the grid has `columns` maps per row. Small maps are
/// enlarged without smoothing, very large ones are averaged down.
///
/// # Errors
/// If there are no maps, or one has another size.
pub fn map_grid_png(
    maps: &[&[f32]],
    height: usize,
    width: usize,
    columns: usize,
    range: ColourRange,
) -> Result<Vec<u8>> {
    let grid = draw_grid(maps, height, width, columns, range)?;
    // The bar is drawn at twice its nominal size.
    let bar_width = (grid.width as u32 / 2).clamp(160, 420);
    let (bar, bar_width, bar_height) = plots::pixels(&ScaleBar {
        range,
        width: bar_width,
    })?;
    let full_width = grid.width.max(bar_width as usize);
    let full_height = grid.height + 2 * GAP + bar_height as usize;
    let palette = palette();
    let mut rgb = vec![255; full_width * full_height * 3];
    for (row, line) in grid.indices.chunks_exact(grid.width).enumerate() {
        for (column, index) in line.iter().enumerate() {
            let at = (row * full_width + column) * 3;
            let from = usize::from(*index) * 3;
            rgb[at..at + 3].copy_from_slice(&palette[from..from + 3]);
        }
    }
    let indent = (full_width - bar_width as usize) / 2;
    let bar_lines = bar.chunks_exact(bar_width as usize * 3);
    for (row, line) in bar_lines.enumerate() {
        let at = ((grid.height + 2 * GAP + row) * full_width + indent) * 3;
        rgb[at..at + line.len()].copy_from_slice(line);
    }
    encode_rgb(&rgb, full_width as u32, full_height as u32)
}

/// Draws a grid of maps without a colour bar and with transparent gaps.
///
/// Otherwise like [`map_grid_png`]; for pages with one bar for several grids.
///
/// # Errors
/// See [`map_grid_png`].
pub fn bare_map_grid_png(
    maps: &[&[f32]],
    height: usize,
    width: usize,
    columns: usize,
    range: ColourRange,
) -> Result<Vec<u8>> {
    let grid = draw_grid(maps, height, width, columns, range)?;
    encode(
        &grid.indices,
        grid.width as u32,
        grid.height as u32,
        Some(palette_with_opacity()),
    )
}

pub(super) fn draw_grid(
    maps: &[&[f32]],
    height: usize,
    width: usize,
    columns: usize,
    range: ColourRange,
) -> Result<Grid> {
    if maps.is_empty() || height == 0 || width == 0 || columns == 0 {
        return Err(Error::CheckFailed(
            "there are no maps to draw; give at least one map with at least one pixel".to_owned(),
        ));
    }
    if let Some(index) = maps.iter().position(|map| map.len() != height * width) {
        return Err(Error::CheckFailed(format!(
            "map {index} has {} values, not {height} × {width}; give maps of one size",
            maps[index].len()
        )));
    }
    let zoom = Zoom::for_maps(height, width);
    let (tile_height, tile_width) = (zoom.picture_side(height), zoom.picture_side(width));
    let columns = columns.min(maps.len());
    let rows = maps.len().div_ceil(columns);
    let full_width = columns * (tile_width + GAP) - GAP;
    let full_height = rows * (tile_height + GAP) - GAP;
    let mut indices = vec![GAP_COLOUR; full_width * full_height];
    for (number, map) in maps.iter().enumerate() {
        let top = number / columns * (tile_height + GAP);
        let left = number % columns * (tile_width + GAP);
        for row in 0..tile_height {
            let line = (top + row) * full_width + left;
            for column in 0..tile_width {
                let kappa = match zoom {
                    Zoom::Enlarged(factor) => {
                        f64::from(map[row / factor * width + column / factor])
                    }
                    Zoom::Averaged(factor) => {
                        block_mean(map, height, width, row * factor, column * factor, factor)
                    }
                };
                indices[line + column] = (range.position(kappa) * COLOURS).round() as u8;
            }
        }
    }
    Ok(Grid {
        indices,
        width: full_width,
        height: full_height,
    })
}

/// Mean over a square of the map, clipped at the map's edges.
fn block_mean(
    map: &[f32],
    height: usize,
    width: usize,
    top: usize,
    left: usize,
    side: usize,
) -> f64 {
    let bottom = (top + side).min(height);
    let right = (left + side).min(width);
    let sum: f64 = (top..bottom)
        .flat_map(|row| &map[row * width + left..row * width + right])
        .map(|&value| f64::from(value))
        .sum();
    sum / ((bottom - top) * (right - left)) as f64
}

fn palette() -> Vec<u8> {
    let mut palette: Vec<u8> = (0..GAP_COLOUR)
        .flat_map(|index| inferno(f64::from(index) / COLOURS))
        .collect();
    palette.extend([255; 3]);
    palette
}

/// Returns the palette and the opacity of each entry: gaps are transparent.
pub(super) fn palette_with_opacity() -> (Vec<u8>, Vec<u8>) {
    let palette = palette();
    let mut opacity = vec![255; palette.len() / 3];
    opacity[usize::from(GAP_COLOUR)] = 0;
    (palette, opacity)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> (Vec<u8>, u32, u32) {
        let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().expect("a header");
        let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
        let info = reader.next_frame(&mut pixels).expect("a picture");
        (pixels, info.width, info.height)
    }

    #[test]
    fn small_maps_are_enlarged_without_smoothing() {
        let map = [0.0f32, 1.0, 0.5, 0.25];
        let range = ColourRange::linear(0.0, 1.0);
        let png = bare_map_grid_png(&[&map, &map], 2, 2, 2, range).expect("a picture");
        let (pixels, width, height) = decode(&png);
        assert_eq!((width as usize, height as usize), (2 * 160 + GAP, 160));
        let at = |x: usize, y: usize| &pixels[(y * width as usize + x) * 4..][..3];
        let opacity = |x: usize, y: usize| pixels[(y * width as usize + x) * 4 + 3];
        assert_eq!(at(0, 0), inferno(0.0));
        assert_eq!(at(79, 79), inferno(0.0));
        assert_eq!(at(80, 79), inferno(1.0));
        assert_eq!(at(40, 100), inferno(0.5));
        assert_eq!((opacity(159, 10), opacity(161, 10)), (255, 0));
        assert_eq!(at(164, 0), inferno(0.0));
    }

    #[test]
    fn large_maps_are_averaged() {
        assert_eq!(Zoom::for_maps(1024, 1024), Zoom::Averaged(2));
        assert_eq!(Zoom::for_maps(64, 64), Zoom::Enlarged(3));
        assert_eq!(block_mean(&[1.0, 3.0, 5.0, 7.0], 2, 2, 0, 0, 2), 4.0);
        assert_eq!(block_mean(&[1.0, 3.0, 5.0, 7.0], 2, 2, 1, 0, 2), 6.0);
    }

    #[test]
    fn the_colour_bar_is_added_below() {
        let map = vec![0.1f32; 64 * 64];
        let range = ColourRange::spanning(&[&map]);
        let bare =
            decode(&bare_map_grid_png(&[map.as_slice(); 3], 64, 64, 3, range).expect("a picture"));
        let full =
            decode(&map_grid_png(&[map.as_slice(); 3], 64, 64, 3, range).expect("a picture"));
        assert_eq!(full.1, bare.1);
        assert!(full.2 > bare.2 + 60);
    }

    #[test]
    fn nothing_to_draw_is_an_error_with_a_remedy() {
        let range = ColourRange::linear(0.0, 1.0);
        assert!(map_grid_png(&[], 2, 2, 2, range).is_err());
        let error = map_grid_png(&[&[0.0; 3]], 2, 2, 2, range).expect_err("wrong size");
        assert!(error.to_string().contains("maps of one size"));
    }
}
