//! Sequences of maps as animated PNG, which browsers and image viewers play.

use super::colour::ColourRange;
use super::encode::cannot_encode;
use super::picture::{draw_grid, palette_with_opacity};
use cosmogan_base::{Error, Result};

/// Time between two frames, in milliseconds.
const FRAME_MILLISECONDS: u16 = 80;

/// Encodes an endlessly looping animation of `frames`.
///
/// Each frame has `height` × `width` values of κ in row order.
///
/// # Errors
/// If there are no frames, or one has another size.
pub fn animation_png(
    frames: &[&[f32]],
    height: usize,
    width: usize,
    range: ColourRange,
) -> Result<Vec<u8>> {
    let pictures = frames
        .iter()
        .map(|map| draw_grid(&[map], height, width, 1, range))
        .collect::<Result<Vec<_>>>()?;
    let Some(first) = pictures.first() else {
        return Err(Error::CheckFailed(
            "there are no frames to draw; give at least one map".to_owned(),
        ));
    };
    let (width, height) = (first.width as u32, first.height as u32);
    let mut out = Vec::new();
    let write = |out: &mut Vec<u8>| -> std::result::Result<(), png::EncodingError> {
        let mut encoder = png::Encoder::new(out, width, height);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_color(png::ColorType::Indexed);
        let (palette, opacity) = palette_with_opacity();
        encoder.set_palette(palette);
        encoder.set_trns(opacity);
        encoder.set_animated(pictures.len() as u32, 0)?;
        encoder.set_frame_delay(FRAME_MILLISECONDS, 1000)?;
        let mut writer = encoder.write_header()?;
        for picture in &pictures {
            writer.write_image_data(&picture.indices)?;
        }
        writer.finish()
    };
    write(&mut out).map_err(|error| cannot_encode(width, height, &error))?;
    Ok(out)
}
