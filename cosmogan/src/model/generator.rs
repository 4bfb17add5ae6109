//! Forward pass of the generator: a linear layer, then transposed convolutions of stride 2.

use cosmogan_engine::Variable;
use cosmogan_engine::backend::Activation;

use super::network::{Bound, RunningUpdate, SAME, STRIDES};
use crate::error::Result;

/// Slope of a ReLU on its negative side.
const RELU: f32 = 0.0;

/// Maps `[N, S, S, c_dim]` in (−1, 1) from latents `[N, z_dim]`.
///
/// # Errors
/// If the latents have another width.
pub fn forward(generator: &Bound<'_>, latents: &Variable) -> Result<(Variable, RunningUpdate)> {
    let config = *generator.config();
    let tape = generator.tape();
    let mut update = RunningUpdate::default();

    let features = tape.linear(
        latents,
        generator.variable("fc.weight"),
        generator.variable("fc.bias"),
    )?;
    let batch = latents.shape().rows();
    let size = config.coarse_size();
    let image = tape.reshape(&features, [batch, size, size, config.generator_channels(0)])?;
    let mut image = generator.normalise_and_rectify(0, (&image, 1), RELU, &mut update)?;

    for layer in 1..=config.layers {
        let full = tape.conv_transpose2d(
            &image,
            generator.variable(&format!("deconv{layer}.weight")),
            generator.variable(&format!("deconv{layer}.bias")),
            STRIDES,
            SAME,
        )?;
        image = if layer < config.layers {
            generator.normalise_and_rectify(layer, (&full, 1), RELU, &mut update)?
        } else {
            tape.activate(&full, Activation::Tanh)?
        };
    }
    Ok((image, update))
}
