//! Maps from a trained generator on the tape. In inference mode a map depends only on its latent vector.

use cosmogan_engine::Tape;

use super::generator;
use super::network::{Mode, Network};
use crate::error::Result;
use cosmogan_generator::layout::channels_first;

/// Maps `[N, c_dim, S, S]` of the generator in inference mode, from latents `[N, z_dim]`.
///
/// # Errors
/// If `latents` is not a whole number of latent vectors, or the device fails.
pub fn generate(generator: &Network, latents: &[f32]) -> Result<Vec<f32>> {
    run(generator, latents, Mode::Inference)
}

/// Maps `[N, c_dim, S, S]` in either mode. In training mode every map depends on its whole batch.
///
/// # Errors
/// As [`generate`].
pub fn run(network: &Network, latents: &[f32], mode: Mode) -> Result<Vec<f32>> {
    let backend = network.backend();
    let tape = Tape::new(backend.clone());
    let bound = network.bind(&tape, mode);
    let latents = tape.constant(bound.latents(latents)?);
    let (maps, _) = generator::forward(&bound, &latents)?;
    let &[batch, height, width, channels] = maps.shape().dims() else {
        unreachable!("the generator's last layer is a transposed convolution");
    };
    let values = backend.download(maps.value()?)?;
    Ok(channels_first(&values, [batch, height, width, channels]))
}
