//! The fully connected layer as GEMMs.

use rayon::prelude::*;

use super::expect_length;
use super::matmul::{Matrix, multiply};
use crate::error::Result;

/// Rows of x per GEMM. The last block is padded with zeros, so that every GEMM has the same extents and the bits of a
/// row do not depend on the number of other rows.
const ROWS: usize = 16;
/// Outputs per task.
const OUTPUTS: usize = 2048;

/// y = x·weightᵀ + bias.
pub(super) fn forward(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    inputs: usize,
    y: &mut [f32],
) -> Result<()> {
    let outputs = bias.len();
    let rows = x.len() / inputs.max(1);
    expect_length("linear", weight.len(), inputs * outputs)?;
    expect_length("linear", y.len(), rows * outputs)?;
    let blocks: Vec<Vec<f32>> = x
        .chunks(ROWS * inputs)
        .map(|block| {
            let mut padded = block.to_vec();
            padded.resize(ROWS * inputs, 0.0);
            padded
        })
        .collect();
    let columns: Vec<_> = weight.chunks(OUTPUTS * inputs).collect();
    let products: Vec<Vec<f32>> = (0..blocks.len() * columns.len())
        .into_par_iter()
        .map(|task| {
            let (block, part) = (task / columns.len(), task % columns.len());
            let width = columns[part].len() / inputs;
            let mut product = vec![0.0; ROWS * width];
            multiply(
                [ROWS, width, inputs],
                Matrix::row_major(&blocks[block], inputs),
                Matrix::row_major(columns[part], inputs).transposed(),
                &mut product,
                false,
            );
            product
        })
        .collect();
    for (row, y) in y.chunks_exact_mut(outputs).enumerate() {
        let (block, within) = (row / ROWS, row % ROWS);
        for (part, y) in y.chunks_mut(OUTPUTS).enumerate() {
            let product = &products[block * columns.len() + part];
            let product = &product[within * y.len()..][..y.len()];
            let bias = &bias[part * OUTPUTS..][..y.len()];
            for ((y, &product), &bias) in y.iter_mut().zip(product).zip(bias) {
                *y = product + bias;
            }
        }
    }
    Ok(())
}

/// dx = dy·weight.
pub(super) fn dgrad(
    dy: &[f32],
    weight: &[f32],
    outputs: usize,
    inputs: usize,
    dx: &mut [f32],
) -> Result<()> {
    let rows = dy.len() / outputs.max(1);
    expect_length("linear", weight.len(), inputs * outputs)?;
    expect_length("linear", dx.len(), rows * inputs)?;
    dx.par_chunks_mut(ROWS * inputs)
        .zip(dy.par_chunks(ROWS * outputs))
        .for_each(|(dx, dy)| {
            multiply(
                [dy.len() / outputs, inputs, outputs],
                Matrix::row_major(dy, outputs),
                Matrix::row_major(weight, inputs),
                dx,
                false,
            );
        });
    Ok(())
}

/// dweight = dyᵀ·x.
pub(super) fn wgrad(
    x: &[f32],
    dy: &[f32],
    outputs: usize,
    inputs: usize,
    dweight: &mut [f32],
) -> Result<()> {
    let rows = dy.len() / outputs.max(1);
    expect_length("linear", x.len(), rows * inputs)?;
    expect_length("linear", dweight.len(), inputs * outputs)?;
    dweight
        .par_chunks_mut(OUTPUTS * inputs)
        .enumerate()
        .for_each(|(part, dweight)| {
            let dy = Matrix {
                values: &dy[part * OUTPUTS..],
                row_stride: outputs,
                column_stride: 1,
            };
            multiply(
                [dweight.len() / inputs, inputs, rows],
                dy.transposed(),
                Matrix::row_major(x, inputs),
                dweight,
                false,
            );
        });
    Ok(())
}
