//! The strided transposed convolution: the exact adjoint of the convolution with the same weight and geometry.

use super::{expect_shape, mismatch, when, when_packed};
use crate::backend::{Backend, Epilogue};
use crate::error::Result;
use crate::geometry::{ConvGeometry, ConvProduct, Padding};
use crate::shape::Shape;
use crate::tape::{Backward, Saved, Tape, Variable, Wanted};
use crate::tensor::Tensor;

impl Tape {
    /// y = convᵀ(x, weight) + bias.
    ///
    /// x is `[N, P, Q, K]`, weight `[R, S, C, K]`, bias `[C]` and y `[N, H, W, C]` with H = (P − 1)·stride + R − begin
    /// − end: the padding is cropped from the full result.
    ///
    /// # Errors
    /// If the shapes do not fit each other or the geometry.
    pub fn conv_transpose2d(
        &self,
        x: &Variable,
        weight: &Variable,
        bias: &Variable,
        stride: [usize; 2],
        padding: Padding,
    ) -> Result<Variable> {
        const NAME: &str = "conv_transpose2d";
        let (&[batch, height, width, channels], &[rows, columns, outputs, weight_channels]) =
            (x.shape().dims(), weight.shape().dims())
        else {
            return Err(mismatch(NAME, ("x", x), ("weight", weight)));
        };
        if channels != weight_channels {
            return Err(mismatch(NAME, ("x", x), ("weight", weight)));
        }
        expect_shape(NAME, ("bias", bias), &[outputs], ("weight", weight))?;
        let geometry = ConvGeometry::from_output(
            batch,
            [height, width],
            [outputs, channels],
            [rows, columns],
            stride,
            padding,
        )?;
        let bias_shape = bias.shape().clone();
        self.convolution(
            ConvProduct::Dgrad,
            geometry,
            [x, weight, bias],
            |x, weight| ConvTranspose2dBackward {
                geometry,
                x,
                weight,
                bias_shape,
            },
        )
    }
}

struct ConvTranspose2dBackward {
    geometry: ConvGeometry,
    x: Saved,
    weight: Tensor,
    bias_shape: Shape,
}

impl Backward for ConvTranspose2dBackward {
    fn backward(
        &self,
        backend: &dyn Backend,
        dy: &Tensor,
        wanted: &[Wanted],
    ) -> Result<Vec<Option<Tensor>>> {
        let offered = backend.conv_fusion(ConvProduct::Fprop, &self.geometry);
        let form = wanted[0].packed_if(offered.packed_result);
        Ok(vec![
            when_packed(form, backend, self.x.shape(), |dx| {
                backend.conv_fprop(&self.geometry, dy, &self.weight, None, Epilogue::None, dx)
            })?,
            when(wanted[1], backend, self.weight.shape(), |dweight| {
                backend.conv_wgrad(&self.geometry, dy, &self.x.get(backend)?, dweight)
            })?,
            when(wanted[2], backend, &self.bias_shape, |dbias| {
                backend.bias_gradient(dy, dbias)
            })?,
        ])
    }

    /// A bias gradient sums f32 values, unless the device stores packed ones.
    fn takes_packed(&self, backend: &dyn Backend, wanted: &[bool]) -> bool {
        let fusion = backend.conv_fusion(ConvProduct::Dgrad, &self.geometry);
        fusion.takes_packed(self.geometry.input_channels) && (!wanted[2] || backend.keeps_packed())
    }
}
