//! Pool of device memory.
//!
//! An allocation by the driver synchronises the device, and every training step allocates the same sizes. Freed blocks
//! are therefore kept and reused.

use std::collections::HashMap;

/// Freed blocks by size.
///
/// All work is queued in one stream, so a block may be reused before the work that used it has run.
#[derive(Debug, Default)]
pub(super) struct Pool {
    free: HashMap<usize, Vec<u64>>,
    /// Blocks freed during a recording. Launches of the same recording may reuse them; nothing else may, for as long as
    /// the recording exists.
    recorded: Option<HashMap<usize, Vec<u64>>>,
    /// Bytes in use.
    pub(super) used: usize,
    /// Bytes that are free for reuse.
    pub(super) cached: usize,
}

/// Blocks by size.
pub(super) type Blocks = HashMap<usize, Vec<u64>>;

/// Rounds a size up, so that blocks can be reused: to 512 bytes, or to 2 MiB above 1 MiB.
pub(super) fn rounded(bytes: usize) -> usize {
    let granule = if bytes > 1 << 20 { 2 << 20 } else { 512 };
    bytes.max(1).next_multiple_of(granule)
}

impl Pool {
    /// Takes a free block of exactly `size` bytes, if there is one.
    pub(super) fn take(&mut self, size: usize) -> Option<u64> {
        let recorded = self
            .recorded
            .as_mut()
            .and_then(|free| free.get_mut(&size)?.pop());
        let block = match recorded {
            Some(block) => Some(block),
            None => {
                let block = self.free.get_mut(&size)?.pop();
                self.cached -= if block.is_some() { size } else { 0 };
                block
            }
        }?;
        self.used += size;
        Some(block)
    }

    /// Records a new block from the driver.
    pub(super) fn added(&mut self, size: usize) {
        self.used += size;
    }

    /// Returns a block to the pool.
    pub(super) fn give_back(&mut self, size: usize, block: u64) {
        self.used -= size;
        match &mut self.recorded {
            Some(recorded) => recorded.entry(size).or_default().push(block),
            None => self.keep(size, block),
        }
    }

    fn keep(&mut self, size: usize, block: u64) {
        self.cached += size;
        self.free.entry(size).or_default().push(block);
    }

    /// Begins a recording: blocks freed from now on belong to it.
    pub(super) fn begin_recording(&mut self) {
        self.recorded = Some(Blocks::new());
    }

    /// Whether a recording is in progress.
    pub(super) fn is_recording(&self) -> bool {
        self.recorded.is_some()
    }

    /// Ends the recording; returns the blocks that it keeps.
    pub(super) fn end_recording(&mut self) -> Blocks {
        self.recorded.take().unwrap_or_default()
    }

    /// Returns the blocks of a recording to the pool.
    pub(super) fn release(&mut self, blocks: Blocks) {
        for (size, blocks) in blocks {
            for block in blocks {
                self.keep(size, block);
            }
        }
    }

    /// Removes all free blocks, to be freed by the driver.
    pub(super) fn drain(&mut self) -> Vec<u64> {
        self.cached = 0;
        std::mem::take(&mut self.free)
            .into_values()
            .flatten()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_by_size() {
        let mut pool = Pool::default();
        assert_eq!(rounded(1), 512);
        assert_eq!(rounded(513), 1024);
        assert_eq!(rounded((1 << 20) + 1), 2 << 20);
        assert_eq!(pool.take(512), None);
        pool.added(512);
        pool.give_back(512, 7);
        assert_eq!((pool.used, pool.cached), (0, 512));
        assert_eq!(pool.take(1024), None);
        assert_eq!(pool.take(512), Some(7));
        assert_eq!((pool.used, pool.cached), (512, 0));
    }

    #[test]
    fn what_a_recording_freed_serves_that_recording_alone() {
        let mut pool = Pool::default();
        pool.added(512);
        pool.begin_recording();
        pool.give_back(512, 7);
        assert_eq!(pool.take(512), Some(7));
        pool.give_back(512, 7);
        let kept = pool.end_recording();
        assert_eq!(pool.take(512), None);
        pool.release(kept);
        assert_eq!(pool.take(512), Some(7));
    }
}
