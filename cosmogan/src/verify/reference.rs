//! Reference sets: recorded inputs, outputs and training steps of another implementation, repeated by this engine.
//!
//! A set is a group of files with one prefix: `PREFIX_generator0.safetensors`, `PREFIX_discriminator0.safetensors`,
//! `PREFIX_data.npy`, `PREFIX_latents.npy`, `PREFIX_forward.safetensors`, `PREFIX_train.safetensors`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cosmogan_engine::backend::Backend;
use cosmogan_engine::{Shape, Tape};

use super::Check;
use crate::data::MapSet;
use crate::error::{Error, Result};
use crate::model::network::{Mode, Network, download};
use crate::model::preset::{Preset, TrainingConfig};
use crate::model::tensor_file::{CONFIG_KEY, TensorFile};
use crate::model::weights::{read_file, write_tensors};
use crate::model::{NetworkKind, Role, discriminator, sampler, weights};
use crate::train::step::StepOutcome;
use crate::train::{RealMaps, StepInputs, Trainer};

/// ‖computed − reference‖ / ‖reference‖ of a forward pass.
const FORWARD_LIMIT: f64 = 1e-5;
/// Relative error of the losses: of the first step, and of later steps.
const LOSS_LIMITS: [f64; 2] = [1e-5, 1e-4];
/// ‖computed − reference‖ / ‖reference‖ of a gradient.
const GRADIENT_LIMIT: f64 = 1e-4;
/// ‖computed − reference‖ / ‖reference‖ of running statistics.
const RUNNING_LIMIT: f64 = 1e-3;
/// A parameter is off if it differs by more than this fraction of its tensor's root-mean-square update.
const UPDATE_SHARE: f64 = 0.05;
/// Fraction of parameters that may be off. Adam divides by √v̂, so rounding in a gradient that is almost zero makes a
/// visible difference.
const PARAMETER_LIMIT: f64 = 1e-3;
/// Largest difference, in learning rates, of a bias that batch normalisation cancels.
///
/// Its gradient is exactly zero here, so it never changes. A reference that computes this gradient changes the bias by
/// rounding errors.
const INEFFECTIVE_BIAS_LIMIT: f64 = 1e-3;

/// One reference set.
#[derive(Debug)]
pub struct ReferenceSet {
    folder: PathBuf,
    prefix: String,
}

/// A named tensor computed by this engine, in the layout of the reference.
#[derive(Debug)]
struct Computed {
    name: String,
    dims: Vec<usize>,
    values: Vec<f32>,
}

/// Finds the reference sets in `folder`, ordered by prefix.
///
/// # Errors
/// If the folder cannot be read or contains no set.
pub fn find(folder: &Path) -> Result<Vec<ReferenceSet>> {
    let entries = fs::read_dir(folder)
        .map_err(|error| Error::file(folder, error, "give a folder with reference sets"))?;
    let mut prefixes: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| Some(name.strip_suffix("_generator0.safetensors")?.to_owned()))
        .collect();
    prefixes.sort();
    if prefixes.is_empty() {
        return Err(Error::file(
            folder,
            "contains no reference set",
            "give a folder with PREFIX_generator0.safetensors and the other files of its set",
        ));
    }
    Ok(prefixes
        .into_iter()
        .map(|prefix| ReferenceSet {
            folder: folder.to_owned(),
            prefix,
        })
        .collect())
}

impl fmt::Display for ReferenceSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.prefix)
    }
}

