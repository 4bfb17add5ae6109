//! Which products a model computes.

use cosmogan_engine::backend::Precision;
use cosmogan_engine::{ConvGeometry, Padding};
use cosmogan_kernels::convolution::ConvShape;
use cosmogan_kernels::pack::Operand;
use cosmogan_kernels::tuning::{Problem, Product};
use cosmogan_oracle::Operator;
use cosmogan_oracle::operators::convolution::Convolution;

use crate::model::ModelConfig;
use crate::verify::model_cases;

/// What products multiply in a precision.
pub fn operand_of(precision: Precision) -> Operand {
    match precision {
        Precision::F32 => Operand::F32,
        Precision::Tf32 => Operand::Tf32,
        Precision::Bf16 => Operand::Bf16,
    }
}

/// A geometry as kernels take it.
pub fn shape_of(geometry: &ConvGeometry) -> ConvShape {
    ConvShape {
        batch: geometry.batch,
        input: geometry.input,
        channels: geometry.input_channels,
        output: geometry.output,
        outputs: geometry.output_channels,
        kernel: geometry.kernel,
        stride: geometry.stride,
        begin: geometry.padding.begin,
    }
}

/// A shape as the oracle takes it.
pub(super) fn convolution_of(s: &ConvShape) -> Convolution {
    Convolution {
        batch: s.batch,
        input: s.input,
        input_channels: s.channels,
        output: s.output,
        output_channels: s.outputs,
        kernel: s.kernel,
        stride: s.stride,
        begin: s.begin,
    }
}

/// A shape as the engine takes it.
pub(super) fn geometry_of(s: &ConvShape) -> ConvGeometry {
    ConvGeometry {
        batch: s.batch,
        input: s.input,
        input_channels: s.channels,
        output: s.output,
        output_channels: s.outputs,
        kernel: s.kernel,
        stride: s.stride,
        padding: Padding {
            begin: s.begin,
            end: convolution_of(s).end(),
        },
    }
}

/// The products of a training step on `batch` real maps that run in tiles, each once; those of the generator are among them. A
/// linear layer is the transposed convolution of one-pixel images.
pub fn problems_of(
    model: &ModelConfig,
    batch: usize,
    operand: Operand,
    has_hopper: bool,
) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    for case in model_cases(model, batch, 0) {
        let (shape, products) = match case.operator {
            Operator::Conv2d(shape) | Operator::ConvTranspose2d(shape) => {
                (convolution_shape(&shape), &Product::ALL[..])
            }
            // Nobody asks for the gradient of latent vectors.
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
                &[Product::Dgrad, Product::Wgrad][..],
            ),
            _ => continue,
        };
        // Those have kernels of their own.
        if shape.channels == 1 || shape.outputs == 1 {
            continue;
        }
        let mut add = |product: Product, shape: &ConvShape| {
            let problem = Problem::new(product, operand, shape, has_hopper);
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        };
        // Real and generated maps go through the discriminator in one batch; the generator's loss comes back through the
        // generated ones alone.
        if matches!(case.operator, Operator::Conv2d(_)) {
            let both = ConvShape {
                batch: 2 * shape.batch,
                ..shape
            };
            products.iter().for_each(|&product| add(product, &both));
            add(Product::Dgrad, &shape);
        } else {
            products.iter().for_each(|&product| add(product, &shape));
        }
    }
    problems
}

/// A shape of the oracle as kernels take it.
pub fn convolution_shape(shape: &Convolution) -> ConvShape {
    ConvShape {
        batch: shape.batch,
        input: shape.input,
        channels: shape.input_channels,
        output: shape.output,
        outputs: shape.output_channels,
        kernel: shape.kernel,
        stride: shape.stride,
        begin: shape.begin,
    }
}
