//! PNG encoding.

use cosmogan_base::{Error, Result};

/// Encodes RGB pixels in row order as PNG.
pub(super) fn encode_rgb(rgb: &[u8], width: u32, height: u32) -> Result<Vec<u8>> {
    encode(rgb, width, height, None)
}

pub(super) fn encode(
    bytes: &[u8],
    width: u32,
    height: u32,
    palette: Option<(Vec<u8>, Vec<u8>)>,
) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let write = |out: &mut Vec<u8>| -> std::result::Result<(), png::EncodingError> {
        let mut encoder = png::Encoder::new(out, width, height);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_color(png::ColorType::Rgb);
        if let Some((palette, opacity)) = palette {
            encoder.set_color(png::ColorType::Indexed);
            encoder.set_palette(palette);
            encoder.set_trns(opacity);
        }
        let mut writer = encoder.write_header()?;
        writer.write_image_data(bytes)?;
        writer.finish()
    };
    write(&mut out).map_err(|error| cannot_encode(width, height, &error))?;
    Ok(out)
}

pub(super) fn cannot_encode(width: u32, height: u32, error: &png::EncodingError) -> Error {
    Error::CheckFailed(format!(
        "cannot encode an image of {width} × {height} pixels: {error}; draw fewer maps"
    ))
}
