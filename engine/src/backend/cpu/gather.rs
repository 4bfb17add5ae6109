//! Crops of maps.

use super::write;
use crate::backend::{expect_length, gather_extents};
use crate::error::Result;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Copies crops of maps of the shape `maps`; `value` returns an element of the maps by its index.
pub(super) fn crops(
    maps: &Shape,
    table: &[f32],
    crops: &mut Tensor,
    value: impl Fn(usize) -> f32,
) -> Result<()> {
    let ([count, height, width, channels], [taken, rows, columns]) = gather_extents(maps, crops)?;
    let crops = write("gather", crops)?;
    expect_length("gather", table.len(), 4 * taken)?;
    expect_length("gather", crops.len(), taken * rows * columns * channels)?;
    for (row, to) in crops.chunks_exact_mut(columns * channels).enumerate() {
        let line = &table[row / rows * 4..][..4];
        // A cast from float to integer saturates.
        let map = (line[0] as usize).min(count - 1);
        let top = (line[1] as usize).min(height - rows);
        let left = (line[2] as usize).min(width - columns);
        let first = ((map * height + top + row % rows) * width + left) * channels;
        for (column, to) in to.chunks_exact_mut(channels).enumerate() {
            let from = if line[3] == 0.0 {
                column
            } else {
                columns - 1 - column
            };
            for (channel, to) in to.iter_mut().enumerate() {
                *to = value(first + from * channels + channel);
            }
        }
    }
    Ok(())
}
