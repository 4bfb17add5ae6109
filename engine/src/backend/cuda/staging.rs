//! Page-locked memory, through which values travel at the full speed of the bus while the processor copies the next.
//!
//! It is a ring of pieces: what a step uploads takes the next ones, and waits for the device only when it has been once around.
//! So the inputs of a step can be queued while the device is at the one before.

use std::slice;

use cudarc::driver::{result, sys};

/// Values in a piece.
const VALUES: usize = 1 << 20;
/// Pieces: a batch of 64 maps of 256² takes four, latents, Adam's state and a table of crops one each.
const PIECES: usize = 8;

/// Page-locked pieces of memory, made at first use.
#[derive(Debug, Default)]
pub(super) struct Staging {
    pieces: Vec<Piece>,
    /// Whose turn it is.
    next: usize,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
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
        for (index, values) in values.chunks(VALUES).enumerate() {
            let piece = self.piece()?;
            let at = to + 4 * (index * VALUES) as u64;
            // SAFETY: `values` fit a piece, which the device has done with once its event is reached; the destination
            // was allocated with room for all values.
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

    /// Copies device memory to `values`, after all work queued before.
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
            // SAFETY: as in `upload`; what an upload left in the piece travels before, in the order of the stream, and
            // what a download left was copied out long before its turn comes again.
            unsafe {
                let staged = slice::from_raw_parts_mut(piece.memory, values.len());
                result::memcpy_dtoh_async(staged, at, stream)?;
                result::event::record(piece.free, stream)?;
            }
            // While this piece travels, the one before is copied out.
            if let Some(before) = pending.replace((values, piece)) {
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
        for piece in self.pieces.drain(..) {
            // SAFETY: both were made by `Piece::new`, and are not used again.
            unsafe {
                let _ = result::free_host(piece.memory.cast());
                let _ = result::event::destroy(piece.free);
            }
        }
        self.next = 0;
    }

    /// The piece whose turn it is.
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
    // SAFETY: the event is behind the copy, so that the memory holds what was asked for.
    unsafe {
        result::event::synchronize(piece.free)?;
        values.copy_from_slice(slice::from_raw_parts(piece.memory, values.len()));
    }
    Ok(())
}
