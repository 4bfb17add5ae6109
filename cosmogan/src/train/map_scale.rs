//! Rescaling of the layers next to the maps, as if maps had larger values.
//!
//! Adam changes a weight by about the learning rate, whatever the scale of its input. κ maps have a standard deviation
//! of only 0.02. In the generator's last layer hundreds of weights contribute to a pixel and no normalisation follows:
//! one step can shift all pixels by their standard deviation. In the discriminator's first layer the biases outgrow the
//! convolution's results within a few steps.
//!
//! For a scale s, the discriminator's first weights are s times larger and the generator's last layer is s times
//! smaller, both in their initial values and in their steps. That corresponds to training on maps multiplied by s, and
//! nothing else changes; s = 1 is the paper's model.

use crate::error::Result;
use crate::model::ModelConfig;
use crate::model::network::Network;

/// Factor by which maps appear multiplied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapScale(pub(crate) f64);

impl MapScale {
    /// Number of groups of tensors; each group has one factor.
    pub(super) const GROUPS: usize = 3;

    /// The factor of each group.
    pub(super) fn factors(self) -> [f64; Self::GROUPS] {
        [1.0, self.0, 1.0 / self.0]
    }

    /// The group of the tensor `name`: 1 for the discriminator's first weights, 2 for the generator's last layer, 0 for
    /// all others. At scale 1, all tensors are in group 0.
    pub(super) fn group(self, name: &str, config: &ModelConfig) -> usize {
        if self.0 == 1.0 {
            return 0;
        }
        match name {
            "conv0.weight" => 1,
            name if name.starts_with(&format!("deconv{}.", config.layers)) => 2,
            _ => 0,
        }
    }

    /// Rescales the initial weights of `network`, which are for scale 1.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn initial(self, network: Network) -> Result<Network> {
        if self.0 == 1.0 {
            return Ok(network);
        }
        network.duplicate(|tensor, mut values| {
            let factor = self.factors()[self.group(&tensor.name, network.config())];
            for value in &mut values {
                *value = (f64::from(*value) * factor) as f32;
            }
            values
        })
    }
}
