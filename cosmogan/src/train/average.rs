//! A generator averaged over its last steps.
//!
//! The two networks chase each other: every generator is off in some direction, and those of a thousand steps in many. Their
//! mean is off by less than any of them (Yazıcı et al. 2019, "The unusual effectiveness of averaging in GAN training").
//!
//! Two things are not averaged but measured. The *statistics* of batch normalisation are those of the averaged weights, which
//! are not the average of statistics (Izmailov et al. 2018, section 3.2). And the *mean of all pixels* is that of the training
//! maps: the discriminator normalises real and generated batches each by their own mean, so that it hardly sees an offset that
//! all maps of a batch have in common, and training leaves it to chance.

use cosmogan_engine::Tape;

use crate::error::Result;
use crate::model::generator;
use crate::model::latents::normals;
use crate::model::network::{Mode, Network};
use crate::model::sampler::generate;
use crate::rng::Purpose;

/// Batches by which statistics are measured.
const BATCHES: u64 = 16;

/// average ← decay·average + (1 − decay)·generator after every step, for all trained tensors.
#[derive(Debug)]
pub struct Average {
    /// Its running statistics are of no meaning.
    network: Network,
    decay: f64,
}

impl Average {
    /// An average that begins as `network`, and follows a generator with `decay`, which lies between 0 and 1.
    pub fn new(network: Network, decay: f64) -> Self {
        Self { network, decay }
    }

    /// The averaged tensors. What makes maps is [`measured`](Self::measured).
    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// Follows `generator` by one step.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn follow(&mut self, generator: &Network) -> Result<()> {
        let momentum = (1.0 - self.decay) as f32;
        let tensors = self.network.trained_mut().zip(generator.trained_tensors());
        for ((_, average), tensor) in tensors {
            let backend = generator.backend();
            backend.update_running(average, tensor, momentum, 1.0)?;
        }
        Ok(())
    }

    /// A generator of the averaged weights, with batch statistics and an offset of its own: those of batches of `batch`
    /// latents of `seed`, and such that the mean of all pixels is `mean`. Equal arguments give equal bits.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn measured(&self, batch: usize, seed: u64, mean: f64) -> Result<Network> {
        let latents: Vec<Vec<f32>> = (0..BATCHES)
            .map(|index| {
                let length = batch * self.network.config().z_dim;
                normals(seed, Purpose::AverageLatents, index, length).collect()
            })
            .collect();
        let mut network = self.network.duplicate(|_, values| values)?;
        for (index, latents) in latents.iter().enumerate() {
            let statistics = {
                let tape = Tape::new(network.backend().clone());
                let bound = network.bind(&tape, Mode::Training);
                let latents = tape.constant(bound.latents(latents)?);
                generator::forward(&bound, &latents)?.1
            };
            // 1, ½, ⅓ …: the mean of all batches so far.
            network.move_running(&statistics, 1.0 / (index + 1) as f32)?;
        }
        let mut sum = 0.0;
        let mut pixels = 0;
        for latents in &latents {
            let maps = generate(&network, latents)?;
            sum += maps.iter().map(|&value| f64::from(value)).sum::<f64>();
            pixels += maps.len();
        }
        // κ is small, so that tanh hands an offset on as it is.
        let offset = mean - sum / pixels as f64;
        let bias = format!("deconv{}.bias", network.config().layers);
        network.duplicate(|tensor, values| {
            if tensor.name != bias {
                return values;
            }
            let moved = values.iter().map(|&value| f64::from(value) + offset);
            moved.map(|value| value as f32).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cosmogan_engine::backend::Backend;
    use cosmogan_engine::backend::cpu::CpuBackend;

    use super::*;
    use crate::model::{NetworkKind, Preset};

    const BATCH: usize = 2;
    const SEED: u64 = 3;

    fn generator(seed: u64) -> Network {
        let backend: Arc<dyn Backend> = Arc::new(CpuBackend::new());
        Network::initial(NetworkKind::Generator, Preset::Tiny.model(), seed, &backend).unwrap()
    }

    fn trained(network: &Network) -> Vec<f32> {
        network
            .download()
            .unwrap()
            .into_iter()
            .filter(|(tensor, _)| tensor.role.is_trained())
            .flat_map(|(_, values)| values)
            .collect()
    }

    fn maps(network: &Network) -> Vec<f32> {
        let latents = |index| normals(SEED, Purpose::AverageLatents, index, BATCH * 64).collect();
        (0..BATCHES)
            .flat_map(|index| {
                generate(network, &Vec::from_iter::<Vec<f32>>(latents(index))).unwrap()
            })
            .collect()
    }

    #[test]
    fn an_average_decays_towards_the_generator_that_it_follows() {
        let (first, other) = (generator(1), generator(2));
        let mut average = Average::new(generator(1), 0.75);
        average.follow(&other).unwrap();
        average.follow(&other).unwrap();
        // 0.75² = 9/16 of the first are left; both factors and each sum round once per step.
        let pairs = trained(&first).into_iter().zip(trained(&other));
        for (found, (first, other)) in trained(average.network()).into_iter().zip(pairs) {
            let expected = f64::from(first) * 0.5625 + f64::from(other) * 0.4375;
            let terms = f64::from(first.abs() + other.abs());
            assert!(
                (f64::from(found) - expected).abs() <= 6.0 * terms * f64::from(f32::EPSILON) / 2.0
            );
        }
    }

    #[test]
    fn a_measured_average_has_the_mean_asked_for_and_statistics_of_its_own() {
        // Weak weights make small values, for which tanh is almost a line.
        let weak = generator(1).duplicate(|tensor, values| match tensor.name.as_str() {
            "deconv3.weight" => values.iter().map(|value| value / 16.0).collect(),
            _ => values,
        });
        let average = Average::new(weak.unwrap(), 0.9);
        let measured = |mean| average.measured(BATCH, SEED, mean).unwrap();
        for target in [0.0, 0.01] {
            let network = measured(target);
            let maps = maps(&network);
            let mean = maps.iter().map(|&value| f64::from(value)).sum::<f64>() / maps.len() as f64;
            let largest = maps
                .iter()
                .fold(0.0_f32, |most, value| most.max(value.abs()));
            let largest = f64::from(largest);
            // The bias began as zero, so that it is the offset. tanh falls short of a line through zero by at most the
            // square of the largest value; and the maps themselves are rounded, each to 24 bits.
            let values = network.download().unwrap();
            let bias = values
                .iter()
                .find(|(tensor, _)| tensor.name == "deconv3.bias");
            let offset = f64::from(bias.unwrap().1[0].abs());
            let bound = offset * largest * largest + largest * f64::from(f32::EPSILON);
            assert!((mean - target).abs() <= bound, "{mean} for {target}");
            assert!(
                offset > 10.0 * bound,
                "an offset of {offset} proves nothing"
            );
        }
        // Statistics are means over all batches: every channel has them, and they are not the initial 0 and 1.
        let network = measured(0.0);
        for (tensor, values) in network.download().unwrap() {
            if tensor.name.ends_with("running_mean") {
                assert!(values.iter().all(|&value| value != 0.0), "{}", tensor.name);
            }
        }
        assert_eq!(maps(&measured(0.01)), maps(&measured(0.01)));
    }
}
