//! Batch statistics from slices: taken of an image, or left by the epilogue of the product that computes it.

use cosmogan_kernels::batch_norm;

use super::{Allocation, Arguments, LaunchBackend};
use crate::error::Result;

/// Per slice the number of its values, and per channel what `moments.cuh` says of them.
pub(super) struct Moments {
    slices: usize,
    channels: usize,
    counts: Box<dyn Allocation>,
    means: Box<dyn Allocation>,
    remainders: Box<dyn Allocation>,
    squares: Box<dyn Allocation>,
}

impl Moments {
    /// `struct Slices`.
    pub(super) fn argument(&self) -> Vec<u8> {
        let memory = [&self.counts, &self.means, &self.remainders, &self.squares];
        slices(memory.map(|memory| memory.address()))
    }
}

/// `struct Slices` of these addresses: counts, means, remainders, squares.
pub(super) fn slices(addresses: [u64; 4]) -> Vec<u8> {
    addresses.map(u64::to_ne_bytes).concat()
}

impl LaunchBackend {
    /// Memory for those of `slices` slices.
    pub(super) fn moments(&self, slices: usize, channels: usize) -> Result<Moments> {
        let scratch = |values: usize| self.scratch(4 * values);
        Ok(Moments {
            slices,
            channels,
            counts: scratch(slices)?,
            means: scratch(slices * channels)?,
            remainders: scratch(slices * channels)?,
            squares: scratch(slices * channels)?,
        })
    }

    /// Joins all slices: mean and biased variance per channel.
    pub(super) fn join(&self, mut moments: Moments, [mean, variance]: [u64; 2]) -> Result<()> {
        loop {
            let joining = batch_norm::combine(moments.slices, moments.channels);
            let joined = match joining.groups {
                1 => None,
                groups => Some(self.moments(groups, moments.channels)?),
            };
            let to = joined
                .as_ref()
                .map_or_else(|| slices([0, mean, 0, variance]), Moments::argument);
            let arguments = Arguments::new()
                .int(moments.channels)
                .int(moments.slices)
                .int(joining.group)
                .bytes(&moments.argument())
                .bytes(&to);
            self.launch(&joining.launch, &arguments)?;
            match joined {
                Some(joined) => moments = joined,
                None => return Ok(()),
            }
        }
    }
}
