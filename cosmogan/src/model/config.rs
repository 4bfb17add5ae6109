//! What a model is made of, and how it is trained: three presets, or any other choice from a TOML file.

use std::fs;
use std::path::Path;

use cosmogan_engine::adam::AdamSettings;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Kernel extents of every convolution.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

    /// Channels that go into the discriminator's convolution `layer`, counted from 0; those of layer `layers` go
    /// into the final linear layer.
    pub fn discriminator_channels(&self, layer: usize) -> usize {
        match layer {
            0 => self.c_dim,
            _ => self.df_dim << (layer - 1),
        }
    }

    /// Says what is wrong with these extents, if anything.
    pub fn problem(&self) -> Option<String> {
        // Extents beyond these are typing errors or hostile files; they would overflow or exhaust memory.
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

    /// The JSON form, for metadata.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a struct of integers has a JSON form")
    }
}

/// Everything that decides the course of a training run, besides the data and the seed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingConfig {
    /// Maps per step.
    pub batch: usize,
    /// Passes over the data, where neither `--epochs` nor `--steps` is given.
    pub epochs: u64,
    /// Adam's step size.
    pub learning_rate: f64,
    /// Adam's β₁.
    pub beta1: f64,
    /// Adam's β₂.
    pub beta2: f64,
    /// Adam's ε.
    pub epsilon: f64,
    /// Probability that the labels of a step are flipped in the discriminator's loss.
    pub flip_labels: f64,
}

impl TrainingConfig {
    /// The optimiser's part.
    pub fn adam(&self) -> AdamSettings {
        AdamSettings {
            learning_rate: self.learning_rate,
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
        }
    }

    /// Says what is wrong with these settings, if anything.
    pub fn problem(&self) -> Option<String> {
        if self.batch < 2 {
            return Some("batch must be at least 2: batch normalisation compares maps".to_owned());
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return Some(format!(
                "learning_rate must be positive, not {}",
                self.learning_rate
            ));
        }
        for (name, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                return Some(format!("{name} must lie in [0, 1), not {beta}"));
            }
        }
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return Some(format!("epsilon must be positive, not {}", self.epsilon));
        }
        if !(0.0..=1.0).contains(&self.flip_labels) {
            return Some(format!(
                "flip_labels is a probability, not {}",
                self.flip_labels
            ));
        }
        None
    }
}

/// A model by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Preset {
    /// The paper's: 256×256 maps, 12.8 and 4.4 million parameters.
    Paper,
    /// 128×128 maps, half the channels.
    Small,
    /// 64×64 maps, for a demonstration within minutes.
    Tiny,
}

impl Preset {
    /// The extents of both networks.
    pub fn model(self) -> ModelConfig {
        let (output_size, layers, channels) = match self {
            Self::Paper => (256, 4, 64),
            Self::Small => (128, 4, 32),
            Self::Tiny => (64, 3, 16),
        };
        ModelConfig {
            output_size,
            layers,
            gf_dim: channels,
            df_dim: channels,
            z_dim: 64,
            c_dim: 1,
        }
    }

    /// The training that goes with it.
    pub fn training(self) -> TrainingConfig {
        TrainingConfig {
            // A small model on a processor learns more from many steps than from large ones.
            batch: if self == Self::Tiny { 16 } else { 64 },
            epochs: 47,
            learning_rate: 2e-4,
            beta1: 0.5,
            beta2: 0.999,
            epsilon: 1e-8,
            flip_labels: 0.01,
        }
    }
}

/// What a `--config` file may say: any part of both configurations, on top of a preset.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Overrides {
    output_size: Option<usize>,
    layers: Option<usize>,
    gf_dim: Option<usize>,
    df_dim: Option<usize>,
    z_dim: Option<usize>,
    c_dim: Option<usize>,
    batch: Option<usize>,
    epochs: Option<u64>,
    learning_rate: Option<f64>,
    beta1: Option<f64>,
    beta2: Option<f64>,
    epsilon: Option<f64>,
    flip_labels: Option<f64>,
}

/// The preset's configurations with what the TOML file at `path` says in place of it.
///
/// # Errors
/// Where the file cannot be read, is not TOML, has an unknown key, or describes an impossible model.
pub fn with_overrides(preset: Preset, path: &Path) -> Result<(ModelConfig, TrainingConfig)> {
    let text = fs::read_to_string(path)
        .map_err(|error| Error::file(path, error, "name a readable TOML file"))?;
    let overrides: Overrides = toml::from_str(&text).map_err(|error| {
        let message = error.message().replace('\n', " ");
        let line = error.span().map_or(1, |span| {
            1 + text[..span.start.min(text.len())].matches('\n').count()
        });
        Error::file(
            path,
            format!("line {line}: {message}"),
            "keys are output_size, layers, gf_dim, df_dim, z_dim, c_dim, batch, epochs, learning_rate, beta1, beta2, epsilon, flip_labels",
        )
    })?;
    let base = preset.model();
    let model = ModelConfig {
        output_size: overrides.output_size.unwrap_or(base.output_size),
        layers: overrides.layers.unwrap_or(base.layers),
        gf_dim: overrides.gf_dim.unwrap_or(base.gf_dim),
        df_dim: overrides.df_dim.unwrap_or(base.df_dim),
        z_dim: overrides.z_dim.unwrap_or(base.z_dim),
        c_dim: overrides.c_dim.unwrap_or(base.c_dim),
    };
    let base = preset.training();
    let training = TrainingConfig {
        batch: overrides.batch.unwrap_or(base.batch),
        epochs: overrides.epochs.unwrap_or(base.epochs),
        learning_rate: overrides.learning_rate.unwrap_or(base.learning_rate),
        beta1: overrides.beta1.unwrap_or(base.beta1),
        beta2: overrides.beta2.unwrap_or(base.beta2),
        epsilon: overrides.epsilon.unwrap_or(base.epsilon),
        flip_labels: overrides.flip_labels.unwrap_or(base.flip_labels),
    };
    match model.problem().or_else(|| training.problem()) {
        Some(problem) => Err(Error::file(path, problem, "correct the value")),
        None => Ok((model, training)),
    }
}
