//! Batch normalisation: a pass for the statistics, one to normalise, two for the gradient.

use rayon::prelude::*;

use super::{expect_length, read, reduce};
use crate::backend::Normalisation;
use crate::error::Result;
use crate::simd::{InstructionSet, Kernel, Simd};

/// Mean and biased variance per channel, for each of `parts` equal parts of x.
pub(super) fn statistics(
    set: InstructionSet,
    x: &[f32],
    parts: usize,
    mean: &mut [f32],
    variance: &mut [f32],
) -> Result<()> {
    expect_length("batch_norm", variance.len(), mean.len())?;
    let channels = (mean.len() / parts).max(1);
    let outputs = mean
        .chunks_exact_mut(channels)
        .zip(variance.chunks_exact_mut(channels));
    for (x, (mean, variance)) in x.chunks_exact((x.len() / parts).max(1)).zip(outputs) {
        part_statistics(set, x, mean, variance);
    }
    Ok(())
}

/// Mean and biased variance of one part.
///
/// Each block is read twice while it is in the cache: squares are taken of differences to the block's mean, so that no
/// digits cancel. Blocks are combined by the method of Chan, Golub & LeVeque (1983).
fn part_statistics(set: InstructionSet, x: &[f32], mean: &mut [f32], variance: &mut [f32]) {
    let channels = mean.len();
    let blocks: Vec<Block> = reduce::blocks(channels, x.len())
        .map(|range| {
            set.dispatch(BlockStatistics {
                x: &x[range],
                channels,
            })
        })
        .collect();
    let count = (x.len() / channels.max(1)) as f64;
    let mut means = reduce::total(channels, blocks.iter().map(|block| &block.sums[..]));
    means.iter_mut().for_each(|mean| *mean /= count);
    let mut squares = reduce::total(channels, blocks.iter().map(|block| &block.squares[..]));
    for block in &blocks {
        for ((square, &sum), &mean) in squares.iter_mut().zip(&block.sums).zip(&means) {
            let offset = sum / block.rows - mean;
            *square += block.rows * offset * offset;
        }
    }
    squares.iter_mut().for_each(|square| *square /= count);
    reduce::store(&means, mean);
    reduce::store(&squares, variance);
}

/// Sums over some rows, and sums of squared differences from the means of these rows.
struct Block {
    rows: f64,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

struct BlockStatistics<'a> {
    x: &'a [f32],
    channels: usize,
}

impl Kernel for BlockStatistics<'_> {
    type Output = Block;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Block {
        let Self { x, channels } = self;
        let rows = (x.len() / channels) as f64;
        let sums = reduce::Columns {
            values: x,
            channels,
        }
        .run(simd);
        let means: Vec<f64> = sums.iter().map(|sum| sum / rows).collect();
        let mut squares = vec![0.0; channels];
        for row in x.chunks_exact(channels) {
            for ((square, &value), &mean) in squares.iter_mut().zip(row).zip(&means) {
                let deviation = f64::from(value) - mean;
                *square += deviation * deviation;
            }
        }
        Block {
            rows,
            sums,
            squares,
        }
    }
}

/// Per-channel operands of one part's normalisation.
#[derive(Clone, Copy)]
struct Operands<'a> {
    mean: &'a [f32],
    variance: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    epsilon: f32,
    slope: f32,
}

impl<'a> Operands<'a> {
    /// Returns the operands of every part of a tensor with `values` values, and the number of values per part.
    fn of(by: &Normalisation<'a>, values: usize) -> Result<(Vec<Self>, usize)> {
        let (mean, variance) = (read(by.mean), read(by.variance));
        let (scale, shift) = (read(by.scale), read(by.shift));
        expect_length("batch_norm", shift.len(), scale.len())?;
        expect_length("batch_norm", variance.len(), mean.len())?;
        let channels = scale.len().max(1);
        let parts = mean.len() / channels;
        expect_length("batch_norm", mean.len(), parts * scale.len())?;
        let size = values / parts.max(1);
        expect_length("batch_norm", values, size / channels * channels * parts)?;
        let statistics = mean
            .chunks_exact(channels)
            .zip(variance.chunks_exact(channels));
        let operands = statistics.map(|(mean, variance)| Self {
            mean,
            variance,
            scale,
            shift,
            epsilon: by.epsilon,
            slope: by.slope,
        });
        Ok((operands.collect(), size.max(1)))
    }

