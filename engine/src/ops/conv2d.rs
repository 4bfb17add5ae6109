//! The strided convolution (a cross-correlation: the kernel is not flipped).

use super::convolution::Direction;
use super::{expect_shape, mismatch};
use crate::error::Result;
use crate::geometry::{ConvGeometry, Padding};
use crate::tape::{Tape, Variable};

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
        self.convolution(Direction::Forward, geometry, [x, weight, bias])
    }
}
