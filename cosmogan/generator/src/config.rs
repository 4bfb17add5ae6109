//! Extents and constants of the model.

use crate::json;

/// Kernel rows and columns of every convolution.
pub const KERNEL: usize = 5;
/// Stride of every convolution.
pub const STRIDE: usize = 2;
/// ε of every batch normalisation.
pub const BATCH_NORM_EPSILON: f32 = 1e-5;
/// Weight of the newest batch in the running statistics.
pub const BATCH_NORM_MOMENTUM: f32 = 0.1;
/// Slope of LeakyReLU for negative inputs.
pub const LEAKY_SLOPE: f32 = 0.2;
/// Standard deviation of initial weights.
pub const INITIAL_DEVIATION: f64 = 0.02;

/// Extents of both networks. The JSON form travels in the metadata of weight files as `cosmogan.config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ModelConfig {
    /// Rows and columns of a map.
    pub output_size: usize,
    /// Transposed convolutions of the generator and convolutions of the discriminator, 1 to 6.
    pub layers: usize,
    /// Channels of the generator's last hidden layer; doubled in each layer before it.
    pub gf_dim: usize,
    /// Channels of the discriminator's first layer; doubled in each layer after it.
    pub df_dim: usize,
    /// Width of the latent vector.
    pub z_dim: usize,
    /// Channels of a map.
    pub c_dim: usize,
}

impl ModelConfig {
    /// Rows and columns of the coarsest feature maps.
    pub fn coarse_size(&self) -> usize {
        self.output_size >> self.layers
    }

    /// Channels of the generator's features after `layer` transposed convolutions; the last is the map.
    pub fn generator_channels(&self, layer: usize) -> usize {
        if layer == self.layers {
            self.c_dim
        } else {
            self.gf_dim << (self.layers - 1 - layer)
        }
    }

    /// Input channels of the discriminator's convolution `layer`, counted from 0; for `layer == layers`, those of the
    /// final linear layer.
    pub fn discriminator_channels(&self, layer: usize) -> usize {
        match layer {
            0 => self.c_dim,
            _ => self.df_dim << (layer - 1),
        }
    }

    /// Describes the first invalid extent; `None` if the configuration is valid.
    pub fn problem(&self) -> Option<String> {
        // Larger extents are typing errors or hostile files; they would overflow or exhaust memory.
        const LARGEST_EXTENT: usize = 1 << 14;
        let named = [
            ("output_size", self.output_size),
            ("gf_dim", self.gf_dim),
            ("df_dim", self.df_dim),
            ("z_dim", self.z_dim),
            ("c_dim", self.c_dim),
        ];
        for (name, value) in named {
            if value == 0 || value > LARGEST_EXTENT {
                return Some(format!(
                    "{name} must lie between 1 and {LARGEST_EXTENT}, not {value}"
                ));
            }
        }
        if !(1..=6).contains(&self.layers) {
            return Some(format!(
                "layers must lie between 1 and 6, not {}",
                self.layers
            ));
        }
        let factor = 1 << self.layers;
        if !self.output_size.is_multiple_of(factor) {
            return Some(format!(
                "output_size {} is not divisible by 2^layers = {factor}",
                self.output_size
            ));
        }
        None
    }

    /// Parses the JSON form; unknown entries are ignored.
    ///
    /// # Errors
    /// If `json` is not a JSON object, or an extent is missing or not a whole number; the error says which.
    pub fn from_json(json: &str) -> Result<Self, String> {
        let entries = json::object(json).ok_or("this is not a JSON object")?;
        let extent = |name: &str| {
            let number = entries.get(name).and_then(json::whole);
            number.ok_or_else(|| format!("{name} is missing or not a whole number"))
        };
        Ok(Self {
            output_size: extent("output_size")?,
            layers: extent("layers")?,
            gf_dim: extent("gf_dim")?,
            df_dim: extent("df_dim")?,
            z_dim: extent("z_dim")?,
            c_dim: extent("c_dim")?,
        })
    }

    /// The JSON form, for metadata.
    pub fn to_json(&self) -> String {
        let Self {
            output_size,
            layers,
            gf_dim,
            df_dim,
            z_dim,
            c_dim,
        } = self;
        format!(
            r#"{{"output_size":{output_size},"layers":{layers},"gf_dim":{gf_dim},"df_dim":{df_dim},"z_dim":{z_dim},"c_dim":{c_dim}}}"#
        )
    }
}