    /// 1/√(variance + ε).
    fn inverse_deviations(&self) -> Vec<f64> {
        self.variance
            .iter()
            .map(|&variance| 1.0 / (f64::from(variance) + f64::from(self.epsilon)).sqrt())
            .collect()
    }

    /// scale/√(variance + ε).
    fn factors(&self) -> Vec<f32> {
        self.scale
            .iter()
            .zip(self.inverse_deviations())
            .map(|(&scale, inverse)| (f64::from(scale) * inverse) as f32)
            .collect()
    }

    fn affine(self, factor: &'a [f32]) -> Affine<'a> {
        Affine {
            mean: self.mean,
            factor,
            shift: self.shift,
            slope: self.slope,
        }
    }
}

/// Factors of a normalisation, per channel: y = rectified((x − mean)·factor + shift).
#[derive(Clone, Copy)]
struct Affine<'a> {
    mean: &'a [f32],
    factor: &'a [f32],
    shift: &'a [f32],
    slope: f32,
}

impl Affine<'_> {
    /// Value before the rectifier.
    ///
    /// Gradients depend on its sign, so it must have the same bits everywhere.
    #[inline(always)]
    fn value(&self, channel: usize, x: f32) -> f32 {
        (x - self.mean[channel]) * self.factor[channel] + self.shift[channel]
    }

    /// `value` where `sign` is positive, slope·`value` elsewhere.
    #[inline(always)]
    fn rectified(&self, sign: f32, value: f32) -> f32 {
        let sloped = self.slope * value;
        if sign > 0.0 { value } else { sloped }
    }
}

/// y = rectified((x − mean)·scale/√(variance + ε) + shift).
pub(super) fn normalise(
    set: InstructionSet,
    x: &[f32],
    by: &Normalisation<'_>,
    y: &mut [f32],
) -> Result<()> {
    expect_length("batch_norm", x.len(), y.len())?;
    let (parts, size) = Operands::of(by, x.len())?;
    for (part, (x, y)) in parts
        .iter()
        .zip(x.chunks_exact(size).zip(y.chunks_exact_mut(size)))
    {
        let factor = part.factors();
        let affine = part.affine(&factor);
        let size = reduce::block(factor.len());
        y.par_chunks_mut(size)
            .zip(x.par_chunks(size))
            .for_each(|(y, x)| set.dispatch(Normalise { x, y, affine }));
    }
    Ok(())
}

struct Normalise<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    affine: Affine<'a>,
}

impl Kernel for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let channels = self.affine.factor.len();
        let rows = self.x.chunks_exact(channels);
        for (y, x) in self.y.chunks_exact_mut(channels).zip(rows) {
            for channel in 0..channels {
                let value = self.affine.value(channel, x[channel]);
                y[channel] = self.affine.rectified(value, value);
            }
        }
    }
}

/// dx, dscale and dshift in training mode, from x and dy.
pub(super) fn gradient(
    set: InstructionSet,
    [x, dy]: [&[f32]; 2],
    by: &Normalisation<'_>,
    dx: &mut [f32],
    (dscale, dshift): (&mut [f32], &mut [f32]),
) -> Result<()> {
    expect_length("batch_norm", x.len(), dx.len())?;
    expect_length("batch_norm", dy.len(), dx.len())?;
    let (parts, size) = Operands::of(by, x.len())?;
    let channels = read(by.scale).len();
    expect_length("batch_norm", dscale.len(), channels)?;
    expect_length("batch_norm", dshift.len(), channels)?;
    let images = x.chunks_exact(size).zip(dy.chunks_exact(size));
    let sums: Vec<[Vec<f64>; 2]> = parts
        .iter()
        .zip(images.zip(dx.chunks_exact_mut(size)))
        .map(|(part, ((x, dy), dx))| part_gradient(set, [x, dy], *part, dx))
        .collect();
    for (which, output) in [dscale, dshift].into_iter().enumerate() {
        let sums = sums.iter().map(|sums| &sums[which][..]);
        reduce::store(&reduce::total(channels, sums), output);
    }
    Ok(())
}

