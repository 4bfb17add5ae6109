//! Launches of `batch_norm.cu`: statistics, normalisation and gradients over the rows of `[parts, rows, channels]`, where every
//! part is normalised by itself.
//!
//! Statistics come from slices, which a kernel here takes of an image, or the epilogue of the product that makes it.

use crate::convolution::ConvShape;
use crate::kernel::{Kernel, Launch, Work, f32_bytes, kernel};
use crate::pack::Operand;

/// Rows that one block of a reduction's first step handles.
pub const SLICE: usize = 512;
const LANES: [u32; 3] = [32, 8, 1];
const COMBINE_LANES: [u32; 3] = [32, 32, 1];
/// Slices that one block joins where there are too many for a single one, and how many are.
const GROUP: usize = 128;
const TOO_MANY: usize = 1024;
/// Pixels of which an epilogue leaves one slice.
pub const SLICE_PIXELS: usize = 32;
/// Operations that normalise and rectify an element.
const NORMALISING: usize = 5;

kernel!(
    /// First step of the statistics.
    SLICES,
    "batch_norm.cu",
    Plain,
    "batch_norm_slices",
    "mean and sum of squared deviations of 512 rows each, per channel, and what rounding left of the mean",
    "plain: two passes over a slice that the cache holds, so that nothing cancels"
);
kernel!(
    /// Second step of the statistics.
    COMBINE,
    "batch_norm.cu",
    Plain,
    "batch_norm_combine",
    "mean and biased variance per channel, from those of slices",
    "joins slices in double precision, those of an epilogue of a product, which no pass over the image has to leave, as well"
);
kernel!(
    /// y from x.
    NORMALISE,
    "batch_norm.cu",
    Plain,
    "batch_norm_normalise",
    "y = rectified (x − mean)·scale/√(variance + ε) + shift",
    "normalises, rectifies and rounds to what the next product multiplies in one pass over the image; a thread stays with its channel"
);
kernel!(
    /// First step of the gradients.
    GRADIENT_SLICES,
    "batch_norm.cu",
    Plain,
    "batch_norm_gradient_slices",
    "Σ g and Σ g·x̂ of 512 rows each, per channel, g being the gradient behind the rectifier",
    "both sums in one pass, and neither y nor an image of g in memory"
);
kernel!(
    /// dx from both sums, and these over all parts.
    GRADIENT,
    "batch_norm.cu",
    Plain,
    "batch_norm_gradient",
    "dx = scale/√(variance + ε)·(g − Σg/M − x̂·Σg·x̂/M), and dshift and dscale, both sums of all parts of a batch",
    "a thread stays with its channel: factors are prepared once, and no element costs a division; written as the next products multiply it"
);

/// Slices of a reduction over `rows` rows.
pub fn slices(rows: usize) -> usize {
    rows.div_ceil(SLICE)
}

/// `struct Slices` of x.
pub fn statistics_slices(extents: [usize; 3]) -> Launch {
    let [_, rows, channels] = extents;
    let elements = rows * channels + slices_len(slices(rows), channels);
    over_slices(&SLICES, extents, elements, 5)
}

/// Values of `struct Slices` of so many slices.
pub fn slices_len(slices: usize, channels: usize) -> usize {
    slices * (3 * channels + 1)
}

/// A joining of slices: how many make a group, and how many groups there are.
#[derive(Clone, Debug)]
pub struct Combination {
    /// The launch.
    pub launch: Launch,
    /// Slices of a group.
    pub group: usize,
    /// Groups, each a slice of the next joining; a single one is the end of it.
    pub groups: usize,
}

