//! Batch statistics from slices.
//!
//! Slices are computed from a tensor or written by the epilogue of the GEMM that computes it.

use cosmogan_kernels::batch_norm;

use super::{Allocation, Arguments, LaunchBackend};
use crate::error::Result;

/// Slice statistics: the number of values per slice, and the moments of `moments.cuh` per slice and channel.
pub(super) struct Moments {
    /// Equal parts of the tensor, each with its own slices.
    parts: usize,
    /// Slices per part.
    slices: usize,
    channels: usize,
    counts: Box<dyn Allocation>,
    means: Box<dyn Allocation>,
    remainders: Box<dyn Allocation>,
    squares: Box<dyn Allocation>,
}

impl Moments {
    /// `struct Slices` of `moments.cuh`.
    pub(super) fn argument(&self) -> Vec<u8> {
        let memory = [&self.counts, &self.means, &self.remainders, &self.squares];
        slices(memory.map(|memory| memory.address()))
    }
}

/// `struct Slices` from the addresses of counts, means, remainders and squares.
pub(super) fn slices(addresses: [u64; 4]) -> Vec<u8> {
    addresses.map(u64::to_ne_bytes).concat()
}

/// Addresses for mean and variance of a result's channels, with one row per part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Statistics {
    pub(super) parts: usize,
    pub(super) to: [u64; 2],
}

/// The slices over which an epilogue takes statistics.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slicing {
    /// Number of images of the result.
    pub(super) images: usize,
    pub(super) count: usize,
    /// See [`EpilogueSlices::unit`](batch_norm::EpilogueSlices::unit).
    pub(super) unit: Option<usize>,
}

impl Slicing {
    /// Whether every slice belongs to one part, and the slices of a part are contiguous.
    pub(super) fn comes_in(self, parts: usize) -> bool {
        let whole = |unit| self.images.is_multiple_of(parts * unit);
        parts == 1 || self.unit.is_some_and(whole)
    }
}

impl LaunchBackend {
    /// Allocates slice statistics for `parts` parts of `slices` slices each.
    pub(super) fn moments(&self, [parts, slices, channels]: [usize; 3]) -> Result<Moments> {
        let scratch = |values: usize| self.scratch(4 * parts * slices * values);
        Ok(Moments {
            parts,
            slices,
            channels,
            counts: scratch(1)?,
            means: scratch(channels)?,
            remainders: scratch(channels)?,
            squares: scratch(channels)?,
        })
    }

    /// Mean and biased variance per channel of each part of x, in separate passes.
    pub(super) fn statistics(
        &self,
        x: u64,
        [parts, rows, channels]: [usize; 3],
        to: [u64; 2],
    ) -> Result<()> {
        let moments = self.moments([parts, batch_norm::slices(rows), channels])?;
        let arguments = Arguments::new()
            .int(rows)
            .int(channels)
            .address(x)
            .bytes(&moments.argument());
        let launch = batch_norm::statistics_slices([parts, rows, channels]);
        self.launch(&launch, &arguments)?;
        self.join(moments, to)
    }

    /// Combines all slices of each part to mean and biased variance per channel.
    pub(super) fn join(&self, mut moments: Moments, [mean, variance]: [u64; 2]) -> Result<()> {
        loop {
            let (parts, channels) = (moments.parts, moments.channels);
            let joining = batch_norm::combine([parts, moments.slices, channels]);
            let joined = match joining.groups {
                1 => None,
                groups => Some(self.moments([parts, groups, channels])?),
            };
            let to = joined
                .as_ref()
                .map_or_else(|| slices([0, mean, 0, variance]), Moments::argument);
            let arguments = Arguments::new()
                .int(channels)
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
