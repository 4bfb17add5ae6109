//! Forward pass of the discriminator: convolutions of stride 2, then a linear layer.

use cosmogan_engine::Variable;
use cosmogan_engine::backend::Activation;

use super::network::{Bound, RunningUpdate, SAME, STRIDES};
use crate::error::Result;
use cosmogan_generator::config::LEAKY_SLOPE;

const LEAKY_RELU: Activation = Activation::LeakyRelu { slope: LEAKY_SLOPE };

/// Logits `[N, 1]` of maps `[N, S, S, c_dim]`; positive means real.
///
/// In training the batch is divided into `parts` equal parts, each of which is normalised with its own statistics.
///
/// # Errors
/// If the maps have other extents, or N is not divisible by `parts`.
pub fn forward(
    discriminator: &Bound<'_>,
    maps: &Variable,
    parts: usize,
) -> Result<(Variable, RunningUpdate)> {
    let (features, update) = features(discriminator, maps, parts)?;
    let logits = discriminator.tape().linear(
        &features,
        discriminator.variable("fc.weight"),
        discriminator.variable("fc.bias"),
    )?;
    Ok((logits, update))
}

/// Features `[N, features]` of maps `[N, S, S, c_dim]`: the input of the final linear layer.
///
/// The batch is normalised in parts as in [`forward`].
///
/// # Errors
/// As [`forward`].
pub fn features(
    discriminator: &Bound<'_>,
    maps: &Variable,
    parts: usize,
) -> Result<(Variable, RunningUpdate)> {
    let config = *discriminator.config();
    let tape = discriminator.tape();
    let mut update = RunningUpdate::default();

    let mut image = maps.clone();
    for layer in 0..config.layers {
        image = tape.conv2d(
            &image,
            discriminator.variable(&format!("conv{layer}.weight")),
            discriminator.variable(&format!("conv{layer}.bias")),
            STRIDES,
            SAME,
        )?;
        // The paper normalises every layer but the first.
        image = if layer == 0 {
            tape.activate(&image, LEAKY_RELU)?
        } else {
            discriminator.normalise_and_rectify(layer, (&image, parts), LEAKY_SLOPE, &mut update)?
        };
    }

    let batch = maps.shape().dims().first().copied().unwrap_or(0);
    let features = image.shape().len() / batch.max(1);
    Ok((tape.reshape(&image, [batch, features])?, update))
}
