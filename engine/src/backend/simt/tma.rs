//! mbarriers, and TMA copies of tensor boxes to shared memory.
//!
//! A box lands as late as possible: only when no thread can continue without it. A reader must have waited for its
//! mbarrier. Warps keep vector clocks, which mbarriers propagate, so that a box that lands where another warp may
//! still read is detected, regardless of the order in which threads ran.

use cosmogan_kernels::tensor_map::TensorMap;

use super::executor::{Executor, WARP};

/// Shared memory is tracked in chunks of this many bytes, the unit of the swizzle.
pub(super) const CHUNK: u64 = 16;
const ROW: u64 = 128;
const ROW_CHUNKS: u64 = ROW / CHUNK;
const MOST_AXES: usize = 5;

/// Per warp, the number of arrivals that the owner of the clock knows of.
type Clock = Vec<u32>;

#[derive(Debug)]
struct Mbarrier {
    address: u64,
    arrivals: u32,
    /// Arrivals and bytes that the current phase still waits for.
    pending: u32,
    bytes: i64,
    /// Number of completed phases.
    phase: u32,
    /// Thread that initialised it, and whether a fence has made it visible to TMA.
    owner: usize,
    fenced: bool,
    /// Knowledge of the threads that arrived in this phase, and in all completed phases.
    gathered: Clock,
    released: Clock,
}

/// Part of a box: bytes of device memory, and their row in the box.
#[derive(Clone, Copy, Debug)]
struct Piece {
    from: u64,
    bytes: u32,
    row: u64,
}

#[derive(Debug)]
struct TensorBox {
    to: u64,
    rows: u64,
    pieces: Vec<Piece>,
    barrier: usize,
    phase: u32,
    landed: bool,
    /// Time of each warp's last read; 0 for never.
    readers: Clock,
}

/// Asynchronous boxes of a block.
#[derive(Debug, Default)]
pub(super) struct Pipelines {
    barriers: Vec<Mbarrier>,
    boxes: Vec<TensorBox>,
    in_flight: Vec<usize>,
    /// For each chunk of shared memory, the number of the last box copied there, counted from 1.
    owners: Vec<u32>,
    clocks: Vec<Clock>,
    /// For each thread and mbarrier, the number of phases that the thread knows to be complete.
    heard: Vec<Vec<u32>>,
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

