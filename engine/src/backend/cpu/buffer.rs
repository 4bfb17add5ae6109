//! Reused memory: the first touch of a fresh page costs more than most operators.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::simd::memory::Aligned;
use crate::tensor::Buffer;

/// Guard values on either side of checked memory.
const GUARD_LENGTH: usize = 16;
/// A bit pattern that no computation here produces: a NaN with a distinctive payload.
const GUARD_BITS: u32 = 0xffc0_d1e5;

/// Freed memory by length, for the next tensor of that length.
///
/// A training step requests the same lengths in the same order every time, so that after the first step nothing is
/// allocated. The pool holds at most the memory that was in use at one time.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<HashMap<usize, Vec<Aligned>>>);

impl Pool {
    fn take(&self, length: usize) -> Aligned {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.get_mut(&length)
            .and_then(Vec::pop)
            .unwrap_or_else(|| Aligned::zeroed(length))
    }

    fn give_back(&self, memory: Aligned) {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.entry(memory.len()).or_default().push(memory);
    }
}

/// CPU memory that returns to its pool when dropped.
#[derive(Debug)]
pub struct CpuBuffer {
    memory: Aligned,
    guard: usize,
    pool: Arc<Pool>,
    /// Whether written values are rounded to the operand format, like those of a packed tensor on a GPU.
    is_packed: bool,
}

impl CpuBuffer {
    pub(super) fn new(pool: &Arc<Pool>, length: usize, checked: bool) -> Self {
        let guard = if checked { GUARD_LENGTH } else { 0 };
        let mut memory = pool.take(length + 2 * guard);
        if checked {
            memory.fill(f32::from_bits(GUARD_BITS));
            memory[guard..guard + length].fill(f32::NAN);
        }
        Self {
            memory,
            guard,
            pool: Arc::clone(pool),
            is_packed: false,
        }
    }

    /// Marks the buffer as packed.
    pub(super) fn packed(mut self) -> Self {
        self.is_packed = true;
        self
    }

    pub(super) fn is_packed(&self) -> bool {
        self.is_packed
    }

    pub(super) fn values(&self) -> &[f32] {
        &self.memory[self.guard..self.memory.len() - self.guard]
    }

    pub(super) fn values_mut(&mut self) -> &mut [f32] {
        let end = self.memory.len() - self.guard;
        &mut self.memory[self.guard..end]
    }

    pub(super) fn guards_intact(&self) -> bool {
        let (before, rest) = self.memory.split_at(self.guard);
        let after = &rest[rest.len() - self.guard..];
        before
            .iter()
            .chain(after)
            .all(|value| value.to_bits() == GUARD_BITS)
    }
}

impl Buffer for CpuBuffer {
    fn len(&self) -> usize {
        self.memory.len() - 2 * self.guard
    }
}

impl Drop for CpuBuffer {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.memory));
    }
}
