//! Which maps and latents each step sees: a function of the seed and the step alone, so that a resumed run goes on
//! as if it had never stopped.

use rand::RngExt;
use rand::seq::SliceRandom;
use rayon::prelude::*;

use crate::data::MapFile;
use crate::error::{Error, Result};
use crate::model::latents::normals;
use crate::rng::{Purpose, stream};

/// Draws the inputs of every step of a run.
#[derive(Debug)]
pub struct Batches<'a> {
    maps: &'a MapFile,
    batch: usize,
    seed: u64,
    z_dim: usize,
    flip_probability: f64,
    epoch: Option<u64>,
    order: Vec<usize>,
}

/// The inputs of one step.
#[derive(Debug)]
pub struct Batch {
    /// Which maps of the data set.
    pub maps: Vec<usize>,
    /// Latent vectors `[N, z_dim]`.
    pub latents: Vec<f32>,
    /// Whether the labels are flipped.
    pub flip_labels: bool,
}

impl<'a> Batches<'a> {
    /// Batches of `batch` maps; the maps left over at the end of an epoch wait for the next shuffle.
    ///
    /// # Errors
    /// Where there are fewer maps than one batch takes.
    pub fn new(
        maps: &'a MapFile,
        batch: usize,
        seed: u64,
        z_dim: usize,
        flip_probability: f64,
    ) -> Result<Self> {
        if maps.count() < batch {
            return Err(Error::usage(
                "--batch",
                format!(
                    "a batch of {batch} needs more than the {} maps of --data",
                    maps.count()
                ),
                format!("give more maps, or --batch {} or less", maps.count().max(2)),
            ));
        }
        Ok(Self {
            maps,
            batch,
            seed,
            z_dim,
            flip_probability,
            epoch: None,
            order: Vec::new(),
        })
    }

    /// Steps in one pass over the data.
    pub fn steps_per_epoch(&self) -> u64 {
        (self.maps.count() / self.batch) as u64
    }

    /// The values of maps by their numbers: `[N, S, S]`.
    ///
    /// # Errors
    /// Where the file cannot be read, or was cut short.
    pub fn values(&self, maps: &[usize]) -> Result<Vec<f32>> {
        let length = self.maps.height() * self.maps.width();
        let mut values = vec![0.0; maps.len() * length];
        values
            .par_chunks_exact_mut(length)
            .zip(maps)
            .try_for_each(|(values, &map)| self.maps.read(map, values))?;
        Ok(values)
    }

    /// The inputs of step `step`, counted from 0.
    pub fn at(&mut self, step: u64) -> Batch {
        let epoch = step / self.steps_per_epoch();
        if self.epoch != Some(epoch) {
            self.order = (0..self.maps.count()).collect();
            self.order
                .shuffle(&mut stream(self.seed, Purpose::Shuffle, epoch));
            self.epoch = Some(epoch);
        }
        let first = (step % self.steps_per_epoch()) as usize * self.batch;
        let maps = self.order[first..first + self.batch].to_vec();
        let draw: f64 = stream(self.seed, Purpose::LabelFlip, step).random();
        Batch {
            maps,
            latents: normals(
                self.seed,
                Purpose::TrainingLatents,
                step,
                self.batch * self.z_dim,
            )
            .collect(),
            flip_labels: draw < self.flip_probability,
        }
    }
}
