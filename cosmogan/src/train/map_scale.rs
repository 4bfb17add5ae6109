//! Maps of small values, learnt as if they were larger.
//!
//! Adam changes a weight by about its step size, whatever the scale of what the weight is multiplied with. Maps of κ scatter
//! by 0.02. One step of the generator's last layer, hundreds of weights to a pixel and nothing behind it that normalises,
//! can move all pixels by as much as they scatter; and in front of the discriminator's first rectifier biases outgrow in a
//! few steps what they are added to.
//!
//! A network that sees maps s times as large, with weights that take them there and back, computes the same: the first
//! weights s times larger, the last ones s times smaller. So are their initial values and their steps here, for a scale s,
//! and nothing else is changed; a scale of 1 is the paper's.

use crate::error::Result;
use crate::model::ModelConfig;
use crate::model::network::Network;

/// The scale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapScale(pub(crate) f64);

impl MapScale {
    /// Groups of tensors with one factor each.
    pub(super) const GROUPS: usize = 3;

    /// The factor of each group.
    pub(super) fn factors(self) -> [f64; Self::GROUPS] {
        [1.0, self.0, 1.0 / self.0]
    }

    /// The group of the tensor `name`: the discriminator's first weights, the generator's last layer, or all others. There is
    /// one group for all where nothing is scaled.
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

    /// The initial network for maps of this scale, of one for maps of scale 1.
    ///
    /// # Errors
    /// Where the device fails.
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
