//! The inputs of each step: a function of the seed and the step only, so that a resumed run continues as if it had
//! never stopped.

use cosmogan_base::memory;
use rand::RngExt;
use rand::seq::SliceRandom;

use super::checkpoint::RunIdentity;
use crate::data::{Crop, MapFile};
use crate::error::{Error, Result};
use crate::model::latents::normals;
use crate::rng::{Purpose, stream};

/// Draws the inputs of every step of a run.
#[derive(Debug)]
pub struct Batches<'a> {
    maps: &'a MapFile,
    run: &'a RunIdentity,
    epoch: Option<u64>,
    /// Crop numbers of the epoch, shuffled.
    order: Vec<usize>,
}

/// The inputs of one step.
#[derive(Debug)]
pub struct Batch {
    /// Crops of the training maps, or whole maps if the run takes no crops.
    pub maps: Vec<Crop>,
    /// Latent vectors `[N, z_dim]`.
    pub latents: Vec<f32>,
    /// Whether the labels are flipped.
    pub flip_labels: bool,
}

impl<'a> Batches<'a> {
    /// Batches of `maps`, the training maps of `run`. The incomplete batch at the end of an epoch is dropped.
    ///
    /// # Errors
    /// If an epoch has fewer maps than one batch.
    pub fn new(maps: &'a MapFile, run: &'a RunIdentity) -> Result<Self> {
        let crops = maps.count() as f64 * run.crops.unwrap_or(1) as f64;
        memory::expect_room(
            "--crops",
            "the order of the crops of an epoch needs",
            crops * size_of::<usize>() as f64,
        )?;
        let batches = Self {
            maps,
            run,
            epoch: None,
            order: Vec::new(),
        };
        let (batch, count) = (run.training.batch, batches.per_epoch());
        if count < batch {
            return Err(Error::usage(
                "--batch",
                format!("a batch of {batch} needs more maps than the {count} in --data"),
                format!("give more maps, or --batch {} or less", count.max(2)),
            ));
        }
        Ok(batches)
    }

    /// Maps or crops in one pass over the data.
    fn per_epoch(&self) -> usize {
        self.maps.count() * self.run.crops.unwrap_or(1)
    }

    /// Steps in one pass over the data.
    pub fn steps_per_epoch(&self) -> u64 {
        (self.per_epoch() / self.run.training.batch) as u64
    }

    /// Reads crops `[N, S, S]`, rounded to the data precision.
    ///
    /// # Errors
    /// If the file cannot be read or is truncated.
    pub fn values(&self, maps: &[Crop]) -> Result<Vec<f32>> {
        let mut values = self.maps.read_crops(maps, self.run.model.output_size)?;
        self.run.data_precision.round(&mut values);
        Ok(values)
    }

    /// The inputs of step `step`, counted from 0.
    pub fn at(&mut self, step: u64) -> Batch {
        let RunIdentity {
            seed,
            model,
            training,
            ..
        } = *self.run;
        let epoch = step / self.steps_per_epoch();
        if self.epoch != Some(epoch) {
            self.order = (0..self.per_epoch()).collect();
            self.order
                .shuffle(&mut stream(seed, Purpose::Shuffle, epoch));
            self.epoch = Some(epoch);
        }
        let first = (step % self.steps_per_epoch()) as usize * training.batch;
        let chosen = &self.order[first..first + training.batch];
        let draw: f64 = stream(seed, Purpose::LabelFlip, step).random();
        let latents = training.batch * model.z_dim;
        Batch {
            maps: chosen
                .iter()
                .map(|&number| self.crop(epoch, number))
                .collect(),
            latents: normals(seed, Purpose::TrainingLatents, step, latents).collect(),
            flip_labels: draw < training.flip_labels,
        }
    }

    /// Crop `number` of an epoch. The crops of the first map are numbered first, then those of the second, and so on.
    fn crop(&self, epoch: u64, number: usize) -> Crop {
        let Some(of_each) = self.run.crops else {
            return Crop::first_of(number);
        };
        let size = self.run.model.output_size;
        let index = epoch * self.per_epoch() as u64 + number as u64;
        let mut rng = stream(self.run.seed, Purpose::TrainingCrops, index);
        Crop {
            map: number / of_each,
            row: rng.random_range(0..=self.maps.height() - size),
            column: rng.random_range(0..=self.maps.width() - size),
            mirrored: rng.random(),
        }
    }
}
