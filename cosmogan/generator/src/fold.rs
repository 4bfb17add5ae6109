//! Folding of batch normalisation into the preceding layer. At inference it is one scale and one shift per channel.

use cosmogan_engine::inference::{Description, Layer};

use crate::config::ModelConfig;
use crate::config::{BATCH_NORM_EPSILON, KERNEL};
use crate::tensor_file::TensorFile;
use cosmogan_base::{Error, Result};

/// The generator in `file`, with batch normalisation folded into its layers.
pub(super) fn description<'a>(
    file: &'a TensorFile<'_>,
    config: &ModelConfig,
) -> Result<Description<'a>> {
    let (latent, coarse) = (config.z_dim, config.coarse_size());
    let channels: Vec<usize> = (0..config.layers)
        .map(|layer| config.generator_channels(layer))
        .collect();
    let features = channels[0] * coarse * coarse;
    let linear = Normalisation::read(file, 0, channels[0])?.fold(
        file.expect_in_place("fc.weight", &[features, latent])?,
        &file.expect("fc.bias", &[features])?,
    );
    let mut hidden = Vec::new();
    for layer in 1..config.layers {
        let [inputs, outputs] = [channels[layer - 1], channels[layer]];
        let dims = [inputs, outputs, KERNEL, KERNEL];
        let weight = file.expect_in_place(&format!("deconv{layer}.weight"), &dims)?;
        let bias = file.ineffective_bias(&format!("deconv{layer}.bias"), outputs)?;
        hidden.push(Normalisation::read(file, layer, outputs)?.fold(weight, &bias));
    }
    let layer = config.layers;
    let dims = [channels[layer - 1], 1, KERNEL, KERNEL];
    let last = Layer {
        weight: file.expect_in_place(&format!("deconv{layer}.weight"), &dims)?,
        scale: vec![1.0],
        shift: narrowed(&file.expect(&format!("deconv{layer}.bias"), &[1])?),
    };
    Ok(Description {
        latent,
        coarse,
        channels,
        linear,
        hidden,
        last,
    })
}

/// Batch normalisation at inference: y = scale·x + shift per channel.
struct Normalisation {
    scale: Vec<f64>,
    shift: Vec<f64>,
}

impl Normalisation {
    fn read(file: &TensorFile<'_>, layer: usize, channels: usize) -> Result<Self> {
        let vector = |name: &str| file.expect(&format!("bn{layer}.{name}"), &[channels]);
        let (mean, variance) = (vector("running_mean")?, vector("running_var")?);
        if let Some(index) = variance.iter().position(|&variance| variance < 0.0) {
            return Err(Error::file(
                file.path(),
                format!(
                    "`bn{layer}.running_var` holds {} at element {index}",
                    variance[index]
                ),
                "use weights with non-negative variances",
            ));
        }
        let scale: Vec<f64> = vector("weight")?
            .iter()
            .zip(variance)
            .map(|(gamma, variance)| gamma / (variance + f64::from(BATCH_NORM_EPSILON)).sqrt())
            .collect();
        let shift = vector("bias")?
            .iter()
            .zip(scale.iter().zip(mean))
            .map(|(beta, (scale, mean))| beta - scale * mean)
            .collect();
        Ok(Self { scale, shift })
    }

    /// Folds the normalisation into the layer before it, which has one bias per channel or per feature (C, H, W).
    fn fold<'a>(&self, weight: &'a [[u8; 4]], bias: &[f64]) -> Layer<'a> {
        let features = bias.len() / self.scale.len();
        let shift = bias.iter().enumerate().map(|(index, bias)| {
            let channel = index / features;
            (self.scale[channel] * bias + self.shift[channel]) as f32
        });
        Layer {
            weight,
            scale: narrowed(&self.scale),
            shift: shift.collect(),
        }
    }
}

fn narrowed(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}
