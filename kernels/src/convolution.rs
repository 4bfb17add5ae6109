//! Launches of `convolution.cu`: the three convolution GEMMs, one thread per output element.

use crate::kernel::{Kernel, Launch, Work, f32_bytes, kernel};

const THREADS: u32 = 256;

/// `struct ConvShape` of `index.cuh`.
///
/// One of the three convolution GEMMs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConvProduct {
    /// y from x and w.
    Fprop,
    /// x from y and w.
    Dgrad,
    /// w from x and y.
    Wgrad,
}

impl ConvProduct {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Fprop, Self::Dgrad, Self::Wgrad];

    /// Name in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fprop => "fprop",
            Self::Dgrad => "dgrad",
            Self::Wgrad => "wgrad",
        }
    }
}

/// x is `[batch, height, width, channels]`, y `[batch, rows, columns, outputs]`, w `[R, S, channels, outputs]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Rows and columns of x.
    pub input: [usize; 2],
    /// Channels of x.
    pub channels: usize,
    /// Rows and columns of y.
    pub output: [usize; 2],
    /// Channels of y.
    pub outputs: usize,
    /// Rows and columns of the window.
    pub kernel: [usize; 2],
    /// Distance between neighbouring windows.
    pub stride: [usize; 2],
    /// Zeros above and to the left of x.
    pub begin: [usize; 2],
}

impl ConvShape {
    /// The fields in the order of the CUDA struct.
    ///
    /// Callers ensure that extents fit 31 bits.
    pub fn words(&self) -> [i32; 13] {
        [
            self.batch,
            self.input[0],
            self.input[1],
            self.channels,
            self.output[0],
            self.output[1],
            self.outputs,
            self.kernel[0],
            self.kernel[1],
            self.stride[0],
            self.stride[1],
            self.begin[0],
            self.begin[1],
        ]
        .map(|extent| i32::try_from(extent).unwrap_or(i32::MAX))
    }

    /// R·S.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Elements of x.
    pub fn input_len(&self) -> usize {
        self.batch * self.input[0] * self.input[1] * self.channels
    }

    /// Elements of y.
    pub fn output_len(&self) -> usize {
        self.batch * self.output[0] * self.output[1] * self.outputs
    }

    /// Elements of w.
    pub fn weight_len(&self) -> usize {
        self.taps() * self.channels * self.outputs
    }

    /// 2·N·P·Q·R·S·C·K operations; x, w and y pass through memory once each.
    pub fn work(&self) -> Work {
        Work {
            operations: 2.0 * self.output_len() as f64 * (self.taps() * self.channels) as f64,
            bytes: f32_bytes(self.input_len() + self.output_len() + self.weight_len()),
        }
    }

    /// Compile-time constants for the window of the model.
    ///
    /// Other windows stay arguments, so that one compilation serves all of them.
    pub(crate) fn window_constants(&self) -> Vec<(&'static str, u32)> {
        if self.kernel != [5, 5] || self.stride != [2, 2] {
            return Vec::new();
        }
        vec![
            ("WINDOW_ROWS", 5),
            ("WINDOW_COLUMNS", 5),
            ("STRIDE_ROWS", 2),
            ("STRIDE_COLUMNS", 2),
        ]
    }
}

kernel!(
    /// y from x and w.
    FPROP,
    "convolution.cu",
    Plain,
    "conv_fprop",
    "convolution: y from x and w",
    "plain: one thread per output; weights coalesce, the other operand is broadcast"
);
kernel!(
    /// x from y and w.
    DGRAD,
    "convolution.cu",
    Plain,
    "conv_dgrad",
    "transposed convolution: x from y and w, only the taps that reach a pixel",
    "plain: one thread per output; weights coalesce, the other operand is broadcast"
);
kernel!(
    /// w from x and y.
    WGRAD,
    "convolution.cu",
    Plain,
    "conv_wgrad",
    "weight gradient: w from x and y, as split-K partial sums over the image rows",
    "plain: one thread per output; weights coalesce, the other operand is broadcast"
);

/// y = conv(x, w) + bias.
pub fn fprop(shape: &ConvShape) -> Launch {
    per_element(&FPROP, shape, shape.output_len(), 1)
}

/// x = convᵀ(y, w) + bias.
pub fn dgrad(shape: &ConvShape) -> Launch {
    per_element(&DGRAD, shape, shape.input_len(), 1)
}

/// Split-K of a weight gradient over the batch's image rows; each slice writes a partial sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Image rows of y per slice; the last one may have fewer.
    pub rows_per_slice: usize,
    /// Number of slices.
    pub slices: usize,
}

impl Split {
    /// About `wanted` slices.
    ///
    /// The split depends only on the shape, so that every device adds in the same order.
    pub(crate) fn of(shape: &ConvShape, wanted: usize) -> Self {
        let rows = shape.batch * shape.output[0];
        let rows_per_slice = rows.div_ceil(wanted.clamp(1, rows));
        Self {
            rows_per_slice,
            slices: rows.div_ceil(rows_per_slice),
        }
    }
}

/// Number of threads that keeps a large device busy.
const WANTED_THREADS: usize = 1 << 19;

/// Partial sums of w: `[slices, R·S·C·K]`.
pub fn wgrad(shape: &ConvShape) -> (Launch, Split) {
    let split = Split::of(shape, WANTED_THREADS / shape.weight_len());
    let launch = per_element(&WGRAD, shape, shape.weight_len(), split.slices);
    (launch, split)
}

fn per_element(
    kernel: &'static Kernel,
    shape: &ConvShape,
    elements: usize,
    slices: usize,
) -> Launch {
    Launch::specialised(
        kernel,
        shape.window_constants(),
        [elements.div_ceil(THREADS as usize), slices, 1],
        [THREADS, 1, 1],
        shape.work(),
    )
}
