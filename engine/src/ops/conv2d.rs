//! The strided convolution (a cross-correlation: the kernel is not flipped).

use super::{expect_shape, mismatch, when, when_packed};
use crate::backend::{Backend, Epilogue};
use crate::error::Result;
use crate::geometry::{ConvGeometry, ConvProduct, Padding};
use crate::part::Part;
use crate::shape::Shape;
use crate::tape::{Backward, Narrowed, Saved, Tape, Variable, Wanted};
use crate::tensor::Tensor;

impl Tape {
    /// y = conv(x, weight) + bias, with x `[N, H, W, C]`, weight `[R, S, C, K]`, bias `[K]` and y `[N, P, Q, K]`;
    /// see [`ConvGeometry`].
    ///
    /// # Errors
    /// If the shapes do not fit each other or the geometry.
    pub fn conv2d(
        &self,
        x: &Variable,
        weight: &Variable,
        bias: &Variable,
        stride: [usize; 2],
        padding: Padding,
    ) -> Result<Variable> {
        let (&[batch, height, width, channels], &[rows, columns, weight_channels, outputs]) =
            (x.shape().dims(), weight.shape().dims())
        else {
            return Err(mismatch("conv2d", ("x", x), ("weight", weight)));
        };
        if channels != weight_channels {
            return Err(mismatch("conv2d", ("x", x), ("weight", weight)));
        }
        expect_shape("conv2d", ("bias", bias), &[outputs], ("weight", weight))?;
        let geometry = ConvGeometry::from_input(
            batch,
            [height, width],
            [channels, outputs],
            [rows, columns],
            stride,
            padding,
        )?;
        let bias_shape = bias.shape().clone();
        self.convolution(
            ConvProduct::Fprop,
            geometry,
            [x, weight, bias],
            |x, weight| Conv2dBackward {
                geometry,
                x,
                weight,
                bias_shape,
            },
        )
    }
}

struct Conv2dBackward {
    geometry: ConvGeometry,
    x: Saved,
    weight: Tensor,
    bias_shape: Shape,
}

impl Backward for Conv2dBackward {
    fn backward(
        &self,
        backend: &dyn Backend,
        dy: &Tensor,
        wanted: &[Wanted],
    ) -> Result<Vec<Option<Tensor>>> {
        let offered = backend.conv_fusion(ConvProduct::Dgrad, &self.geometry);
        let form = wanted[0].packed_if(offered.packed_result);
        Ok(vec![
            when_packed(form, backend, self.x.shape(), |dx| {
                backend.conv_dgrad(&self.geometry, dy, &self.weight, None, Epilogue::None, dx)
            })?,
            when(wanted[1], backend, self.weight.shape(), |dweight| {
                backend.conv_wgrad(&self.geometry, &self.x.get(backend)?, dy, dweight)
            })?,
            when(wanted[2], backend, &self.bias_shape, |dbias| {
                backend.bias_gradient(dy, dbias)
            })?,
        ])
    }

    /// A bias gradient sums f32 values, unless the device stores packed ones.
    fn takes_packed(&self, backend: &dyn Backend, wanted: &[bool]) -> bool {
        let fusion = backend.conv_fusion(ConvProduct::Fprop, &self.geometry);
        fusion.takes_packed(self.geometry.output_channels) && (!wanted[2] || backend.keeps_packed())
    }

    fn narrowed(&self, part: Part) -> Result<Narrowed> {
        let geometry = ConvGeometry {
            batch: part.extent(self.geometry.batch)?,
            ..self.geometry
        };
        let record = Self {
            geometry,
            x: self.x.part(part)?,
            weight: self.weight.clone(),
            bias_shape: self.bias_shape.clone(),
        };
        Ok(Narrowed::along(part, record))
    }
}