impl ReferenceSet {
    /// Repeats the set on `backend` and compares the results.
    ///
    /// The computed tensors are written to the folder `dump`, if given. Checks made before an error are kept.
    ///
    /// # Errors
    /// If a file is missing, damaged or does not fit the others, the device fails, or the dump cannot be written.
    pub fn check(
        &self,
        backend: &Arc<dyn Backend>,
        dump: Option<&Path>,
        checks: &mut Vec<Check>,
    ) -> Result<()> {
        let load = |part: &str, kind| weights::load(&self.file(part), kind, backend);
        let generator = load("generator0.safetensors", NetworkKind::Generator)?;
        let discriminator = load("discriminator0.safetensors", NetworkKind::Discriminator)?;

        let train_path = self.file("train.safetensors");
        let train_bytes = read_file(&train_path)?;
        let train = TensorFile::parse(&train_path, &train_bytes)?;
        let flips = flips(&train, &train_path)?;
        let [data, latents] = self.inputs(&generator, flips.len())?;

        let first = (&data[0][..], &latents[0][..]);
        let forward = self.forward(&generator, &discriminator, first, checks)?;
        let config = generator.config().to_json();
        if let Some(folder) = dump {
            self.dump(folder, "forward", &forward, &config)?;
        }

        let training: TrainingConfig = Preset::Paper.training();
        let mut trainer = Trainer::new(generator, discriminator, training.adam())?;
        let initial = parameters(&trainer)?;
        let mut dumped = Vec::new();
        for (index, &flip_labels) in flips.iter().enumerate() {
            let outcome = trainer.step(StepInputs {
                maps: RealMaps::Values(&data[index]),
                latents: &latents[index],
                flip_labels,
            })?;
            let step = index + 1;
            let mut computed = losses(step, &outcome);
            checks.push(self.losses_check(step, &train, &computed)?);
            let gradients = gradients(&trainer, step, &outcome)?;
            if train.get(&gradients[0].name)?.is_some() {
                checks.push(self.gradient_check(step, &train, &trainer, &gradients)?);
                computed.extend(gradients);
            }
            let state = state(&trainer, step)?;
            if train.get(&state[0].name)?.is_some() {
                checks.extend(self.state_checks(step, &train, &trainer, &initial, &state)?);
                computed.extend(state);
            }
            dumped.extend(computed);
        }
        if let Some(folder) = dump {
            self.dump(folder, "train", &dumped, &config)?;
        }
        Ok(())
    }

    fn file(&self, part: &str) -> PathBuf {
        self.folder.join(format!("{}_{part}", self.prefix))
    }

    /// Maps `[N, S, S]` and latents `[N, z_dim]` of every step.
    fn inputs(&self, generator: &Network, steps: usize) -> Result<[Vec<Vec<f32>>; 2]> {
        let config = generator.config();
        let path = self.file("data.npy");
        let data = MapSet::read(&path)?;
        let fits = data.height() == config.output_size && data.width() == config.output_size;
        if !fits || steps == 0 || !data.count().is_multiple_of(steps) {
            return Err(Error::file(
                &path,
                format!(
                    "{} maps of {}×{} cannot be divided into {steps} batches of {size}×{size}",
                    data.count(),
                    data.height(),
                    data.width(),
                    size = config.output_size
                ),
                "use the files of one reference set together",
            ));
        }
        let path = self.file("latents.npy");
        let latents = MapSet::read(&path)?;
        if latents.height() != data.count() || latents.width() != config.z_dim {
            return Err(Error::file(
                &path,
                format!(
                    "latents of shape ({}, {}) do not fit {} maps and z_dim {}",
                    latents.height(),
                    latents.width(),
                    data.count(),
                    config.z_dim
                ),
                "use the files of one reference set together",
            ));
        }
        let split = |values: &[f32]| {
            values
                .chunks_exact(values.len() / steps)
                .map(<[f32]>::to_vec)
                .collect()
        };
        Ok([split(data.values()), split(latents.values())])
    }

    fn forward(
        &self,
        generator: &Network,
        discriminator: &Network,
        (maps, latents): (&[f32], &[f32]),
        checks: &mut Vec<Check>,
    ) -> Result<Vec<Computed>> {
        let config = generator.config();
        let batch = latents.len() / config.z_dim;
        let image = vec![batch, config.c_dim, config.output_size, config.output_size];
        let mut all = Vec::new();
        for (mode, word) in [(Mode::Inference, "eval"), (Mode::Training, "train")] {
            all.push(Computed {
                name: format!("generator_{word}"),
                dims: image.clone(),
                values: sampler::run(generator, latents, mode)?,
            });
            all.push(Computed {
                name: format!("discriminator_{word}_logits"),
                dims: vec![batch, 1],
                values: logits(discriminator, maps, mode)?,
            });
        }
        let path = self.file("forward.safetensors");
        let bytes = read_file(&path)?;
        let reference = TensorFile::parse(&path, &bytes)?;
        for computed in &all {
            let expected = reference.expect(&computed.name, &computed.dims)?;
            checks.push(Check::new(
                format!("{}: forward, {}", self.prefix, computed.name),
                "",
                relative_error(&computed.values, &expected),
                FORWARD_LIMIT,
            ));
        }
        Ok(all)
    }

