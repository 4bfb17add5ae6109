//! Device memory that is used again: allocating stops the device, and a training step asks for the same sizes each time.

use std::collections::HashMap;

/// Freed blocks by size. Work is queued in one order, so that memory may be handed on before the work that used it has
/// run.
#[derive(Debug, Default)]
pub(super) struct Pool {
    free: HashMap<usize, Vec<u64>>,
    /// What was freed while launches are recorded. It may be used again by launches of the same recording, and by
    /// nothing else as long as the recording lives.
    recorded: Option<HashMap<usize, Vec<u64>>>,
    /// Bytes handed out, and bytes that wait.
    pub(super) used: usize,
    pub(super) cached: usize,
}

/// Blocks by size.
pub(super) type Blocks = HashMap<usize, Vec<u64>>;

/// Sizes are rounded up, so that blocks fit again: to 512 bytes, and to 2 MiB above 1 MiB.
pub(super) fn rounded(bytes: usize) -> usize {
    let granule = if bytes > 1 << 20 { 2 << 20 } else { 512 };
    bytes.max(1).next_multiple_of(granule)
}

impl Pool {
    /// A block of exactly `size` bytes that was freed before.
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

    /// Notes a block that the driver gave.
    pub(super) fn added(&mut self, size: usize) {
        self.used += size;
    }

    /// Takes a block back.
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

    /// From now on, what is freed belongs to a recording.
    pub(super) fn begin_recording(&mut self) {
        self.recorded = Some(Blocks::new());
    }

    /// Whether a recording is under way.
    pub(super) fn is_recording(&self) -> bool {
        self.recorded.is_some()
    }

    /// What the recording has to keep.
    pub(super) fn end_recording(&mut self) -> Blocks {
        self.recorded.take().unwrap_or_default()
    }

    /// Takes back what a recording kept.
    pub(super) fn release(&mut self, blocks: Blocks) {
        for (size, blocks) in blocks {
            for block in blocks {
                self.keep(size, block);
            }
        }
    }

    /// Everything that waits, for the driver to take back.
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
