//! The GEMMs of a model.

use cosmogan_conformance::conv_shape;
use cosmogan_engine::profile::Extents;
use cosmogan_kernels::ConvProduct;
use cosmogan_kernels::Precision;
use cosmogan_kernels::convolution::ConvShape;
use cosmogan_kernels::tuning::Problem;
use cosmogan_oracle::Operator;

use crate::model::ModelConfig;
use crate::verify::model_cases;

/// The tiled GEMMs of a training step on `batch` real maps, without duplicates; they include those of generation.
///
/// A linear layer counts as the transposed convolution of one-pixel images.
pub fn problems_of(
    model: &ModelConfig,
    batch: usize,
    operand: Precision,
    has_hopper: bool,
) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    for case in model_cases(model, batch, 0) {
        let (shape, products) = match case.operator {
            Operator::Conv2d(shape) | Operator::ConvTranspose2d(shape) => {
                (conv_shape(&shape), &ConvProduct::ALL[..])
            }
            // The gradient with respect to the latent vectors is not needed.
            Operator::Linear(shape) => (
                ConvShape {
                    batch: shape.rows,
                    input: [1, 1],
                    channels: shape.outputs,
                    output: [1, 1],
                    outputs: shape.inputs,
                    kernel: [1, 1],
                    stride: [1, 1],
                    begin: [0, 0],
                },
                &[ConvProduct::Dgrad, ConvProduct::Wgrad][..],
            ),
            _ => continue,
        };
        // Single channels have kernels of their own.
        if shape.channels == 1 || shape.outputs == 1 {
            continue;
        }
        let mut add = |product: ConvProduct, shape: &ConvShape| {
            let problem = Problem::new(product, operand, shape, has_hopper);
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        };
        // Real and generated maps pass through the discriminator in one batch; the generator's loss is propagated back
        // through the generated half only.
        if matches!(case.operator, Operator::Conv2d(_)) {
            let both = ConvShape {
                batch: 2 * shape.batch,
                ..shape
            };
            products.iter().for_each(|&product| add(product, &both));
            add(ConvProduct::Dgrad, &shape);
        } else {
            products.iter().for_each(|&product| add(product, &shape));
        }
    }
    problems
}

/// A shape in the syntax of `--shape`.
pub(super) fn shape_text(shape: &ConvShape) -> String {
    Extents::Convolution(shape.into()).to_string()
}