    fn barrier(&self, address: u64) -> Result<usize, String> {
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

    fn complete_phase(&mut self, barrier: usize) {
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

fn join(clock: &mut [u32], other: &[u32]) {
    for (mine, other) in clock.iter_mut().zip(other) {
        *mine = (*mine).max(*other);
    }
}

/// Address to which the 128-byte swizzle maps `offset` of shared memory.
pub(super) fn swizzled(offset: u64) -> u64 {
    offset ^ ((offset / ROW % ROW_CHUNKS) * CHUNK)
}

/// Encodes a tensor map for the executor.
///
/// Words: address; axes and bytes of an element; extents; boxes and steps.
pub(super) fn encode(map: &TensorMap, address: u64) -> [u64; 16] {
    let mut words = [0; 16];
    words[0] = address;
    words[1] = map.extents.len() as u64 | (map.operand.bytes() as u64) << 32;
    for (axis, extent) in map.extents.iter().enumerate() {
        words[2 + axis] = *extent as u64;
        words[2 + MOST_AXES + axis] = map.boxes[axis] as u64 | (map.steps[axis] as u64) << 32;
    }
    words
}

impl Executor {
    fn offset(&self, address: u64) -> u64 {
        address - self.shared.start
    }

    pub(super) fn initialise_mbarrier(
        &mut self,
        address: u64,
        arrivals: u32,
    ) -> Result<(), String> {
        self.access(address, 8, true, true)?;
        if self.pipelines.barrier(address).is_ok() {
            return Err("it initialises an mbarrier twice".to_owned());
        }
        let warps = self.pipelines.clocks.len();
        self.pipelines.barriers.push(Mbarrier {
            address,
            arrivals,
            pending: arrivals,
            bytes: 0,
            phase: 0,
            owner: self.current,
            fenced: false,
            gathered: vec![0; warps],
            released: vec![0; warps],
        });
        Ok(())
    }

    pub(super) fn fence_mbarriers(&mut self) {
        let owner = self.current;
        let mine = self
            .pipelines
            .barriers
            .iter_mut()
            .filter(|barrier| barrier.owner == owner);
        mine.for_each(|barrier| barrier.fenced = true);
    }

    /// Returns the index of the mbarrier that this thread is about to use.
    pub(super) fn mbarrier(&mut self, address: u64) -> Result<usize, String> {
        let barrier = self.pipelines.barrier(address)?;
        self.access(address, 8, false, true)?;
        Ok(barrier)
    }

    pub(super) fn arrive(&mut self, address: u64, bytes: u32) -> Result<(), String> {
        let index = self.mbarrier(address)?;
        let warp = self.current / WARP;
        let barrier = &mut self.pipelines.barriers[index];
        let Some(pending) = barrier.pending.checked_sub(1) else {
            return Err(
                "it arrives at an mbarrier whose phase expects no more arrivals".to_owned(),
            );
        };
        barrier.pending = pending;
        barrier.bytes += i64::from(bytes);
        join(&mut barrier.gathered, &self.pipelines.clocks[warp]);
        self.pipelines.clocks[warp][warp] += 1;
        self.pipelines.complete_phase(index);
        Ok(())
    }

    /// Starts a copy of the box at `at`.
    pub(super) fn begin_box(
        &mut self,
        to: u64,
        map: &[u64; 16],
        barrier: u64,
        at: &[i32],
    ) -> Result<(), String> {
        let barrier = self.mbarrier(barrier)?;
        if !self.pipelines.barriers[barrier].fenced {
            return Err("TMA uses an mbarrier before a fence makes it visible".to_owned());
        }
        let (rank, value) = (map[1] as u32 as usize, map[1] >> 32);
        if rank != at.len() {
            return Err(format!(
                "a map of {rank} axes is used with {} coordinates",
                at.len()
            ));
        }
        let (rows, pieces) = pieces(map, rank, value, at)?;
        for piece in &pieces {
            self.access(piece.from, piece.bytes, false, false)?;
        }
        self.occupy(to, rows)?;
        let phase = self.pipelines.barriers[barrier].phase;
        let warps = self.pipelines.clocks.len();
        self.pipelines.boxes.push(TensorBox {
            to,
            rows,
            pieces,
            barrier,
            phase,
            landed: false,
            readers: vec![0; warps],
        });
        let number = self.pipelines.boxes.len();
        self.pipelines.in_flight.push(number - 1);
        let first = (self.offset(to) / CHUNK) as usize;
        self.pipelines.owners[first..][..(rows * ROW_CHUNKS) as usize].fill(number as u32);
        Ok(())
    }

    /// Checks that `rows` rows at `to` may be written.
    ///
    /// No other box is there or in flight, and no warp may still read them.
    fn occupy(&mut self, to: u64, rows: u64) -> Result<(), String> {
        let now = self.moment();
        let bytes = (rows * ROW) as u32;
        if !self.shared.contains(to, bytes) {
            return Err("a box is copied outside shared memory".to_owned());
        }
        if !self.offset(to).is_multiple_of(ROW * ROW_CHUNKS) {
            return Err("the target of a box is not aligned to 1024 bytes".to_owned());
        }
        let inside = |barrier: &Mbarrier| (to..to + u64::from(bytes)).contains(&barrier.address);
        if self.pipelines.barriers.iter().any(inside) {
            return Err("a box is copied over an mbarrier".to_owned());
        }
        let region = self.region(to, bytes);
        let region = region.map_err(|problem| format!("a box {problem}"))?;
        if let Some(region) = region {
            region.begin_copy(to, bytes, &now)?;
            region.finish_write(to, bytes, &now);
        }
        let shared = self.shared.end - self.shared.start;
        let first = (self.offset(to) / CHUNK) as usize;
        let pipelines = &mut self.pipelines;
        pipelines.owners.resize(shared.div_ceil(CHUNK) as usize, 0);
        let mut last = 0;
        for &owner in &pipelines.owners[first..][..(rows * ROW_CHUNKS) as usize] {
            if owner == last || owner == 0 {
                continue;
            }
            last = owner;
            let earlier = &pipelines.boxes[owner as usize - 1];
            if !earlier.landed {
                return Err("a box is copied to the target of another box in flight".to_owned());
            }
            let known = &pipelines.clocks[self.current / WARP];
            let mut readers = earlier.readers.iter().zip(known).enumerate();
            if let Some((warp, _)) =
                readers.find(|&(warp, (read, known))| warp != self.current / WARP && read > known)
            {
                return Err(format!(
                    "a box is copied to memory that warp {warp} may still read, and no mbarrier orders the accesses"
                ));
            }
        }
        Ok(())
    }

    /// Checks a plain access to shared memory that is the target of a box.
    pub(super) fn access_box(
        &mut self,
        address: u64,
        bytes: u32,
        writes: bool,
    ) -> Result<(), String> {
        if writes {
            return Err("overwrites the target of a TMA copy, which is not supported".to_owned());
        }
        let (offset, thread) = (self.offset(address), self.current);
        let heard = std::mem::take(&mut self.pipelines.heard[thread]);
        let chunks = offset / CHUNK..(offset + u64::from(bytes)).div_ceil(CHUNK);
        let outcome = chunks
            .into_iter()
            .try_for_each(|chunk| self.pipelines.read(chunk * CHUNK, thread / WARP, &heard));
        self.pipelines.heard[thread] = heard;
        outcome.map_err(|problem| format!("at byte {offset} of shared memory {problem}"))
    }

    /// Completes one of the boxes in flight.
    pub(super) fn land_a_box(&mut self) -> bool {
        let count = self.pipelines.in_flight.len();
        if count == 0 {
            return false;
        }
        let chosen = (self.next_random() % count as u64) as usize;
        let index = self.pipelines.in_flight.swap_remove(chosen);
        let landing = &mut self.pipelines.boxes[index];
        landing.landed = true;
        let (start, offset) = (self.shared.start, landing.to - self.shared.start);
        let to = |at: u64| (start + swizzled(offset + at)) as *mut u8;
        let bytes = landing.rows * ROW;
        for chunk in 0..landing.rows * ROW_CHUNKS {
            // SAFETY: the box lies in shared memory (`occupy`), and the swizzle stays within 1024 bytes.
            unsafe { to(chunk * CHUNK).write_bytes(0, CHUNK as usize) };
        }
        for piece in &landing.pieces {
            for at in (0..u64::from(piece.bytes)).step_by(CHUNK as usize) {
                let length = CHUNK.min(u64::from(piece.bytes) - at) as usize;
                let from = (piece.from + at) as *const u8;
                // SAFETY: as above; `from` was found inside live memory when the copy began, which outlives a launch.
                unsafe { to(piece.row * ROW + at).copy_from_nonoverlapping(from, length) };
            }
        }
        let barrier = landing.barrier;
        self.pipelines.barriers[barrier].bytes -= bytes as i64;
        self.pipelines.complete_phase(barrier);
        true
    }
}

/// Number of rows of a box, and the pieces of it that lie inside the tensor.
fn pieces(
    map: &[u64; 16],
    rank: usize,
    value: u64,
    at: &[i32],
) -> Result<(u64, Vec<Piece>), String> {
    let extent = |axis: usize| map[2 + axis] as i64;
    let elements = |axis: usize| map[2 + MOST_AXES + axis] & 0xffff_ffff;
    let step = |axis: usize| (map[2 + MOST_AXES + axis] >> 32) as i64;
    let first = i64::from(at[0]);
    if first < 0 {
        return Err("a box begins before the first channel".to_owned());
    }
    let channels = (extent(0) - first).clamp(0, elements(0) as i64) as u64;
    let rows: u64 = (1..rank).map(elements).product();
    let mut pieces = Vec::new();
    for row in 0..rows {
        let (mut rest, mut from, mut stride, mut inside) = (row, first, extent(0), channels > 0);
        for (axis, &coordinate) in at.iter().enumerate().skip(1) {
            let position = i64::from(coordinate) + (rest % elements(axis)) as i64 * step(axis);
            rest /= elements(axis);
            inside &= (0..extent(axis)).contains(&position);
            from += position * stride;
            stride *= extent(axis);
        }
        if inside {
            pieces.push(Piece {
                from: map[0] + from as u64 * value,
                bytes: (channels * value) as u32,
                row,
            });
        }
    }
    Ok((rows, pieces))
}
