//! State of a launch on the executor: memory, threads and their accesses, which it checks.

use std::collections::VecDeque;
use std::fmt;

use corosensei::Yielder;
use corosensei::stack::DefaultStack;

use super::mbarrier::{CHUNK, Pipelines};
use super::memory::{Epoch, FIRST_EPOCH, Moment, Region, WARP};
use super::products::{Products, Warpgroup};

/// Reason why a coroutine suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// Waits for its block, at a source line.
    Barrier(u32),
    /// Waits for its warp, in the warp operation of a source line.
    Exchange(u32),
    /// Waits for its warp, and for all but the given number of wgmma groups.
    Products(u32),
    /// Waits for an mbarrier to complete a phase of this parity.
    Phase { barrier: usize, parity: u32 },
    /// Has failed a check and is never resumed.
    Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Ready,
    Waiting(Pause),
    Done,
}

/// One asynchronous copy; if `valid` is 0, it writes zeros.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copy {
    pub(super) to: u64,
    pub(super) from: u64,
    pub(super) bytes: u32,
    pub(super) valid: u32,
}

/// State of one thread of the block.
#[derive(Debug)]
pub(super) struct Thread {
    pub(super) yielder: *const Yielder<(), Pause>,
    /// Bounds of its stack, whose accesses are not checked.
    pub(super) stack: (u64, u64),
    pub(super) open_copies: Vec<Copy>,
    pub(super) committed_copies: VecDeque<Vec<Copy>>,
    /// Values for its warp, in two alternating buffers: a lane may be one exchange ahead.
    pub(super) gift: [Vec<u8>; 2],
    pub(super) exchanges: usize,
    pub(super) products: Products,
}

/// The executor's state, on which the hooks of kernels operate.
pub(super) struct Executor {
    /// All buffers of the device, sorted by address.
    pub(super) regions: Vec<Region>,
    pub(super) epoch: Epoch,
    pub(super) launch_began: Epoch,
    pub(super) block_began: Epoch,
    pub(super) stacks: Vec<DefaultStack>,
    pub(super) threads: Vec<Thread>,
    pub(super) current: usize,
    /// Shared memory of the running module.
    pub(super) shared: Region,
    /// Bytes of dynamic shared memory that the launch provides.
    pub(super) dynamic_shared: u32,
    pub(super) pipelines: Pipelines,
    pub(super) warpgroups: Vec<Warpgroup>,
    pub(super) guards: Vec<(u64, u64)>,
    /// Index of the region of the last access, where the next access is likely.
    recent: usize,
    pub(super) fault: Option<String>,
    random: u64,
}

impl fmt::Debug for Executor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Executor({} buffers)", self.regions.len())
    }
}

impl Executor {
    /// Creates an executor that runs threads and blocks in an order that depends on `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            regions: Vec::new(),
            epoch: FIRST_EPOCH,
            launch_began: FIRST_EPOCH,
            block_began: FIRST_EPOCH,
            stacks: Vec::new(),
            threads: Vec::new(),
            current: 0,
            shared: Region::new(0, 0, true),
            dynamic_shared: 0,
            pipelines: Pipelines::default(),
            warpgroups: Vec::new(),
            guards: Vec::new(),
            recent: 0,
            fault: None,
            random: seed,
        }
    }

    pub(super) fn next_random(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea & Flood 2014).
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = (self.next_random() % (last as u64 + 1)) as usize;
            items.swap(last, other);
        }
    }

    pub(super) fn moment(&self) -> Moment {
        Moment {
            thread: self.current as u16,
            epoch: self.epoch,
            block_began: self.block_began,
            launch_began: self.launch_began,
        }
    }

    /// The region that contains an access; `None` for the thread's own stack.
    pub(super) fn region(
        &mut self,
        address: u64,
        bytes: u32,
    ) -> Result<Option<&mut Region>, &'static str> {
        let (low, high) = self.threads[self.current].stack;
        if address >= low && address < high {
            return Ok(None);
        }
        if self.shared.contains(address, bytes) {
            let end = address + u64::from(bytes);
            if self
                .guards
                .iter()
                .any(|&(from, to)| address < to && end > from)
            {
                return Err("is outside every shared array");
            }
            return Ok(Some(&mut self.shared));
        }
        let recent = self.regions.get(self.recent);
        if !recent.is_some_and(|region| region.contains(address, bytes)) {
            let after = self
                .regions
                .partition_point(|region| region.start <= address);
            self.recent = after.wrapping_sub(1);
        }
        match self.regions.get_mut(self.recent) {
            Some(region) if region.contains(address, bytes) => Ok(Some(region)),
            _ => Err("is outside every buffer"),
        }
    }

    pub(super) fn access(
        &mut self,
        address: u64,
        bytes: u32,
        writes: bool,
        aligned: bool,
    ) -> Result<(), String> {
        let now = self.moment();
        let verb = if writes { "write" } else { "read" };
        let describe = |problem: &str| format!("a {verb} of {bytes} bytes {problem}");
        if self.shared.contains(address, bytes) && self.pipelines.owns(address - self.shared.start)
        {
            let outcome = self.access_box(address, bytes, writes);
            return outcome.map_err(|problem| describe(&problem));
        }
        let Some(region) = self.region(address, bytes).map_err(describe)? else {
            return Ok(());
        };
        if aligned && !address.is_multiple_of(u64::from(bytes)) {
            return Err(describe("is not aligned to its size"));
        }
        let outcome = if writes {
            region.write(address, bytes, &now)
        } else {
            region.read(address, bytes, &now)
        };
        let offset = address - region.start;
        let place = if region.per_block {
            "shared memory"
        } else {
            "a buffer"
        };
        outcome.map_err(|problem| format!("at byte {offset} of {place}, it {problem}"))
    }

    pub(super) fn begin_copy(&mut self, copy: Copy) -> Result<(), String> {
        let now = self.moment();
        for (address, bytes) in [(copy.to, copy.bytes), (copy.from, copy.valid)] {
            if bytes > 0 && !address.is_multiple_of(u64::from(copy.bytes)) {
                return Err("an asynchronous copy is not aligned to its size".to_owned());
            }
        }
        if copy.valid > 0 {
            self.access(copy.from, copy.valid, false, true)?;
        }
        let region = self
            .region(copy.to, copy.bytes)
            .map_err(|problem| format!("an asynchronous copy {problem}"))?;
        let region = region.ok_or("an asynchronous copy writes to a thread's stack")?;
        region.begin_copy(copy.to, copy.bytes, &now)?;
        self.threads[self.current].open_copies.push(copy);
        Ok(())
    }

    /// Completes all but the last `pending` groups of copies.
    pub(super) fn wait_copies(&mut self, pending: usize) {
        let now = self.moment();
        while self.threads[self.current].committed_copies.len() > pending {
            let group = self.threads[self.current].committed_copies.pop_front();
            for copy in group.unwrap_or_default() {
                let (to, from) = (copy.to as *mut u8, copy.from as *const u8);
                // SAFETY: both ranges were found inside live memory when the copy began, and memory outlives a launch.
                unsafe {
                    to.write_bytes(0, copy.bytes as usize);
                    to.copy_from_nonoverlapping(from, copy.valid as usize);
                }
                if let Ok(Some(region)) = self.region(copy.to, copy.bytes) {
                    region.finish_write(copy.to, copy.bytes, &now);
                }
            }
        }
    }

    pub(super) fn offset(&self, address: u64) -> u64 {
        address - self.shared.start
    }

    /// Checks a plain access to shared memory that is the target of a box.
    fn access_box(&mut self, address: u64, bytes: u32, writes: bool) -> Result<(), String> {
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
}
