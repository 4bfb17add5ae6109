//! `cosmogan crop`: random crops of larger maps.

use std::path::{Path, PathBuf};

use clap::Args;

use super::maps::{MapFlags, recorded_side};
use crate::data::{MapFile, MapWriter, crops};
use crate::error::{Error, Result};
use crate::files::refuse_input;
use crate::help::examples;
use crate::progress::Progress;

/// Cut maps into random crops of one size
#[derive(Debug, Args)]
#[command(after_help = examples(&["cosmogan crop big.fits --size 128 --per-map 200 --out crops.npy"]))]
pub(super) struct CropArguments {
    /// Maps: .npy or FITS files with one or more maps each
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Output file: crops.npy or crops.fits
    #[arg(long, value_name = "CROPS")]
    out: PathBuf,
    /// Pixels on a side of a crop
    #[arg(long, default_value_t = 256)]
    size: usize,
    /// Crops per map
    #[arg(long, default_value_t = 200)]
    per_map: usize,
    /// First average blocks of this many pixels squared; 1 for none
    #[arg(long, default_value_t = 2)]
    downsample: usize,
    /// Random seed of the crop positions
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    files: MapFlags,
}

impl CropArguments {
    pub(super) fn run(self) -> Result<()> {
        let counts = [
            ("--size", self.size),
            ("--per-map", self.per_map),
            ("--downsample", self.downsample),
        ];
        for (flag, value) in counts {
            if value == 0 {
                return Err(Error::usage(flag, "0", "give 1 or more"));
            }
        }
        refuse_input(&self.out, self.inputs.iter().map(PathBuf::as_path), "--out")?;
        // All inputs are checked before anything is written.
        let mut maps = 0;
        let mut sides = Vec::new();
        for input in &self.inputs {
            let file = self.files.open(input)?;
            let (rows, _) = self.reduced(input, &file)?;
            maps += file.count();
            let remedy = "correct the header, or remove the keyword";
            let side = recorded_side(input, file.side_degrees(), remedy)?;
            sides.push(side.map(|side| side * self.size as f64 / rows as f64));
        }
        let side = self.common_side(&sides)?;
        let count = maps
            .checked_mul(self.per_map)
            .filter(|count| {
                count
                    .checked_mul(self.size * self.size * size_of::<f32>())
                    .is_some()
            })
            .ok_or_else(|| {
                Error::usage(
                    "--per-map",
                    "the number of crops is too large for any disk",
                    "give a smaller number",
                )
            })?;
        let mut writer = MapWriter::create(&self.out, count, self.size, self.size, side)?;
        let mut progress = Progress::new("cropping", maps as u64);
        let mut index = 0;
        for input in &self.inputs {
            let file = self.files.open(input)?;
            let (_, columns) = self.reduced(input, &file)?;
            let mut map = vec![0.0; file.height() * file.width()];
            for number in 0..file.count() {
                file.read(number, &mut map)?;
                let small = downsampled(&map, file.width(), self.downsample);
                for crop in crops(&small, columns, self.size, self.per_map, (self.seed, index)) {
                    writer.push(&crop)?;
                }
                index += 1;
                progress.advance(1, input.display());
            }
        }
        writer.finish()?;
        let angle = side.map_or(String::new(), |side| format!(" of {side:.4}° a side"));
        progress.finish(format_args!(
            "{count} crops{angle} written to {}",
            self.out.display()
        ));
        Ok(())
    }

    /// Side of a crop in degrees, if the files of all inputs give it.
    ///
    /// # Errors
    /// If two of them differ.
    fn common_side(&self, sides: &[Option<f64>]) -> Result<Option<f64>> {
        let known = |(index, side): (usize, &Option<f64>)| Some((index, (*side)?));
        let mut known = sides.iter().enumerate().filter_map(known);
        let Some((first, side)) = known.next() else {
            return Ok(None);
        };
        if let Some((other, different)) = known.find(|(_, other)| (other / side - 1.0).abs() > 1e-3)
        {
            return Err(Error::file(
                &self.inputs[other],
                format!(
                    "gives crops with a side of {different:.4}°, but {} gives {side:.4}°",
                    self.inputs[first].display()
                ),
                "cut maps of one pixel size; --downsample changes it",
            ));
        }
        Ok(sides.iter().all(Option::is_some).then_some(side))
    }

    /// Rows and columns after downsampling.
    ///
    /// # Errors
    /// If blocks do not divide the map, or no crop fits.
    fn reduced(&self, path: &Path, file: &MapFile) -> Result<(usize, usize)> {
        let (height, width) = (file.height(), file.width());
        let factor = self.downsample;
        if !height.is_multiple_of(factor) || !width.is_multiple_of(factor) {
            return Err(Error::file(
                path,
                format!(
                    "its maps of {height}×{width} pixels are not divisible into blocks of {factor}×{factor}"
                ),
                "choose another --downsample (1 for none)",
            ));
        }
        let (rows, columns) = (height / factor, width / factor);
        if rows < self.size || columns < self.size {
            return Err(Error::file(
                path,
                format!(
                    "its maps have {rows}×{columns} pixels after --downsample {factor}, fewer than a crop of {0}×{0}",
                    self.size
                ),
                "choose a smaller --size, or --downsample 1",
            ));
        }
        Ok((rows, columns))
    }
}

/// Averages blocks of `factor`×`factor` pixels.
fn downsampled(map: &[f32], width: usize, factor: usize) -> Vec<f32> {
    if factor == 1 {
        return map.to_vec();
    }
    let columns = width / factor;
    let rows = map.len() / width / factor;
    let pixels = (factor * factor) as f64;
    let mut small = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        for column in 0..columns {
            let sum: f64 = (0..factor)
                .flat_map(|r| &map[(row * factor + r) * width + column * factor..][..factor])
                .map(|&value| f64::from(value))
                .sum();
            small.push((sum / pixels) as f32);
        }
    }
    small
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_averaged() {
        let map: Vec<f32> = (0..24).map(|value| value as f32).collect();
        assert_eq!(downsampled(&map, 6, 2), [3.5, 5.5, 7.5, 15.5, 17.5, 19.5]);
    }
}
