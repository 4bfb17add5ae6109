//! What is known about every location: who wrote it last, who read it last, and when.

use std::ops::Range;

/// Locations are watched in granules of this many bytes: the smallest value a kernel stores.
pub(super) const GRANULE: usize = 2;

/// When an access happened: the count of intervals between barriers, over all blocks and launches.
pub(super) type Epoch = u32;

/// Before anything was written.
const NEVER: Epoch = 0;
/// Written from outside any kernel.
const BY_HOST: Epoch = 1;
/// The first interval of the first launch.
pub(super) const FIRST_EPOCH: Epoch = 2;
/// An asynchronous copy is on its way.
const IN_FLIGHT: Epoch = Epoch::MAX;
/// More than one thread has read.
const SEVERAL: u16 = u16::MAX;

/// The last accesses to one granule.
#[derive(Clone, Copy, Debug, Default)]
struct Granule {
    written: Epoch,
    read: Epoch,
    writer: u16,
    reader: u16,
}

/// Who accesses, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// The thread within its block.
    pub(super) thread: u16,
    /// Now.
    pub(super) epoch: Epoch,
    /// When this block began.
    pub(super) block_began: Epoch,
    /// When this launch began.
    pub(super) launch_began: Epoch,
}

impl Moment {
    /// Whether nothing orders an access at `epoch` by `thread` before this one. Another block of the launch is never
    /// ordered, unless every block has memory of its own; within the block, a barrier lies between different epochs.
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

/// A stretch of memory that kernels may access, with what is known about it.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) start: u64,
    pub(super) end: u64,
    granules: Vec<Granule>,
    /// Shared memory begins anew, unwritten, with every block.
    pub(super) per_block: bool,
}

impl Region {
    /// Fresh memory, never written.
    pub(super) fn new(start: u64, bytes: usize, per_block: bool) -> Self {
        Self {
            start,
            end: start + bytes as u64,
            granules: vec![Granule::default(); bytes.div_ceil(GRANULE)],
            per_block,
        }
    }

    /// Whether all `bytes` from `address` on lie inside.
    pub(super) fn contains(&self, address: u64, bytes: u32) -> bool {
        address >= self.start && address + u64::from(bytes) <= self.end
    }

    /// Notes that `bytes`, which begin and end with granules, were written from outside.
    pub(super) fn written_by_host(&mut self, bytes: Range<usize>) {
        for granule in &mut self.granules[bytes.start / GRANULE..bytes.end.div_ceil(GRANULE)] {
            *granule = Granule {
                written: BY_HOST,
                ..Granule::default()
            };
        }
    }

    /// Notes a read; says what is wrong with it.
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
                return Err("reads what an asynchronous copy has yet to bring");
            }
            if granule.written == NEVER || granule.written < oldest {
                return Err("reads memory that was never written");
            }
            if now.is_unordered(granule.written, granule.writer, per_block) {
                return Err("reads what another thread writes, without a barrier between them");
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

    /// Notes a write; says what is wrong with it.
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

    /// Notes that an asynchronous copy to here has begun; says what is wrong with that.
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

    /// Notes that it has ended: from the next barrier on, others may read.
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
                return Err("writes where an asynchronous copy is under way");
            }
            if now.is_unordered(granule.written, granule.writer, per_block) {
                return Err("writes what another thread writes, without a barrier between them");
            }
            if now.is_unordered(granule.read, granule.reader, per_block) {
                return Err("writes what another thread reads, without a barrier between them");
            }
        }
        Ok(())
    }

    /// The granules of an access that lies inside.
    fn granules(&mut self, address: u64, bytes: u32) -> &mut [Granule] {
        let first = (address - self.start) as usize / GRANULE;
        let last = ((address - self.start) as usize + bytes as usize).div_ceil(GRANULE);
        &mut self.granules[first..last]
    }
}
