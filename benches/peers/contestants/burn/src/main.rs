//! burn on the CPU, with the backend that it recommends for CPUs.

#[path = "../../rust/weights.rs"]
mod weights;
#[path = "../../rust/worker.rs"]
mod worker;

use burn::tensor::module::{conv_transpose2d, conv2d};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use burn::tensor::{Device, Tensor, TensorData, activation};
use weights::Array;
use worker::{Arguments, Outcome, serve};

struct Prepared {
    weight: Tensor<4>,
    bias: Tensor<1>,
    in_phases: bool,
}

fn tensor<const D: usize>(array: &Array, device: &Device) -> Tensor<D> {
    let data = TensorData::new(array.values.clone(), array.shape.clone());
    Tensor::from_data(data, device)
}

/// Interleaves the four phases, which are groups of channels, to an image of twice the size.
fn joined(values: Tensor<4>) -> Tensor<4> {
    let [n, c, h, w] = values.dims();
    let values = values.reshape([n, 2, 2, c / 4, h, w]);
    let values = values.permute([0, 3, 4, 1, 5, 2]);
    values.reshape([n, c / 4, 2 * h, 2 * w])
}

fn prepare(arguments: &Arguments) -> Outcome<impl FnMut(&[f32]) -> Outcome<Vec<f32>> + use<>> {
    let (batch, width) = (arguments.batch, arguments.width);
    let device = Device::flex();
    let layers = weights::layers(arguments)?;
    let fc = tensor::<2>(&layers[0].weight, &device).transpose();
    let fc_bias = tensor::<1>(&layers[0].bias, &device).unsqueeze::<2>();
    // The first axis of the weights is the input channels in a transposed convolution, the output channels in a plain
    // one.
    let first = &layers[1];
    let channels = first.weight.shape[usize::from(first.in_phases)];
    let side = (layers[0].bias.values.len() / channels).isqrt();
    let layers: Vec<Prepared> = layers[1..]
        .iter()
        .map(|layer| Prepared {
            weight: tensor(&layer.weight, &device),
            bias: tensor(&layer.bias, &device),
            in_phases: layer.in_phases,
        })
        .collect();
    Ok(move |latents: &[f32]| {
        let data = TensorData::new(latents.to_vec(), [batch, width]);
        let values = Tensor::<2>::from_data(data, &device).matmul(fc.clone()) + fc_bias.clone();
        let mut values = activation::relu(values).reshape([batch, channels, side, side]);
        for (index, layer) in layers.iter().enumerate() {
            let (weight, bias) = (layer.weight.clone(), Some(layer.bias.clone()));
            values = if layer.in_phases {
                conv2d(
                    values,
                    weight,
                    bias,
                    ConvOptions::new([1; 2], [1; 2], [1; 2], 1),
                )
            } else {
                let size = 2 * values.dims()[2];
                let options = ConvTransposeOptions::new([2; 2], [1; 2], [0; 2], [1; 2], 1);
                let full = conv_transpose2d(values, weight, bias, options);
                full.narrow(2, 0, size).narrow(3, 0, size)
            };
            let last = index + 1 == layers.len();
            values = if last {
                values.tanh()
            } else {
                activation::relu(values)
            };
            if layer.in_phases {
                values = joined(values);
            }
        }
        Ok(values.into_data().try_to_vec::<f32>()?)
    })
}

fn main() -> Outcome<()> {
    serve("0.22.1", prepare)
}
