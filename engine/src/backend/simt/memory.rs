//! Access history of every location: last writer, last reader, and their times.

use std::ops::Range;

/// Threads of a warp.
pub(super) const WARP: usize = 32;

/// Locations are tracked in granules of this many bytes, the smallest value that a kernel stores.
pub(super) const GRANULE: usize = 2;

/// Time of an access: the number of intervals between barriers, over all blocks and launches.
pub(super) type Epoch = u32;

/// Never written.
const NEVER: Epoch = 0;
/// Written by the host.
const BY_HOST: Epoch = 1;
/// The first interval of the first launch.
pub(super) const FIRST_EPOCH: Epoch = 2;
/// Target of an asynchronous copy in flight.
const IN_FLIGHT: Epoch = Epoch::MAX;
/// Read by more than one thread.
const SEVERAL: u16 = u16::MAX;

/// The last accesses to one granule.
#[derive(Clone, Copy, Debug, Default)]
struct Granule {
    written: Epoch,
    read: Epoch,
    writer: u16,
    reader: u16,
}

/// Thread and time of an access.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// The thread within its block.
    pub(super) thread: u16,
    /// Current epoch.
    pub(super) epoch: Epoch,
    /// Epoch at which this block began.
    pub(super) block_began: Epoch,
    /// Epoch at which this launch began.
    pub(super) launch_began: Epoch,
}

impl Moment {
    /// Whether an access at `epoch` by `thread` is not ordered before this one.
    ///
    /// Accesses of other blocks of the launch are never ordered, except in per-block memory; within the block, a
    /// barrier lies between different epochs.
    fn is_unordered(&self, epoch: Epoch, thread: u16, per_block: bool) -> bool {
        let others_began = if per_block {
            self.block_began
        } else {
            self.launch_began
        };
        if epoch < others_began {
            return false;
        }
        epoch < self.block_began || (epoch == self.epoch && thread != self.thread)
    }
}

/// A range of memory that kernels may access, with its access history.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) start: u64,
    pub(super) end: u64,
    granules: Vec<Granule>,
    /// Shared memory starts unwritten in every block.
    pub(super) per_block: bool,
}

impl Region {
    /// Creates memory that was never written.
    pub(super) fn new(start: u64, bytes: usize, per_block: bool) -> Self {
        Self {
            start,
            end: start + bytes as u64,
            granules: vec![Granule::default(); bytes.div_ceil(GRANULE)],
            per_block,
        }
    }

    /// Whether `bytes` bytes from `address` on lie inside.
    pub(super) fn contains(&self, address: u64, bytes: u32) -> bool {
        address >= self.start && address + u64::from(bytes) <= self.end
    }

    /// Records a write by the host of `bytes`, which begin and end at granules.
    pub(super) fn written_by_host(&mut self, bytes: Range<usize>) {
        for granule in &mut self.granules[bytes.start / GRANULE..bytes.end.div_ceil(GRANULE)] {
            *granule = Granule {
                written: BY_HOST,
                ..Granule::default()
            };
        }
    }

    /// Records a read; returns the violated rule.
    pub(super) fn read(
        &mut self,
        address: u64,
        bytes: u32,
        now: &Moment,
    ) -> Result<(), &'static str> {
        let per_block = self.per_block;
        let oldest = if per_block { now.block_began } else { BY_HOST };
        for granule in self.granules(address, bytes) {
            if granule.written == IN_FLIGHT {
                return Err("reads the target of an asynchronous copy that is still in flight");
            }
            if granule.written == NEVER || granule.written < oldest {
                return Err("reads memory that was never written");
            }
            if now.is_unordered(granule.written, granule.writer, per_block) {
                return Err(
                    "reads a value that another thread writes, without a barrier between the accesses",
                );
            }
            granule.reader = if granule.read == now.epoch && granule.reader != now.thread {
                SEVERAL
            } else {
                now.thread
            };
            granule.read = now.epoch;
        }
        Ok(())
    }

    /// Records a write; returns the violated rule.
    pub(super) fn write(
        &mut self,
        address: u64,
        bytes: u32,
        now: &Moment,
    ) -> Result<(), &'static str> {
        self.prepare_write(address, bytes, now)?;
        self.finish_write(address, bytes, now);
        Ok(())
    }

    /// Records the start of an asynchronous copy to this range; returns the violated rule.
    pub(super) fn begin_copy(
        &mut self,
        address: u64,
        bytes: u32,
        now: &Moment,
    ) -> Result<(), &'static str> {
        self.prepare_write(address, bytes, now)?;
        for granule in self.granules(address, bytes) {
            granule.written = IN_FLIGHT;
        }
        Ok(())
    }

    /// Records the end of a write or copy: after the next barrier, other threads may read.
    pub(super) fn finish_write(&mut self, address: u64, bytes: u32, now: &Moment) {
        for granule in self.granules(address, bytes) {
            granule.written = now.epoch;
            granule.writer = now.thread;
        }
    }

    fn prepare_write(
        &mut self,
        address: u64,
        bytes: u32,
        now: &Moment,
    ) -> Result<(), &'static str> {
        let per_block = self.per_block;
        for granule in self.granules(address, bytes) {
            if granule.written == IN_FLIGHT {
                return Err("writes to the target of an asynchronous copy that is still in flight");
            }
            if now.is_unordered(granule.written, granule.writer, per_block) {
                return Err(
                    "writes a value that another thread writes, without a barrier between the accesses",
                );
            }
            if now.is_unordered(granule.read, granule.reader, per_block) {
                return Err(
                    "writes a value that another thread reads, without a barrier between the accesses",
                );
            }
        }
        Ok(())
    }

    /// Granules of an access that lies inside.
    fn granules(&mut self, address: u64, bytes: u32) -> &mut [Granule] {
        let first = (address - self.start) as usize / GRANULE;
        let last = ((address - self.start) as usize + bytes as usize).div_ceil(GRANULE);
        &mut self.granules[first..last]
    }
}
