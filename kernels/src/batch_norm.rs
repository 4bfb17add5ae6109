//! Launches of `batch_norm.cu`: statistics, normalisation and gradients over the rows of `[parts, rows, channels]`.
//!
//! Each part is normalised separately.
//!
//! Statistics are combined from slices, which are written by a kernel of this file or by the epilogue of the GEMM that
//! computes the tensor.

use crate::convolution::ConvShape;
use crate::kernel::{Kernel, Launch, Work, f32_bytes, kernel};
use crate::precision::Precision;

/// Rows per block in the first step of a reduction.
pub const SLICE: usize = 512;
const LANES: [u32; 3] = [32, 8, 1];
const COMBINE_LANES: [u32; 3] = [32, 32, 1];
/// Slices per block when they are combined in groups, and the number of slices above which they are.
const GROUP: usize = 128;
const TOO_MANY: usize = 1024;
/// Pixels per slice of epilogue statistics.
pub const SLICE_PIXELS: usize = 32;
/// Operations per element of normalisation and rectifier.
const NORMALISING: usize = 5;

kernel!(
    /// First step of the statistics.
    SLICES,
    "batch_norm.cu",
    Plain,
    "batch_norm_slices",
    "mean, its rounding remainder and sum of squared deviations, per channel and slice of 512 rows",
    "plain: two passes over a slice that the cache holds, so that no digits cancel"
);
kernel!(
    /// Second step of the statistics.
    COMBINE,
    "batch_norm.cu",
    Plain,
    "batch_norm_combine",
    "mean and biased variance per channel, combined from slices",
    "combines in double precision; also takes slices from a GEMM epilogue, which saves a pass over the activations"
);
kernel!(
    /// y from x and the statistics.
    NORMALISE,
    "batch_norm.cu",
    Plain,
    "batch_norm_normalise",
    "y = rectified (x − mean)·scale/√(variance + ε) + shift",
    "normalises, rectifies and rounds to the operand format of the next GEMM in one pass; a thread stays with its channel"
);
kernel!(
    /// First step of the gradients.
    GRADIENT_SLICES,
    "batch_norm.cu",
    Plain,
    "batch_norm_gradient_slices",
    "Σ g and Σ g·x̂ per channel and slice of 512 rows, where g is the gradient behind the rectifier",
    "both sums in one pass; neither y nor g is read from memory"
);
kernel!(
    /// dx from both sums, and the sums over all parts.
    GRADIENT,
    "batch_norm.cu",
    Plain,
    "batch_norm_gradient",
    "dx = scale/√(variance + ε)·(g − Σg/M − x̂·Σg·x̂/M), and dshift and dscale, summed over all parts of a batch",
    "a thread stays with its channel, prepares the factors once and needs no division per element; written in the operand format of the next GEMMs"
);

/// Slices of a reduction over `rows` rows.
pub fn slices(rows: usize) -> usize {
    rows.div_ceil(SLICE)
}

/// Statistics of x as `struct Slices`.
pub fn statistics_slices(extents: [usize; 3]) -> Launch {
    let [_, rows, channels] = extents;
    let elements = rows * channels + slices_len(slices(rows), channels);
    over_slices(&SLICES, extents, elements, 5)
}

/// Number of f32 values in `struct Slices` for `slices` slices.
pub fn slices_len(slices: usize, channels: usize) -> usize {
    slices * (3 * channels + 1)
}

/// A launch that combines slices into groups.
#[derive(Clone, Debug)]
pub struct Combination {
    /// The launch.
    pub launch: Launch,
    /// Slices per group.
    pub group: usize,
    /// Groups, each of which is a slice of the next launch; 1 ends the combination.
    pub groups: usize,
}

/// Combines `slices` slices of each part, in groups if there are very many.
///
/// The grouping depends only on their number.
pub fn combine([parts, slices, channels]: [usize; 3]) -> Combination {
    let group = if slices > TOO_MANY { GROUP } else { slices };
    let groups = slices.div_ceil(group);
    let elements = slices_len(slices, channels) + slices_len(groups, channels);
    let launch = Launch::specialised(
        &COMBINE,
        vec![Precision::F32.constant()],
        [channels.div_ceil(32), groups, parts],
        COMBINE_LANES,
        Work {
            operations: (11 * parts * slices * channels) as f64,
            bytes: f32_bytes(parts * elements),
        },
    );
    Combination {
        launch,
        group,
        groups,
    }
}

/// Slices that the epilogue of a tiled GEMM writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpilogueSlices {
    /// Slices of one phase.
    pub phase: usize,
    /// Phases: 1 for fprop, one per offset within a stride for dgrad.
    pub phases: usize,
    /// Smallest number of images whose slices are contiguous and contain no other image.
    ///
    /// This also holds for its multiples. `None` if phases lie between.
    pub unit: Option<usize>,
}