    fn losses_check(
        &self,
        step: usize,
        reference: &TensorFile<'_>,
        losses: &[Computed],
    ) -> Result<Check> {
        let worst = worst_of(reference, losses)?;
        Ok(Check::new(
            format!("{}: step {step}, losses", self.prefix),
            worst.1,
            worst.0,
            LOSS_LIMITS[usize::from(step > 1)],
        ))
    }

    fn gradient_check(
        &self,
        step: usize,
        reference: &TensorFile<'_>,
        trainer: &Trainer,
        gradients: &[Computed],
    ) -> Result<Check> {
        // Gradients that are exactly zero are excluded: no relative error of the reference's rounding is defined there.
        let computed = specifications(trainer)
            .filter(|(_, tensor)| tensor.role.is_parameter())
            .zip(gradients)
            .filter(|((_, tensor), _)| tensor.role.is_trained())
            .map(|(_, gradient)| gradient);
        let worst = worst_of(reference, computed)?;
        Ok(Check::new(
            format!("{}: step {step}, gradients", self.prefix),
            worst.1,
            worst.0,
            GRADIENT_LIMIT,
        ))
    }

    fn state_checks(
        &self,
        step: usize,
        reference: &TensorFile<'_>,
        trainer: &Trainer,
        initial: &[Vec<f32>],
        state: &[Computed],
    ) -> Result<Vec<Check>> {
        let subject = |what: &str| format!("{}: after step {step}, {what}", self.prefix);
        let roles = specifications(trainer).map(|(_, tensor)| tensor.role);
        let mut running = Vec::new();
        let (mut off, mut parameters, mut worst_tensor) = (0, 0, (0, String::new()));
        let mut bias = (0.0, String::new());
        for ((computed, role), initial) in state.iter().zip(roles).zip(initial) {
            let expected = reference.expect(&computed.name, &computed.dims)?;
            match role {
                Role::RunningMean | Role::RunningVariance => running.push(computed),
                Role::IneffectiveBias => {
                    let rate = trainer.adam.learning_rate;
                    let distance = largest_difference(&computed.values, &expected) / rate;
                    if distance >= bias.0 {
                        bias = (distance, computed.name.clone());
                    }
                }
                _ => {
                    let count = count_off(&computed.values, &expected, initial);
                    off += count;
                    parameters += expected.len();
                    if count > worst_tensor.0 {
                        worst_tensor = (count, format!("{count} in {}", computed.name));
                    }
                }
            }
        }
        let running = worst_of(reference, running)?;
        Ok(vec![
            Check::new(
                subject("running statistics"),
                running.1,
                running.0,
                RUNNING_LIMIT,
            ),
            Check::new(
                subject("share of parameters off by more than 5 % of the update"),
                worst_tensor.1,
                off as f64 / parameters as f64,
                PARAMETER_LIMIT,
            ),
            Check::new(
                subject("biases that batch normalisation cancels, in learning rates"),
                bias.1,
                bias.0,
                INEFFECTIVE_BIAS_LIMIT,
            ),
        ])
    }

    fn dump(&self, folder: &Path, part: &str, tensors: &[Computed], config: &str) -> Result<()> {
        let path = folder.join(format!("{}_{part}.safetensors", self.prefix));
        let tensors = tensors
            .iter()
            .map(|tensor| (tensor.name.clone(), tensor.dims.clone(), &tensor.values[..]));
        write_tensors(&path, tensors, (CONFIG_KEY, config.to_owned()))
    }
}

/// For each step, whether its labels were flipped.
fn flips(train: &TensorFile<'_>, path: &Path) -> Result<Vec<bool>> {
    let json = train.metadata("flips").unwrap_or_default();
    serde_json::from_str(json).map_err(|error| {
        Error::file(
            path,
            format!("metadata `flips` cannot be read: {error}"),
            "record it as a JSON array of booleans",
        )
    })
}

/// Computes the logits of maps.
fn logits(network: &Network, maps: &[f32], mode: Mode) -> Result<Vec<f32>> {
    let backend = network.backend();
    let config = network.config();
    let size = config.output_size;
    let batch = maps.len() / (size * size * config.c_dim);
    let tape = Tape::new(Arc::clone(backend));
    let shape = Shape::from([batch, size, size, config.c_dim]);
    let maps = tape.constant(backend.upload(shape, maps)?);
    let (logits, _) = discriminator::forward(&network.bind(&tape, mode), &maps, 1)?;
    Ok(backend.download(logits.value()?)?)
}

