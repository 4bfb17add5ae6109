//! Training maps resident in device memory, from which steps gather crops.

use std::sync::Arc;

use cosmogan_engine::backend::{Backend, Op};
use cosmogan_engine::{Shape, Tensor};

use crate::data::{Crop, MapFile};
use crate::error::Result;
use crate::train::DataPrecision;

/// Maximum number of values uploaded at a time.
const BLOCK: usize = 1 << 24;

/// All maps of a file in device memory.
#[derive(Debug)]
pub(super) struct ResidentMaps {
    backend: Arc<dyn Backend>,
    precision: DataPrecision,
    /// Maps, rows, columns and channels.
    extents: [usize; 4],
    /// The pixels in the format of [`DataPrecision::stored`].
    values: Tensor,
}

impl ResidentMaps {
    /// Uploads one-channel maps block by block.
    ///
    /// Returns `None` if the device has no memory of its own, or the maps take more than a quarter of its free memory.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn new(
        maps: &MapFile,
        precision: DataPrecision,
        backend: &Arc<dyn Backend>,
    ) -> Result<Option<Self>> {
        let extents = [maps.count(), maps.height(), maps.width(), 1];
        let of_map = maps.height() * maps.width();
        let per_element = precision.per_element();
        let length = (maps.count() * of_map).div_ceil(per_element);
        let room = backend.free_memory().unwrap_or(0) / 4;
        // Map numbers are passed as f32, and a block of maps must start at an element boundary.
        if length * size_of::<f32>() > room
            || maps.count() > 1 << f32::MANTISSA_DIGITS
            || !of_map.is_multiple_of(per_element)
        {
            return Ok(None);
        }
        // If the allocation fails, the maps stay in the file.
        let Ok(mut values) = backend.empty(Shape::from([length])) else {
            return Ok(None);
        };
        let at_once = (BLOCK / of_map).max(1);
        for first in (0..maps.count()).step_by(at_once) {
            let last = (first + at_once).min(maps.count());
            let block = precision.stored(maps.read_maps(first..last)?);
            let to = first * of_map / per_element;
            if backend.write_part(&mut values, to, &block).is_err() {
                return Ok(None);
            }
        }
        Ok(Some(Self {
            backend: Arc::clone(backend),
            precision,
            extents,
            values,
        }))
    }

    /// Gathers `crops` into `maps` `[N, S, S, 1]`; `table` `[N, 4]` is scratch memory for their positions.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn gather(
        &self,
        crops: &[Crop],
        table: &mut Tensor,
        maps: &mut Tensor,
    ) -> Result<()> {
        let lines: Vec<f32> = crops
            .iter()
            .flat_map(|crop| {
                let [map, row, column] =
                    [crop.map, crop.row, crop.column].map(|number| number as f32);
                [map, row, column, f32::from(u8::from(crop.mirrored))]
            })
            .collect();
        self.backend.write(table, &lines)?;
        match self.precision {
            DataPrecision::F32 => {
                let values = self.values.reshape(self.extents)?;
                self.backend.run(Op::Gather {
                    maps: &values,
                    table,
                    crops: maps,
                })?;
            }
            DataPrecision::F16 => {
                let (values, extents) = (&self.values, self.extents);
                self.backend.run(Op::GatherHalf {
                    pairs: values,
                    extents,
                    table,
                    crops: maps,
                })?;
            }
        }
        Ok(())
    }
}
