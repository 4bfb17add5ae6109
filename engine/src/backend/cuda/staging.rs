//! Page-locked memory, through which values travel at the full speed of the bus while the processor copies the next.

use std::slice;

use cudarc::driver::{result, sys};

/// Values in one of the two halves.
const VALUES: usize = 1 << 20;

/// Two page-locked pieces of memory, made at first use.
#[derive(Debug, Default)]
pub(super) struct Staging {
    halves: Option<[Half; 2]>,
}

#[derive(Debug)]
struct Half {
    memory: *mut f32,
    /// When the device has done with it.
    free: sys::CUevent,
}

// SAFETY: the memory belongs to this value alone, which is used under a lock.
unsafe impl Send for Staging {}

type Outcome<T> = Result<T, result::DriverError>;

impl Staging {
    /// Queues a copy of `values` to device memory; returns when `values` may change.
    pub(super) fn upload(&mut self, to: u64, values: &[f32], stream: sys::CUstream) -> Outcome<()> {
        let halves = self.halves()?;
        for (index, piece) in values.chunks(VALUES).enumerate() {
            let half = &halves[index % 2];
            let at = to + 4 * (index * VALUES) as u64;
            // SAFETY: `piece` fits a half, which the device has done with once its event is reached; the destination
            // was allocated with room for all values.
            unsafe {
                result::event::synchronize(half.free)?;
                let staged = slice::from_raw_parts_mut(half.memory, piece.len());
                staged.copy_from_slice(piece);
                result::memcpy_htod_async(at, staged, stream)?;
                result::event::record(half.free, stream)?;
            }
        }
        Ok(())
    }

    /// Copies device memory to `values`, after all work queued before.
    pub(super) fn download(
        &mut self,
        from: u64,
        values: &mut [f32],
        stream: sys::CUstream,
    ) -> Outcome<()> {
        let halves = self.halves()?;
        let mut pending: Option<(&mut [f32], &Half)> = None;
        for (index, piece) in values.chunks_mut(VALUES).enumerate() {
            let half = &halves[index % 2];
            let at = from + 4 * (index * VALUES) as u64;
            // SAFETY: as in `upload`; the half was copied out before it is written again.
            unsafe {
                let staged = slice::from_raw_parts_mut(half.memory, piece.len());
                result::memcpy_dtoh_async(staged, at, stream)?;
                result::event::record(half.free, stream)?;
            }
            // While this piece travels, the one before is copied out.
            if let Some(before) = pending.replace((piece, half)) {
                take(before)?;
            }
        }
        pending.map_or(Ok(()), take)
    }

    /// Gives the memory back.
    ///
    /// # Safety
    /// No copy may be under way.
    pub(super) unsafe fn free(&mut self) {
        for half in self.halves.take().into_iter().flatten() {
            // SAFETY: both were made by `Half::new`, and are not used again.
            unsafe {
                let _ = result::free_host(half.memory.cast());
                let _ = result::event::destroy(half.free);
            }
        }
    }

    fn halves(&mut self) -> Outcome<&[Half; 2]> {
        if self.halves.is_none() {
            self.halves = Some([Half::new()?, Half::new()?]);
        }
        Ok(self.halves.as_ref().expect("was just filled"))
    }
}

impl Half {
    fn new() -> Outcome<Self> {
        let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING;
        // SAFETY: the memory is freed once, by `Staging::free`.
        let memory = unsafe { result::malloc_host(4 * VALUES, 0) }?;
        Ok(Self {
            memory: memory.cast(),
            free: result::event::create(flags)?,
        })
    }
}

fn take((values, half): (&mut [f32], &Half)) -> Outcome<()> {
    // SAFETY: the event is behind the copy, so that the memory holds what was asked for.
    unsafe {
        result::event::synchronize(half.free)?;
        values.copy_from_slice(slice::from_raw_parts(half.memory, values.len()));
    }
    Ok(())
}
