//! The strided transposed convolution: the exact adjoint of the convolution with the same weight and geometry.

use super::convolution::Direction;
use super::{expect_shape, mismatch};
use crate::error::Result;
use crate::geometry::{ConvGeometry, Padding};
use crate::tape::{Tape, Variable};

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
        self.convolution(Direction::Transposed, geometry, [x, weight, bias])
    }
}
