//! Crops of maps that reside on the device.

use cosmogan_kernels::data;

use super::{Arguments, LaunchBackend};
use crate::backend::gather_extents;
use crate::error::Result;
use crate::shape::Shape;
use crate::tensor::Tensor;

impl LaunchBackend {
    /// Copies crops of maps of the shape `maps` at `address`, in half precision or f32.
    pub(super) fn gather(
        &self,
        name: &'static str,
        maps: &Shape,
        (address, half): (u64, bool),
        table: &Tensor,
        crops: &mut Tensor,
    ) -> Result<()> {
        let ([count, height, width, channels], [taken, rows, columns]) =
            gather_extents(maps, crops)?;
        let arguments = Arguments::new()
            .int(taken)
            .int(rows)
            .int(columns)
            .int(channels)
            .int(count)
            .int(height)
            .int(width)
            .address(address)
            .address(self.input_of(name, table, 4 * taken)?)
            .address(self.output_of(name, crops, taken * rows * columns * channels)?);
        let launch = data::gather(taken, rows * columns * channels, half);
        self.launch(&launch, &arguments)
    }
}
