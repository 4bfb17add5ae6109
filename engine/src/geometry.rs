//! Geometry of a strided convolution, shared by its three GEMMs.

use std::fmt;

pub use cosmogan_kernels::ConvProduct;

use crate::error::{Error, Result};

/// Zeros added before and after each spatial axis, rows then columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Padding {
    /// Rows above, columns to the left.
    pub begin: [usize; 2],
    /// Rows below, columns to the right.
    pub end: [usize; 2],
}

/// A two-dimensional strided cross-correlation y = conv(x, w).
///
/// With x `[N, H, W, C]`, w `[R, S, C, K]` and y `[N, P, Q, K]`:
///
/// `y[n, p, q, k] = Σ x[n, p·stride − begin + r, q·stride − begin + s, c]·w[r, s, c, k]`
///
/// Three GEMMs share one geometry: *fprop* computes y from x and w, *dgrad* computes x from y and w
/// (the adjoint of fprop), *wgrad* computes w from x and y. The forward pass of a convolution is fprop. The forward
/// pass of a transposed convolution is dgrad, so its input is y here and its output x.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvGeometry {
    /// N: images.
    pub batch: usize,
    /// H, W: rows and columns of x.
    pub input: [usize; 2],
    /// C: channels of x.
    pub input_channels: usize,
    /// P, Q: rows and columns of y.
    pub output: [usize; 2],
    /// K: channels of y.
    pub output_channels: usize,
    /// R, S: rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Distance between neighbouring windows, rows then columns.
    pub stride: [usize; 2],
    /// Zeros around x.
    pub padding: Padding,
}

/// Algorithm of a convolution GEMM. Results differ only by rounding, but with different error bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConvMethod {
    /// Every element is one sum of products of the operands' elements, in any order.
    Direct,
    /// Winograd (minimal) filtering F(4×4, 3×3) with the points 0, ±√½, ±√2 and ∞, all sub-pixel phases together.
    ///
    /// Tiles are 4×4 positions of y from position 0 on, with windows of 6×6 around them. It requires a 5×5 kernel,
    /// stride 2 and one zero above and to the left. The error of an element depends on all values under the window,
    /// not only on the terms of the element.
    Winograd,
}

impl ConvGeometry {
    /// Channels of x and of y.
    pub(crate) fn channels(&self) -> [usize; 2] {
        [self.input_channels, self.output_channels]
    }

    /// Creates the geometry from its x side.
    ///
    /// y has ⌊(H + begin + end − R) / stride⌋ + 1 rows.
    ///
    /// # Errors
    /// If an extent, kernel or stride is zero, the kernel is larger than the padded image, or padding is as large as
    /// the kernel.
    pub fn from_input(
        batch: usize,
        input: [usize; 2],
        channels: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: Padding,
    ) -> Result<Self> {
        let mut output = [0; 2];
        for axis in 0..2 {
            let padded = input[axis] + padding.begin[axis] + padding.end[axis];
            if kernel[axis] == 0 || stride[axis] == 0 || padded < kernel[axis] {
                return Err(invalid(format!(
                    "a kernel of {kernel:?} with stride {stride:?} does not fit an image of {input:?} padded by {padding}"
                )));
            }
            output[axis] = (padded - kernel[axis]) / stride[axis] + 1;
        }
        Self {
            batch,
            input,
            input_channels: channels[0],
            output,
            output_channels: channels[1],
            kernel,
            stride,
            padding,
        }
        .validated()
    }

    /// Creates the geometry from its y side, for a transposed convolution.
    ///
    /// x has (P − 1)·stride + R − begin − end rows. `channels` are those of x and of y.
    ///
    /// # Errors
    /// As [`ConvGeometry::from_input`], and if the padding crops the whole result.
    pub fn from_output(
        batch: usize,
        output: [usize; 2],
        channels: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: Padding,
    ) -> Result<Self> {
        let mut input = [0; 2];
        for axis in 0..2 {
            let full = (output[axis].max(1) - 1) * stride[axis] + kernel[axis];
            let cropped = padding.begin[axis] + padding.end[axis];
            if kernel[axis] == 0 || stride[axis] == 0 || full <= cropped {
                return Err(invalid(format!(
                    "a transposed kernel of {kernel:?} with stride {stride:?} has no output for an image of {output:?} cropped by {padding}"
                )));
            }
            input[axis] = full - cropped;
        }
        Self {
            batch,
            input,
            input_channels: channels[0],
            output,
            output_channels: channels[1],
            kernel,
            stride,
            padding,
        }
        .validated()
    }

    /// Extents of x: `[N, H, W, C]`.
    pub fn input_dims(&self) -> [usize; 4] {
        let [height, width] = self.input;
        [self.batch, height, width, self.input_channels]
    }

    /// Extents of y: `[N, P, Q, K]`.
    pub fn output_dims(&self) -> [usize; 4] {
        let [height, width] = self.output;
        [self.batch, height, width, self.output_channels]
    }

    /// Extents of w: `[R, S, C, K]`.
    pub fn weight_dims(&self) -> [usize; 4] {
        let [height, width] = self.kernel;
        [height, width, self.input_channels, self.output_channels]
    }

    /// Multiplications and additions of one GEMM: 2·N·P·Q·R·S·C·K.
    pub fn operations(&self) -> f64 {
        let [height, width] = self.kernel;
        let outputs: usize = self.output_dims().iter().product();
        2.0 * outputs as f64 * (height * width * self.input_channels) as f64
    }

    fn validated(self) -> Result<Self> {
        let extents = [self.batch, self.input_channels, self.output_channels];
        if extents.contains(&0) || self.input.contains(&0) || self.output.contains(&0) {
            return Err(invalid(format!(
                "no extent may be zero: x is {:?}, y is {:?}",
                self.input_dims(),
                self.output_dims()
            )));
        }
        for axis in 0..2 {
            let widest = self.padding.begin[axis].max(self.padding.end[axis]);
            if widest >= self.kernel[axis] {
                return Err(invalid(format!(
                    "padding {} must be smaller than the kernel {:?}",
                    self.padding, self.kernel
                )));
            }
        }
        Ok(self)
    }
}

impl fmt::Display for Padding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:?} before and {:?} after",
            self.begin, self.end
        )
    }
}

fn invalid(problem: String) -> Error {
    Error::InvalidOperand {
        operator: "convolution",
        problem,
    }
}
