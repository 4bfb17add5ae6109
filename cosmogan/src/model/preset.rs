//! Training settings and the named presets, which a TOML file can override.

use std::fs;
use std::path::Path;

use cosmogan_engine::adam::AdamSettings;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use cosmogan_generator::config::ModelConfig;

/// Largest decay of the moving average: that of an average over ten thousand steps.
const LONGEST_AVERAGE: f64 = 0.9999;

fn one() -> f64 {
    1.0
}

/// Training settings: everything but the data and the seed that determines a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingConfig {
    /// Maps per step.
    pub batch: usize,
    /// Passes over the data, where neither `--epochs` nor `--steps` is given.
    pub epochs: u64,
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// Adam's β₁.
    pub beta1: f64,
    /// Adam's β₂.
    pub beta2: f64,
    /// Adam's ε.
    pub epsilon: f64,
    /// Probability that the labels of a step are flipped in the discriminator's loss.
    pub flip_labels: f64,
    /// Factor by which maps appear multiplied to the two layers next to them, the generator's last and the
    /// discriminator's first: it scales their initial weights and learning rates.
    #[serde(default = "one")]
    pub map_scale: f64,
    /// First and last step of the linear decay of the learning rate to zero; `None` keeps it constant.
    #[serde(default)]
    pub anneal: Option<[u64; 2]>,
    /// Decay per step of the generator's moving average; 0 keeps no average.
    #[serde(default)]
    pub average: f64,
}

impl TrainingConfig {
    /// The optimiser's settings.
    pub fn adam(&self) -> AdamSettings {
        AdamSettings {
            learning_rate: self.learning_rate,
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
        }
    }

    /// The factor of the learning rate in step `step`, counted from 1.
    pub fn annealed(&self, step: u64) -> f64 {
        let Some([first, last]) = self.anneal else {
            return 1.0;
        };
        let gone = step.saturating_sub(first) as f64 / (last - first) as f64;
        (1.0 - gone).max(0.0)
    }

    /// Describes the first invalid setting; `None` if all are valid.
    pub fn problem(&self) -> Option<String> {
        if self.batch < 2 {
            return Some(
                "batch must be at least 2: batch normalisation needs more than one map".to_owned(),
            );
        }
        for (name, value) in [
            ("learning_rate", self.learning_rate),
            ("map_scale", self.map_scale),
        ] {
            if !(value > 0.0 && value.is_finite()) {
                return Some(format!("{name} must be positive, not {value}"));
            }
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
        if let Some([first, last]) = self.anneal
            && first >= last
        {
            return Some(format!(
                "anneal must name two steps in increasing order, not {first} and {last}"
            ));
        }
        // In f32, the two weights of the average, decay and 1 − decay, must still add up to 1.
        if !(0.0..=LONGEST_AVERAGE).contains(&self.average) {
            return Some(format!(
                "average must lie between 0 and {LONGEST_AVERAGE}, not {}",
                self.average
            ));
        }
        None
    }
}

/// A named model with its training settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Preset {
    /// The paper's model: 256×256 maps, 12.8 and 4.4 million parameters.
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

    /// The training settings of the preset.
    pub fn training(self) -> TrainingConfig {
        // The paper neither scales maps nor averages the generator; it selects the best step. Smaller presets do better
        // with both.
        let is_paper = self == Self::Paper;
        TrainingConfig {
            // In a given time on a CPU, a small model learns more from many small steps than from few large ones.
            batch: if self == Self::Tiny { 16 } else { 64 },
            epochs: 47,
            learning_rate: 2e-4,
            beta1: 0.5,
            beta2: 0.999,
            epsilon: 1e-8,
            flip_labels: 0.01,
            anneal: None,
            map_scale: if is_paper { 1.0 } else { 20.0 },
            average: if is_paper { 0.0 } else { 0.99 },
        }
    }
}

/// The contents of a `--config` file: settings that override the preset's.
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
    map_scale: Option<f64>,
    anneal: Option<[u64; 2]>,
    average: Option<f64>,
}

/// The preset's configurations, with the settings of the TOML file at `path` in place of the preset's.
///
/// # Errors
/// If the file cannot be read, is not TOML, has an unknown key, or describes an invalid model.
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
            "keys are output_size, layers, gf_dim, df_dim, z_dim, c_dim, batch, epochs, learning_rate, beta1, beta2, epsilon, flip_labels, map_scale, anneal, average",
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
        map_scale: overrides.map_scale.unwrap_or(base.map_scale),
        anneal: overrides.anneal.or(base.anneal),
        average: overrides.average.unwrap_or(base.average),
    };
    match model.problem().or_else(|| training.problem()) {
        Some(problem) => Err(Error::file(path, problem, "correct the value")),
        None => Ok((model, training)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_sizes_fall_in_a_line_to_nothing() {
        let mut training = Preset::Small.training();
        assert_eq!(training.annealed(1_000_000), 1.0);
        training.anneal = Some([100, 300]);
        let factors = [1, 100, 150, 250, 300, 301].map(|step| training.annealed(step));
        assert_eq!(factors, [1.0, 1.0, 0.75, 0.25, 0.0, 0.0]);
        assert_eq!(training.problem(), None);
        training.anneal = Some([300, 300]);
        let problem = training.problem().unwrap_or_default();
        assert!(problem.contains("anneal"), "{problem}");
    }
}
