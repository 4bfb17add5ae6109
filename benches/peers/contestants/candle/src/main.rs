//! candle on the CPU. Its transposed convolution is a naive loop, so that all layers are computed in phases.

#[path = "../../rust/weights.rs"]
mod weights;
#[path = "../../rust/worker.rs"]
mod worker;

use candle_core::{Device, Tensor};
use weights::{Array, Layer};
use worker::{Arguments, Outcome, serve};

struct Prepared {
    weight: Tensor,
    bias: Tensor,
    in_phases: bool,
}

fn tensor(array: &Array) -> Outcome<Tensor> {
    Ok(Tensor::from_slice(
        &array.values,
        array.shape.as_slice(),
        &Device::Cpu,
    )?)
}

fn prepared(layer: &Layer) -> Outcome<Prepared> {
    let bias = tensor(&layer.bias)?;
    let channels = bias.elem_count();
    Ok(Prepared {
        weight: tensor(&layer.weight)?,
        bias: bias.reshape((1, channels, 1, 1))?,
        in_phases: layer.in_phases,
    })
}

/// Interleaves the four phases, which are groups of channels, to an image of twice the size.
fn joined(values: &Tensor) -> Outcome<Tensor> {
    let (n, c, h, w) = values.dims4()?;
    let values = values.reshape(&[n, 2, 2, c / 4, h, w][..])?;
    let values = values.permute([0, 3, 4, 1, 5, 2])?;
    Ok(values.reshape((n, c / 4, 2 * h, 2 * w))?)
}

fn prepare(arguments: &Arguments) -> Outcome<impl FnMut(&[f32]) -> Outcome<Vec<f32>> + use<>> {
    let (batch, width) = (arguments.batch, arguments.width);
    let layers = weights::layers(arguments)?;
    let fc = tensor(&layers[0].weight)?.t()?;
    let fc_bias = tensor(&layers[0].bias)?.unsqueeze(0)?;
    // The first axis of the weights is the input channels in a transposed convolution, the output channels in a plain
    // one.
    let first = &layers[1];
    let channels = first.weight.shape[usize::from(first.in_phases)];
    let side = (fc_bias.elem_count() / channels).isqrt();
    let layers: Vec<Prepared> = layers[1..].iter().map(prepared).collect::<Outcome<_>>()?;
    Ok(move |latents: &[f32]| {
        let latents = Tensor::from_slice(latents, (batch, width), &Device::Cpu)?;
        let values = latents.matmul(&fc)?.broadcast_add(&fc_bias)?.relu()?;
        let mut values = values.reshape((batch, channels, side, side))?;
        for (index, layer) in layers.iter().enumerate() {
            values = if layer.in_phases {
                values.conv2d(&layer.weight, 1, 1, 1, 1)?
            } else {
                let size = 2 * values.dim(2)?;
                let full = values.conv_transpose2d(&layer.weight, 1, 0, 2, 1)?;
                full.narrow(2, 0, size)?.narrow(3, 0, size)?
            };
            values = values.broadcast_add(&layer.bias)?;
            values = if index + 1 < layers.len() {
                values.relu()?
            } else {
                values.tanh()?
            };
            if layer.in_phases {
                values = joined(&values)?;
            }
        }
        Ok(values.flatten_all()?.to_vec1()?)
    })
}

fn main() -> Outcome<()> {
    serve("0.11.1", prepare)
}
