//! Exponential moving average of the generator's weights.
//!
//! In GAN training the weights of the generator oscillate around a good solution; their average over many steps is
//! closer to it (Yazıcı et al. 2019, "The unusual effectiveness of averaging in GAN training").
//!
//! Two quantities are measured instead of averaged:
//!
//! * The running statistics of batch normalisation are those of the averaged weights, which are not the average of the
//!   statistics (Izmailov et al. 2018, section 3.2).
//! * The mean of all pixels is set to that of the training maps. The discriminator normalises real and generated batches
//!   each by its own mean, so that it hardly detects an offset common to all maps of a batch, and training leaves that
//!   offset to chance.

use cosmogan_engine::Tape;
use cosmogan_engine::backend::Op;

use crate::error::Result;
use crate::model::generator;
use crate::model::latents::normals;
use crate::model::network::{Mode, Network};
use crate::model::sampler::generate;
use crate::rng::Purpose;

/// Batches used to measure statistics.
const BATCHES: u64 = 16;

/// Moving average of all trained tensors: average ← decay·average + (1 − decay)·generator after every step.
#[derive(Debug)]
pub struct Average {
    /// The averaged tensors. Its running statistics are meaningless.
    network: Network,
    decay: f64,
}

impl Average {
    /// An average that starts as `network`, with `decay` between 0 and 1.
    pub fn new(network: Network, decay: f64) -> Self {
        Self { network, decay }
    }

    /// The averaged tensors. Maps are generated with [`measured`](Self::measured) instead.
    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// Updates the average with the weights of `generator` after one step.
    ///
    /// # Errors
    /// If the device fails.
    pub fn follow(&mut self, generator: &Network) -> Result<()> {
        let momentum = (1.0 - self.decay) as f32;
        let tensors = self.network.trained_mut().zip(generator.trained_tensors());
        for ((_, average), tensor) in tensors {
            let backend = generator.backend();
            backend.run(Op::UpdateRunning {
                running: average,
                batch: tensor,
                momentum,
                factor: 1.0,
            })?;
        }
        Ok(())
    }

    /// A generator with the averaged weights and measured running statistics.
    ///
    /// The statistics are those of batches of `batch` latents drawn from `seed`. The bias of the last layer is shifted
    /// so that the mean of all pixels becomes `mean`. Equal arguments give equal bits.
    ///
    /// # Errors
    /// If the device fails.
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
            // Momentum 1, ½, ⅓, …: the running value is the mean of all batches so far.
            network.move_running(&statistics, 1.0 / (index + 1) as f32)?;
        }
        let mut sum = 0.0;
        let mut pixels = 0;
        for latents in &latents {
            let maps = generate(&network, latents)?;
            sum += maps.iter().map(|&value| f64::from(value)).sum::<f64>();
            pixels += maps.len();
        }
        // κ is small, where tanh is linear: an offset of the bias is an offset of the maps.
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
        // 0.75² = 9/16 of the first remain; both factors and each sum round once per step.
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
            // The bias started at zero, so that it equals the offset. For values up to `largest`, the slope of tanh
            // deviates from 1 by at most largest²; and the maps are rounded to 24 bits.
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
        // All running statistics were measured: none is still at its initial value.
        let network = measured(0.0);
        for (tensor, values) in network.download().unwrap() {
            if tensor.name.ends_with("running_mean") {
                assert!(values.iter().all(|&value| value != 0.0), "{}", tensor.name);
            }
        }
        assert_eq!(maps(&measured(0.01)), maps(&measured(0.01)));
    }
}