/// Joins `slices` slices of each part, at once or, where there are very many, in groups. It depends on their number alone.
pub fn combine([parts, slices, channels]: [usize; 3]) -> Combination {
    let group = if slices > TOO_MANY { GROUP } else { slices };
    let groups = slices.div_ceil(group);
    let elements = slices_len(slices, channels) + slices_len(groups, channels);
    let launch = Launch::specialised(
        &COMBINE,
        vec![Operand::F32.constant()],
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

/// Slices that the epilogue of a tiled product leaves: those of each phase, and phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpilogueSlices {
    /// Slices of a phase.
    pub phase: usize,
    /// Phases: one for fprop, one for each step within a stride for dgrad.
    pub phases: usize,
    /// Images whose slices follow one another and are of no others, as those of any multiple of them then are; `None` where
    /// phases lie between.
    pub unit: Option<usize>,
}

impl EpilogueSlices {
    /// Of y.
    pub fn fprop(s: &ConvShape) -> Self {
        Self::of(s.batch, s.output[0] * s.output[1], 1)
    }

    /// Of x. Phases differ in their pixels by a row and a column of images; all have as many slices as the largest.
    pub fn dgrad(s: &ConvShape) -> Self {
        let [rows, columns] = [0, 1].map(|axis| s.input[axis].div_ceil(s.stride[axis]));
        Self::of(s.batch, rows * columns, s.stride[0] * s.stride[1])
    }

    fn of(images: usize, pixels: usize, phases: usize) -> Self {
        // The fewest images of whole slices: the size of a slice is a power of two.
        let whole = 1 << pixels.trailing_zeros().min(SLICE_PIXELS.trailing_zeros());
        Self {
            phase: (images * pixels).div_ceil(SLICE_PIXELS),
            phases,
            unit: (phases == 1).then_some(SLICE_PIXELS / whole),
        }
    }

    /// All of them.
    pub fn count(self) -> usize {
        self.phase * self.phases
    }
}

/// What slices of a result cost in its epilogue, where the result is in registers.
#[must_use]
pub fn with_slices(mut launch: Launch, elements: usize, slices: usize, channels: usize) -> Launch {
    launch.work.operations += 5.0 * elements as f64;
    launch.work.bytes += f32_bytes(slices_len(slices, channels));
    launch
}

/// What it costs to normalise and rectify a result in its epilogue.
#[must_use]
pub fn with_normalisation(mut launch: Launch, elements: usize, channels: usize) -> Launch {
    launch.work.operations += (NORMALISING * elements) as f64;
    launch.work.bytes += f32_bytes(4 * channels);
    launch
}

/// y from x `[parts, rows, channels]` and the statistics; x lies as `from` says, y is written as `to`.
pub fn normalise([from, to]: [Operand; 2], extents: [usize; 3]) -> Launch {
    // Every part has a mean and a variance; scale and shift are those of all.
    let vectors = 2 * extents[0] + 2;
    // Compiled as for the gradient that belongs to it: they are kept the same way.
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

/// Both sums of the gradients over x's slices, those of every part: `[slices(rows), parts, 2, channels]`. x and dy lie as said.
pub fn gradient_slices([x, dy]: [Operand; 2], extents: [usize; 3]) -> Launch {
    let [parts, rows, channels] = extents;
    let sums = (2 * slices(rows) + 4) * channels;
    let mut launch = over_slices(&GRADIENT_SLICES, extents, sums, 9);
    launch.module.constants = constants([x, dy, x]);
    launch.work.bytes += images_bytes(&[x, dy], parts * rows, channels);
    launch
}

/// dx from both sums, and dscale and dshift, which add them up over the parts; x and dy lie as the first two say, dx is written
/// as the last.
pub fn gradient(formats: [Operand; 3], extents: [usize; 3]) -> Launch {
    let vectors = 4 * extents[0] + 4;
    per_element(&GRADIENT, formats, &formats, extents, [vectors, 10])
}

/// A launch over `[parts, rows, channels]` that reads `images` but for the last, which it writes, and `vectors` values of each
/// channel.
fn per_element(
    kernel: &'static Kernel,
    formats: [Operand; 3],
    images: &[Operand],
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

/// How x and dy lie, and what is written.
fn constants([x, dy, to]: [Operand; 3]) -> Vec<(&'static str, u32)> {
    vec![to.constant(), ("X_BITS", x.bits()), ("DY_BITS", dy.bits())]
}

fn images_bytes(images: &[Operand], rows: usize, channels: usize) -> f64 {
    let bytes = images.iter().map(|image| image.image_bytes(rows, channels));
    bytes.sum::<usize>() as f64
}

/// A launch whose blocks are slices of the rows of a part by 32 channels, and which moves `elements` values for each part.
fn over_slices(
    kernel: &'static Kernel,
    [parts, rows, channels]: [usize; 3],
    elements: usize,
    operations: usize,
) -> Launch {
    Launch::specialised(
        kernel,
        vec![Operand::F32.constant()],
        [slices(rows), channels.div_ceil(32), parts],
        LANES,
        Work {
            operations: (operations * parts * rows * channels) as f64,
            bytes: f32_bytes(parts * elements),
        },
    )
}