fn losses(step: usize, outcome: &StepOutcome) -> Vec<Computed> {
    [
        ("d_loss_real", outcome.report.d_loss_real),
        ("d_loss_fake", outcome.report.d_loss_fake),
        ("g_loss", outcome.report.g_loss),
    ]
    .into_iter()
    .map(|(name, value)| Computed {
        name: format!("step{step}.{name}"),
        dims: vec![1],
        values: vec![value],
    })
    .collect()
}

/// The tensors of both networks in order, each with its network.
fn specifications(
    trainer: &Trainer,
) -> impl Iterator<Item = (&Network, &crate::model::TensorSpecification)> {
    [trainer.generator(), trainer.discriminator()]
        .into_iter()
        .flat_map(|network| {
            network
                .specifications()
                .iter()
                .map(move |tensor| (network, tensor))
        })
}

/// Gradients of all parameters; those that are zero by construction are included as zeros.
fn gradients(trainer: &Trainer, step: usize, outcome: &StepOutcome) -> Result<Vec<Computed>> {
    let mut generator = outcome.generator_gradients.iter();
    let mut discriminator = outcome.discriminator_gradients.iter();
    specifications(trainer)
        .filter(|(_, tensor)| tensor.role.is_parameter())
        .map(|(network, tensor)| {
            let gradients = match network.kind() {
                NetworkKind::Generator => &mut generator,
                NetworkKind::Discriminator => &mut discriminator,
            };
            let values = if tensor.role.is_trained() {
                let gradient = gradients
                    .next()
                    .expect("a step returns one gradient per trained tensor");
                download(&**network.backend(), tensor, gradient)?
            } else {
                vec![0.0; tensor.len()]
            };
            Ok(Computed {
                name: format!("step{step}.grad.{}.{}", network.kind().name(), tensor.name),
                dims: tensor.file_dims.clone(),
                values,
            })
        })
        .collect()
}

/// All tensors of both networks, with the names that they have after `step`.
fn state(trainer: &Trainer, step: usize) -> Result<Vec<Computed>> {
    let mut all = Vec::new();
    for network in [trainer.generator(), trainer.discriminator()] {
        for (tensor, values) in network.download()? {
            all.push(Computed {
                name: format!("step{step}.{}.{}", network.kind().name(), tensor.name),
                dims: tensor.file_dims.clone(),
                values,
            });
        }
    }
    Ok(all)
}

fn parameters(trainer: &Trainer) -> Result<Vec<Vec<f32>>> {
    Ok(state(trainer, 0)?
        .into_iter()
        .map(|tensor| tensor.values)
        .collect())
}

/// The largest relative error among `tensors`, and the name of its tensor.
fn worst_of<'a>(
    reference: &TensorFile<'_>,
    tensors: impl IntoIterator<Item = &'a Computed>,
) -> Result<(f64, String)> {
    let mut worst = (0.0, String::new());
    for computed in tensors {
        let expected = reference.expect(&computed.name, &computed.dims)?;
        let error = relative_error(&computed.values, &expected);
        // NaN counts as the largest error.
        if error >= worst.0 || error.is_nan() {
            worst = (error, computed.name.clone());
        }
    }
    Ok(worst)
}

fn relative_error(computed: &[f32], expected: &[f64]) -> f64 {
    let mut difference = 0.0;
    let mut size = 0.0;
    for (&computed, &expected) in computed.iter().zip(expected) {
        difference += (f64::from(computed) - expected).powi(2);
        size += expected.powi(2);
    }
    if difference == 0.0 {
        return 0.0;
    }
    (difference / size).sqrt()
}

fn largest_difference(computed: &[f32], expected: &[f64]) -> f64 {
    computed
        .iter()
        .zip(expected)
        .map(|(&computed, &expected)| (f64::from(computed) - expected).abs())
        .fold(0.0, f64::max)
}

/// Number of parameters that differ by more than [`UPDATE_SHARE`] of the tensor's root-mean-square update.
fn count_off(computed: &[f32], expected: &[f64], initial: &[f32]) -> usize {
    let squares: f64 = expected
        .iter()
        .zip(initial)
        .map(|(&after, &before)| (after - f64::from(before)).powi(2))
        .sum();
    let update = (squares / expected.len() as f64).sqrt();
    computed
        .iter()
        .zip(expected)
        .filter(|(computed, expected)| {
            let difference = (f64::from(**computed) - **expected).abs();
            difference > UPDATE_SHARE * update || difference.is_nan()
        })
        .count()
}
