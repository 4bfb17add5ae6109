//! State of mbarriers, and of the tensor boxes that TMA copies to shared memory.
//!
//! A box lands as late as possible: only when no thread can continue without it. A reader must have waited for its
//! mbarrier. Warps keep vector clocks, which mbarriers propagate, so that a box that lands where another warp may
//! still read is detected, regardless of the order in which threads ran.

use super::memory::WARP;

/// Shared memory is tracked in chunks of this many bytes, the unit of the swizzle.
pub(super) const CHUNK: u64 = 16;
pub(super) const ROW: u64 = 128;
pub(super) const ROW_CHUNKS: u64 = ROW / CHUNK;

/// Per warp, the number of arrivals that the owner of the clock knows of.
type Clock = Vec<u32>;

#[derive(Debug)]
pub(super) struct Mbarrier {
    pub(super) address: u64,
    pub(super) arrivals: u32,
    /// Arrivals and bytes that the current phase still waits for.
    pub(super) pending: u32,
    pub(super) bytes: i64,
    /// Number of completed phases.
    pub(super) phase: u32,
    /// Thread that initialised it, and whether a fence has made it visible to TMA.
    pub(super) owner: usize,
    pub(super) fenced: bool,
    /// Knowledge of the threads that arrived in this phase, and in all completed phases.
    pub(super) gathered: Clock,
    pub(super) released: Clock,
}

/// Part of a box: bytes of device memory, and their row in the box.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) from: u64,
    pub(super) bytes: u32,
    pub(super) row: u64,
}

#[derive(Debug)]
pub(super) struct TensorBox {
    pub(super) to: u64,
    pub(super) rows: u64,
    pub(super) pieces: Vec<Piece>,
    pub(super) barrier: usize,
    pub(super) phase: u32,
    pub(super) landed: bool,
    /// Time of each warp's last read; 0 for never.
    pub(super) readers: Clock,
}

/// Asynchronous boxes of a block.
#[derive(Debug, Default)]
pub(super) struct Pipelines {
    pub(super) barriers: Vec<Mbarrier>,
    pub(super) boxes: Vec<TensorBox>,
    pub(super) in_flight: Vec<usize>,
    /// For each chunk of shared memory, the number of the last box copied there, counted from 1.
    pub(super) owners: Vec<u32>,
    pub(super) clocks: Vec<Clock>,
    /// For each thread and mbarrier, the number of phases that the thread knows to be complete.
    pub(super) heard: Vec<Vec<u32>>,
}

impl Pipelines {
    pub(super) fn new(threads: usize) -> Self {
        let warps = threads.div_ceil(WARP);
        Self {
            clocks: vec![vec![1; warps]; warps],
            heard: vec![Vec::new(); threads],
            ..Self::default()
        }
    }

    pub(super) fn barrier(&self, address: u64) -> Result<usize, String> {
        let found = self
            .barriers
            .iter()
            .position(|barrier| barrier.address == address);
        found.ok_or_else(|| "it uses an mbarrier that is not initialised".to_owned())
    }

    /// Whether the phase of this parity is complete.
    pub(super) fn is_over(&self, barrier: usize, parity: u32) -> bool {
        self.barriers[barrier].phase % 2 != parity
    }

    /// Updates the knowledge of `thread` after it waited.
    pub(super) fn acquire(&mut self, thread: usize, barrier: usize) {
        join(
            &mut self.clocks[thread / WARP],
            &self.barriers[barrier].released,
        );
        let heard = &mut self.heard[thread];
        if heard.len() <= barrier {
            heard.resize(barrier + 1, 0);
        }
        heard[barrier] = self.barriers[barrier].phase;
    }

    /// Joins the knowledge of all threads at a barrier of the block.
    pub(super) fn join_all(&mut self) {
        if self.barriers.is_empty() {
            return;
        }
        let mut clock = vec![0; self.clocks.len()];
        self.clocks.iter().for_each(|other| join(&mut clock, other));
        self.clocks
            .iter_mut()
            .for_each(|other| other.clone_from(&clock));
        let mut heard = vec![0; self.barriers.len()];
        self.heard.iter().for_each(|other| join(&mut heard, other));
        self.heard
            .iter_mut()
            .for_each(|other| other.clone_from(&heard));
        // Reads after this point are not known to the other warps.
        for (warp, clock) in self.clocks.iter_mut().enumerate() {
            clock[warp] += 1;
        }
    }

    pub(super) fn complete_phase(&mut self, barrier: usize) {
        let barrier = &mut self.barriers[barrier];
        if barrier.pending > 0 || barrier.bytes != 0 {
            return;
        }
        barrier.phase += 1;
        barrier.pending = barrier.arrivals;
        join(&mut barrier.released, &barrier.gathered);
        barrier.gathered.fill(0);
    }

    /// Whether a box was or will be copied to the chunk at this offset of shared memory.
    pub(super) fn owns(&self, offset: u64) -> bool {
        self.owners
            .get((offset / CHUNK) as usize)
            .is_some_and(|&owner| owner > 0)
    }

    /// Phases that every lane of a warp knows to be complete.
    pub(super) fn heard_by_warp(&self, warp: usize) -> Vec<u32> {
        let lanes = self.heard.iter().skip(warp * WARP).take(WARP);
        let known = |lane: &Vec<u32>, barrier: usize| lane.get(barrier).copied().unwrap_or(0);
        (0..self.barriers.len())
            .map(|barrier| {
                lanes
                    .clone()
                    .map(|lane| known(lane, barrier))
                    .min()
                    .unwrap_or(0)
            })
            .collect()
    }

    /// Checks a read of the chunk at this offset by a reader that knows of the phases `heard`.
    pub(super) fn read(
        &mut self,
        offset: u64,
        warp: usize,
        heard: &[u32],
    ) -> Result<(), &'static str> {
        let owner = self
            .owners
            .get((offset / CHUNK) as usize)
            .copied()
            .unwrap_or(0);
        let Some(source) = (owner as usize)
            .checked_sub(1)
            .map(|index| &mut self.boxes[index])
        else {
            return Err("reads shared memory that no TMA copy has written");
        };
        if !source.landed {
            return Err("reads the target of a TMA copy that is still in flight");
        }
        if heard
            .get(source.barrier)
            .is_none_or(|&phases| phases <= source.phase)
        {
            return Err("reads the target of a TMA copy without waiting for its mbarrier");
        }
        source.readers[warp] = self.clocks[warp][warp];
        Ok(())
    }

    /// Whether a box is still in flight.
    pub(super) fn is_busy(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Describes the phase for which `barrier` waits.
    pub(super) fn describe(&self, barrier: usize, parity: u32) -> String {
        let found = &self.barriers[barrier];
        format!(
            "phase parity {parity} of mbarrier {barrier} ({} phases complete, {} arrivals and {} bytes missing)",
            found.phase, found.pending, found.bytes
        )
    }
}

pub(super) fn join(clock: &mut [u32], other: &[u32]) {
    for (mine, other) in clock.iter_mut().zip(other) {
        *mine = (*mine).max(*other);
    }
}

/// Address to which the 128-byte swizzle maps `offset` of shared memory.
pub(super) fn swizzled(offset: u64) -> u64 {
    offset ^ ((offset / ROW % ROW_CHUNKS) * CHUNK)
}
