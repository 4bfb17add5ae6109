//! Page-locked staging memory for transfers at the full speed of the bus.
//!
//! While the bus transfers one piece, the CPU copies the next. The pieces form a ring: an upload takes the next pieces,
//! and waits for the device only if it reaches a piece that is still in use. The inputs of a training step can
//! therefore be queued while the device computes the previous step.

use std::slice;

use cudarc::driver::{result, sys};

/// Values per piece.
const VALUES: usize = 1 << 20;
/// Number of pieces. A batch of 64 maps of 256² takes four; latents, Adam's state and a table of crops take one each.
const PIECES: usize = 8;

/// Ring of page-locked pieces, allocated on first use.
#[derive(Debug, Default)]
pub(super) struct Staging {
    pieces: Vec<Piece>,
    /// Index of the next piece.
    next: usize,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    memory: *mut f32,
    /// Event after the last transfer from or to this piece.
    free: sys::CUevent,
}

// SAFETY: this value owns the memory and is used under a lock.
unsafe impl Send for Staging {}

type Outcome<T> = Result<T, result::DriverError>;

impl Staging {
    /// Queues a copy of `values` to device memory. `values` may change after the return.
    pub(super) fn upload(&mut self, to: u64, values: &[f32], stream: sys::CUstream) -> Outcome<()> {
        for (index, values) in values.chunks(VALUES).enumerate() {
            let piece = self.piece()?;
            let at = to + 4 * (index * VALUES) as u64;
            // SAFETY: `values` fit into a piece, and the device no longer uses the piece once its event has completed;
            // the destination was allocated with space for all values.
            unsafe {
                result::event::synchronize(piece.free)?;
                let staged = slice::from_raw_parts_mut(piece.memory, values.len());
                staged.copy_from_slice(values);
                result::memcpy_htod_async(at, staged, stream)?;
                result::event::record(piece.free, stream)?;
            }
        }
        Ok(())
    }

    /// Copies device memory to `values`, after all work queued so far.
    pub(super) fn download(
        &mut self,
        from: u64,
        values: &mut [f32],
        stream: sys::CUstream,
    ) -> Outcome<()> {
        let mut pending: Option<(&mut [f32], Piece)> = None;
        for (index, values) in values.chunks_mut(VALUES).enumerate() {
            let piece = self.piece()?;
            let at = from + 4 * (index * VALUES) as u64;
            // SAFETY: as in `upload`. An earlier upload from this piece precedes this copy in the stream; the values of
            // an earlier download were copied out before the ring returned to this piece.
            unsafe {
                let staged = slice::from_raw_parts_mut(piece.memory, values.len());
                result::memcpy_dtoh_async(staged, at, stream)?;
                result::event::record(piece.free, stream)?;
            }
            // Copy the previous piece out during the transfer of this one.
            if let Some(before) = pending.replace((values, piece)) {
                take(before)?;
            }
        }
        pending.map_or(Ok(()), take)
    }

    /// Frees the memory.
    ///
    /// # Safety
    /// No copy may be in progress.
    pub(super) unsafe fn free(&mut self) {
        for piece in self.pieces.drain(..) {
            // SAFETY: `Piece::new` created both, and they are not used again.
            unsafe {
                let _ = result::free_host(piece.memory.cast());
                let _ = result::event::destroy(piece.free);
            }
        }
        self.next = 0;
    }

    /// The next piece of the ring.
    fn piece(&mut self) -> Outcome<Piece> {
        if self.pieces.len() < PIECES && self.next == self.pieces.len() {
            self.pieces.push(Piece::new()?);
        }
        let piece = self.pieces[self.next];
        self.next = (self.next + 1) % PIECES;
        Ok(piece)
    }
}

impl Piece {
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

fn take((values, piece): (&mut [f32], Piece)) -> Outcome<()> {
    // SAFETY: the event follows the copy in the stream, so the memory holds the downloaded values.
    unsafe {
        result::event::synchronize(piece.free)?;
        values.copy_from_slice(slice::from_raw_parts(piece.memory, values.len()));
    }
    Ok(())
}