impl EpilogueSlices {
    /// Slices of y.
    pub fn fprop(s: &ConvShape) -> Self {
        Self::of(s.batch, s.output[0] * s.output[1], 1)
    }

    /// Slices of x.
    ///
    /// Phases differ by at most a row and a column of pixels; all have as many slices as the largest.
    pub fn dgrad(s: &ConvShape) -> Self {
        let [rows, columns] = [0, 1].map(|axis| s.input[axis].div_ceil(s.stride[axis]));
        Self::of(s.batch, rows * columns, s.stride[0] * s.stride[1])
    }

    fn of(images: usize, pixels: usize, phases: usize) -> Self {
        // The fewest images that fill whole slices; the size of a slice is a power of two.
        let whole = 1 << pixels.trailing_zeros().min(SLICE_PIXELS.trailing_zeros());
        Self {
            phase: (images * pixels).div_ceil(SLICE_PIXELS),
            phases,
            unit: (phases == 1).then_some(SLICE_PIXELS / whole),
        }
    }

    /// Number of slices over all phases.
    pub fn count(self) -> usize {
        self.phase * self.phases
    }
}

/// Adds the work of epilogue statistics.
#[must_use]
pub fn with_slices(mut launch: Launch, elements: usize, slices: usize, channels: usize) -> Launch {
    launch.work.operations += 5.0 * elements as f64;
    launch.work.bytes += f32_bytes(slices_len(slices, channels));
    launch
}

/// Adds the work of normalisation and rectifier in the epilogue.
#[must_use]
pub fn with_normalisation(mut launch: Launch, elements: usize, channels: usize) -> Launch {
    launch.work.operations += (NORMALISING * elements) as f64;
    launch.work.bytes += f32_bytes(4 * channels);
    launch
}

/// y from x `[parts, rows, channels]` and the statistics, with the formats `[x, y]`.
pub fn normalise([from, to]: [Precision; 2], extents: [usize; 3]) -> Launch {
    // Every part has its own mean and variance; scale and shift are common.
    let vectors = 2 * extents[0] + 2;
    // Compiled with the constants of its gradient, whose x and dy have the same format.
    let formats = [from, from, to];
    let images = [from, to];
    per_element(
        &NORMALISE,
        formats,
        &images,
        extents,
        [vectors, NORMALISING],
    )
}

/// Both gradient sums per slice and part, `[slices(rows), parts, 2, channels]`, with the formats `[x, dy]`.
pub fn gradient_slices([x, dy]: [Precision; 2], extents: [usize; 3]) -> Launch {
    let [parts, rows, channels] = extents;
    let sums = (2 * slices(rows) + 4) * channels;
    let mut launch = over_slices(&GRADIENT_SLICES, extents, sums, 9);
    launch.module.constants = constants([x, dy, x]);
    launch.work.bytes += images_bytes(&[x, dy], parts * rows, channels);
    launch
}

/// dx, and dscale and dshift summed over the parts, from the gradient sums, with the formats `[x, dy, dx]`.
pub fn gradient(formats: [Precision; 3], extents: [usize; 3]) -> Launch {
    let vectors = 4 * extents[0] + 4;
    per_element(&GRADIENT, formats, &formats, extents, [vectors, 10])
}

/// A launch over `[parts, rows, channels]` that reads all of `images` except the last, which it writes, and `vectors`
/// values per channel.
fn per_element(
    kernel: &'static Kernel,
    formats: [Precision; 3],
    images: &[Precision],
    [parts, rows, channels]: [usize; 3],
    [vectors, operations]: [usize; 2],
) -> Launch {
    let padded = formats[2].row(channels);
    Launch::specialised(
        kernel,
        constants(formats),
        [slices(rows), padded.div_ceil(32), parts],
        LANES,
        Work {
            operations: (operations * parts * rows * channels) as f64,
            bytes: f32_bytes(vectors * channels) + images_bytes(images, parts * rows, channels),
        },
    )
}

/// Compile-time constants for the formats of x, of dy and of the result.
fn constants([x, dy, to]: [Precision; 3]) -> Vec<(&'static str, u32)> {
    vec![to.constant(), ("X_BITS", x.bits()), ("DY_BITS", dy.bits())]
}

fn images_bytes(images: &[Precision], rows: usize, channels: usize) -> f64 {
    let bytes = images.iter().map(|image| image.image_bytes(rows, channels));
    bytes.sum::<usize>() as f64
}

/// A launch with one block per slice of a part's rows and 32 channels, which moves `elements` values per part.
fn over_slices(
    kernel: &'static Kernel,
    [parts, rows, channels]: [usize; 3],
    elements: usize,
    operations: usize,
) -> Launch {
    Launch::specialised(
        kernel,
        vec![Precision::F32.constant()],
        [slices(rows), channels.div_ceil(32), parts],
        LANES,
        Work {
            operations: (operations * parts * rows * channels) as f64,
            bytes: f32_bytes(parts * elements),
        },
    )
}
