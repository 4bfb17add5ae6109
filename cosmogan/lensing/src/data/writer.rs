//! Writing maps to a file, one at a time; the file appears once it is complete.

use std::path::Path;

use super::{fits, fits_header};
use crate::files::AtomicFile;
use cosmogan_base::{Error, Result};

/// A file of maps under construction.
#[derive(Debug)]
pub struct MapWriter {
    file: AtomicFile,
    format: Format,
    map_length: usize,
    expected: usize,
    written: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Npy,
    Fits,
}

impl MapWriter {
    /// Starts a file for `count` maps.
    ///
    /// `.npy` is written as float32 of shape (N, H, W); `.fits` or `.fit` as an image of BITPIX −32, with the side of a
    /// map in the keyword `ANGLE` (degrees) if it is known.
    ///
    /// # Errors
    /// If the extension is not `.npy`, `.fits` or `.fit`, or the file cannot be written.
    pub fn create(
        path: &Path,
        count: usize,
        height: usize,
        width: usize,
        side_degrees: Option<f64>,
    ) -> Result<Self> {
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        let format = match extension.to_ascii_lowercase().as_str() {
            "npy" => Format::Npy,
            "fits" | "fit" => Format::Fits,
            _ => {
                return Err(Error::usage(
                    "--out",
                    format!("{} has an unknown extension", path.display()),
                    "use the extension .npy or .fits",
                ));
            }
        };
        let bytes = count as f64 * height as f64 * width as f64 * size_of::<f32>() as f64;
        let mut file = AtomicFile::create(path)?;
        file.require_space(bytes as u64)?;
        file.append(&match format {
            Format::Npy => npy_header("<f4", &[count, height, width]),
            Format::Fits => fits::header(count, height, width, side_degrees),
        })?;
        Ok(Self {
            file,
            format,
            map_length: height * width,
            expected: count,
            written: 0,
        })
    }

    /// Appends one map, row by row.
    ///
    /// # Errors
    /// If the file cannot be written, all maps have been written already, or the map has another size.
    pub fn push(&mut self, map: &[f32]) -> Result<()> {
        if map.len() != self.map_length || self.written == self.expected {
            return Err(self.miscounted(&format!("map {} of {} values", self.written, map.len())));
        }
        let bytes: Vec<u8> = match self.format {
            Format::Npy => map.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Format::Fits => map.iter().flat_map(|value| value.to_be_bytes()).collect(),
        };
        self.written += 1;
        self.file.append(&bytes)
    }

    /// Completes the file and moves it to its final name.
    ///
    /// # Errors
    /// If maps are missing or the file cannot be written.
    pub fn finish(mut self) -> Result<()> {
        if self.written != self.expected {
            return Err(self.miscounted(&format!("{} maps in total", self.written)));
        }
        if self.format == Format::Fits {
            let bytes = self.written * self.map_length * size_of::<f32>();
            let padding = bytes.next_multiple_of(fits_header::BLOCK) - bytes;
            self.file.append(&vec![0; padding])?;
        }
        self.file.commit()
    }

    fn miscounted(&self, found: &str) -> Error {
        Error::file(
            self.file.path(),
            format!(
                "expected {} maps of {} values, but got {found}",
                self.expected, self.map_length
            ),
            "report this as a bug",
        )
    }
}

/// Formats an NPY version 1 header for an array of the type `descr` in C order.
///
/// It is padded so that the data are aligned to 64 bytes.
pub fn npy_header(descr: &str, shape: &[usize]) -> Vec<u8> {
    const PREFIX: usize = 10;
    const ALIGNMENT: usize = 64;
    let extents: Vec<String> = shape.iter().map(usize::to_string).collect();
    // Python writes a tuple of one element with a comma.
    let comma = if shape.len() == 1 { "," } else { "" };
    let extents = extents.join(", ") + comma;
    let mut text =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({extents}), }}");
    let padded = (PREFIX + text.len() + 1).next_multiple_of(ALIGNMENT) - PREFIX - 1;
    text.extend(std::iter::repeat_n(' ', padded - text.len()));
    text.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}