/// Writes dx of one part and returns its dscale and dshift.
fn part_gradient(
    set: InstructionSet,
    [x, dy]: [&[f32]; 2],
    by: Operands<'_>,
    dx: &mut [f32],
) -> [Vec<f64>; 2] {
    let factor = by.factors();
    let affine = by.affine(&factor);
    let channels = factor.len();
    let inverse = by.inverse_deviations();
    let blocks: Vec<[Vec<f64>; 2]> = reduce::blocks(channels, x.len())
        .map(|range| {
            set.dispatch(GradientSums {
                x: &x[range.clone()],
                dy: &dy[range],
                affine,
            })
        })
        .collect();
    let [mut products, sums] =
        [0, 1].map(|which| reduce::total(channels, blocks.iter().map(|block| &block[which][..])));
    let count = (x.len() / channels.max(1)) as f64;
    let mut through_mean = vec![0.0; channels];
    let mut through_variance = vec![0.0; channels];
    for channel in 0..channels {
        products[channel] *= inverse[channel];
        through_mean[channel] = (sums[channel] / count) as f32;
        through_variance[channel] = (products[channel] * inverse[channel] / count) as f32;
    }
    let size = reduce::block(channels);
    dx.par_chunks_mut(size)
        .zip(x.par_chunks(size).zip(dy.par_chunks(size)))
        .for_each(|(dx, (x, dy))| {
            set.dispatch(Gradient {
                x,
                dy,
                dx,
                affine,
                through_mean: &through_mean,
                through_variance: &through_variance,
            });
        });
    [products, sums]
}

/// Σ g·(x − mean) and Σ g over some rows.
struct GradientSums<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    affine: Affine<'a>,
}

impl Kernel for GradientSums<'_> {
    type Output = [Vec<f64>; 2];

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> [Vec<f64>; 2] {
        let affine = self.affine;
        let channels = affine.factor.len();
        let [mut products, mut plain] = [vec![0.0; channels], vec![0.0; channels]];
        let rows = self.x.chunks_exact(channels);
        for (x, dy) in rows.zip(self.dy.chunks_exact(channels)) {
            let sums = products[..channels].iter_mut().zip(&mut plain[..channels]);
            for (channel, (product, plain)) in sums.enumerate() {
                let sign = affine.value(channel, x[channel]);
                let gradient = affine.rectified(sign, dy[channel]);
                *product += f64::from(gradient * (x[channel] - affine.mean[channel]));
                *plain += f64::from(gradient);
            }
        }
        [products, plain]
    }
}

/// dx = factor·(g − through_mean − (x − mean)·through_variance) for some rows.
struct Gradient<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    affine: Affine<'a>,
    through_mean: &'a [f32],
    through_variance: &'a [f32],
}

impl Kernel for Gradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let affine = self.affine;
        let channels = affine.factor.len();
        let (through_mean, through_variance) = (
            &self.through_mean[..channels],
            &self.through_variance[..channels],
        );
        let rows = self
            .x
            .chunks_exact(channels)
            .zip(self.dy.chunks_exact(channels));
        for (dx, (x, dy)) in self.dx.chunks_exact_mut(channels).zip(rows) {
            for channel in 0..channels {
                let sign = affine.value(channel, x[channel]);
                let difference = x[channel] - affine.mean[channel];
                let inner = affine.rectified(sign, dy[channel])
                    - through_mean[channel]
                    - difference * through_variance[channel];
                dx[channel] = affine.factor[channel] * inner;
            }
        }
    }
}
