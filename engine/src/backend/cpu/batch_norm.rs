//! Batch normalisation: two passes for the statistics, one to normalise, two for the gradient.

use rayon::prelude::*;

use super::{expect_length, read, reduce};
use crate::backend::Normalisation;
use crate::error::Result;

/// Elements per task of an elementwise pass, roughly.
const CHUNK: usize = 1 << 15;

/// Whole rows per task.
fn chunk(channels: usize) -> usize {
    CHUNK.div_ceil(channels.max(1)) * channels.max(1)
}

/// Mean and biased variance per channel. The second pass subtracts the mean first: no cancellation of large squares.
pub(super) fn statistics(x: &[f32], mean: &mut [f32], variance: &mut [f32]) -> Result<()> {
    let channels = mean.len();
    expect_length("batch_norm", variance.len(), channels)?;
    let count = (x.len() / channels.max(1)) as f64;
    let [mut means] = reduce::columns(channels, x.len(), |range, sums: &mut [Vec<f64>; 1]| {
        reduce::add_rows(&x[range], &mut sums[0]);
    });
    means.iter_mut().for_each(|mean| *mean /= count);
    let [mut squares] = reduce::columns(channels, x.len(), |range, sums: &mut [Vec<f64>; 1]| {
        for row in x[range].chunks_exact(channels) {
            for ((sum, &value), &mean) in sums[0].iter_mut().zip(row).zip(&means) {
                let difference = f64::from(value) - mean;
                *sum += difference * difference;
            }
        }
    });
    squares.iter_mut().for_each(|square| *square /= count);
    reduce::store(&means, mean);
    reduce::store(&squares, variance);
    Ok(())
}

/// y = rectified (x − mean)·scale/√(variance + ε) + shift.
pub(super) fn normalise(
    x: &[f32],
    by: &Normalisation<'_>,
    shift: &[f32],
    y: &mut [f32],
) -> Result<()> {
    let factors = factors(by);
    let (mean, channels) = (read(by.mean), factors.len());
    expect_length("batch_norm", x.len(), y.len())?;
    expect_length("batch_norm", shift.len(), channels)?;
    let size = chunk(channels);
    y.par_chunks_mut(size)
        .zip(x.par_chunks(size))
        .for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                for channel in 0..channels {
                    let value = (x[channel] - mean[channel]) * factors[channel] + shift[channel];
                    y[channel] = rectified(value, value, by.slope);
                }
            }
        });
    Ok(())
}

/// dx, dscale and dshift of training mode.
pub(super) fn gradient(
    x: &[f32],
    by: &Normalisation<'_>,
    [y, dy]: [&[f32]; 2],
    dx: &mut [f32],
    (dscale, dshift): (&mut [f32], &mut [f32]),
) -> Result<()> {
    let factors = factors(by);
    let (mean, channels) = (read(by.mean), factors.len());
    expect_length("batch_norm", x.len(), dx.len())?;
    expect_length("batch_norm", y.len(), dx.len())?;
    expect_length("batch_norm", dy.len(), dx.len())?;
    expect_length("batch_norm", dscale.len(), channels)?;
    expect_length("batch_norm", dshift.len(), channels)?;
    let inverse = inverse_deviations(by);
    let [products, sums] = reduce::columns(channels, x.len(), |range, sums: &mut [Vec<f64>; 2]| {
        let [products, plain] = sums;
        let rows = x[range.clone()]
            .chunks_exact(channels)
            .zip(y[range.clone()].chunks_exact(channels))
            .zip(dy[range].chunks_exact(channels));
        for ((x, y), dy) in rows {
            for channel in 0..channels {
                let gradient = rectified(y[channel], dy[channel], by.slope);
                products[channel] += f64::from(gradient * (x[channel] - mean[channel]));
                plain[channel] += f64::from(gradient);
            }
        }
    });
    let count = (x.len() / channels.max(1)) as f64;
    // dx = factor·(dy − through_mean − (x − mean)·through_variance).
    let mut through_mean = vec![0.0; channels];
    let mut through_variance = vec![0.0; channels];
    for channel in 0..channels {
        let scale_gradient = products[channel] * inverse[channel];
        dscale[channel] = scale_gradient as f32;
        dshift[channel] = sums[channel] as f32;
        through_mean[channel] = (sums[channel] / count) as f32;
        through_variance[channel] = (scale_gradient * inverse[channel] / count) as f32;
    }
    let size = chunk(channels);
    dx.par_chunks_mut(size)
        .zip(x.par_chunks(size))
        .zip(y.par_chunks(size).zip(dy.par_chunks(size)))
        .for_each(|((dx, x), (y, dy))| {
            let rows = x
                .chunks_exact(channels)
                .zip(y.chunks_exact(channels))
                .zip(dy.chunks_exact(channels));
            for (dx, ((x, y), dy)) in dx.chunks_exact_mut(channels).zip(rows) {
                for channel in 0..channels {
                    let difference = x[channel] - mean[channel];
                    let inner = rectified(y[channel], dy[channel], by.slope)
                        - through_mean[channel]
                        - difference * through_variance[channel];
                    dx[channel] = factors[channel] * inner;
                }
            }
        });
    Ok(())
}

/// `value` where `sign` is positive, slope·`value` elsewhere.
fn rectified(sign: f32, value: f32, slope: f32) -> f32 {
    if sign > 0.0 { value } else { slope * value }
}

/// 1/√(variance + ε) per channel.
fn inverse_deviations(by: &Normalisation<'_>) -> Vec<f64> {
    read(by.variance)
        .iter()
        .map(|&variance| 1.0 / (f64::from(variance) + f64::from(by.epsilon)).sqrt())
        .collect()
}

/// scale/√(variance + ε) per channel.
fn factors(by: &Normalisation<'_>) -> Vec<f32> {
    read(by.scale)
        .iter()
        .zip(inverse_deviations(by))
        .map(|(&scale, inverse)| (f64::from(scale) * inverse) as f32)
        .collect()
}
