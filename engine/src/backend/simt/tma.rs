//! TMA: mbarriers and copies of tensor boxes, as kernels use them.

use cosmogan_kernels::tensor_map::TensorMap;

use super::executor::Executor;
use super::mbarrier::{CHUNK, Mbarrier, Piece, ROW, ROW_CHUNKS, TensorBox, join, swizzled};
use super::memory::WARP;

const MOST_AXES: usize = 5;

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
