//! Batch statistics from slices: taken of an image, or left by the epilogue of the product that computes it.

use cosmogan_kernels::{Launch, batch_norm};

use super::{Allocation, Arguments, LaunchBackend};
use crate::error::Result;

/// Per slice the number of its values, and per channel what `moments.cuh` says of them.
struct Moments {
    /// Equal parts of the image, each with slices of its own.
    parts: usize,
    /// Slices of a part.
    slices: usize,
    channels: usize,
    counts: Box<dyn Allocation>,
    means: Box<dyn Allocation>,
    remainders: Box<dyn Allocation>,
    squares: Box<dyn Allocation>,
}

impl Moments {
    /// `struct Slices`.
    fn argument(&self) -> Vec<u8> {
        let memory = [&self.counts, &self.means, &self.remainders, &self.squares];
        slices(memory.map(|memory| memory.address()))
    }
}

/// `struct Slices` of these addresses: counts, means, remainders, squares.
fn slices(addresses: [u64; 4]) -> Vec<u8> {
    addresses.map(u64::to_ne_bytes).concat()
}

/// The result of a product, and the slices in which its epilogue takes statistics.
pub(super) struct Sliced {
    pub(super) address: u64,
    pub(super) images: usize,
    pub(super) elements: usize,
    pub(super) channels: usize,
    pub(super) slices: usize,
    /// See [`batch_norm::EpilogueSlices::unit`].
    pub(super) unit: Option<usize>,
}

impl Sliced {
    /// Whether every slice is of one part alone, and the slices of a part follow one another.
    fn comes_in(&self, statistics: &Statistics) -> bool {
        let whole = |unit| self.images.is_multiple_of(statistics.parts * unit);
        statistics.parts == 1 || self.unit.is_some_and(whole)
    }
}

/// Where mean and variance of a result's channels go, those of each of several equal parts of its images.
#[derive(Clone, Copy, Debug)]
pub(super) struct Statistics {
    pub(super) parts: usize,
    pub(super) to: [u64; 2],
}

impl LaunchBackend {
    /// Memory for those of `parts` parts of `slices` slices each.
    fn moments(&self, [parts, slices, channels]: [usize; 3]) -> Result<Moments> {
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

    /// Mean and biased variance per channel of each part of x, in passes of their own.
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

    /// Joins all slices of each part: mean and biased variance per channel.
    fn join(&self, mut moments: Moments, [mean, variance]: [u64; 2]) -> Result<()> {
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

    /// Launches a product that leaves statistics of its result, if they are wanted and its slices are each of one part, and
    /// joins them. `complete` adds the arguments behind where those go.
    pub(super) fn with_statistics(
        &self,
        launch: Launch,
        arguments: Arguments,
        result: Sliced,
        statistics: Option<Statistics>,
        complete: impl FnOnce(Arguments) -> Arguments,
    ) -> Result<()> {
        let (elements, channels) = (result.elements, result.channels);
        if let Some(Statistics { parts, to }) = statistics.filter(|wanted| result.comes_in(wanted))
        {
            let moments = self.moments([parts, result.slices / parts, channels])?;
            let launch = batch_norm::with_slices(launch, elements, result.slices, channels);
            let arguments = complete(arguments.bytes(&moments.argument()));
            self.launch(&launch, &arguments)?;
            return self.join(moments, to);
        }
        let arguments = complete(arguments.bytes(&slices([0; 4])));
        self.launch(&launch, &arguments)?;
        match statistics {
            Some(Statistics { parts, to }) => {
                let rows = elements / channels / parts;
                self.statistics(result.address, [parts, rows, channels], to)
            }
            None => Ok(()),
        }
    }
}
