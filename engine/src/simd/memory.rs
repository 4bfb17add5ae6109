//! Memory for vectors: cache-line alignment, and sharing between threads.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;

use memmap2::MmapMut;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Size from which memory is allocated in 2 MB pages, where the system supports them.
///
/// Weights are read from one end to the other, and every small page would cost a fault at first and a TLB miss later.
const HUGE: usize = 1 << 21;

/// Values aligned to a cache line; initially zero, and untouched until they are used.
pub(crate) struct Aligned {
    start: NonNull<f32>,
    length: usize,
    /// Owner of the memory if it is not on the heap.
    pages: Option<MmapMut>,
}

// SAFETY: the memory belongs to this value only, and `f32` is `Send`.
unsafe impl Send for Aligned {}
// SAFETY: without a mutable borrow the values do not change.
unsafe impl Sync for Aligned {}

impl Aligned {
    pub(crate) fn zeroed(length: usize) -> Self {
        let layout = Self::layout(length);
        if layout.size() >= HUGE
            && let Some(mut pages) = huge_pages(layout.size())
            && let Some(start) = NonNull::new(pages.as_mut_ptr().cast())
        {
            return Self {
                start,
                length,
                pages: Some(pages),
            };
        }
        // SAFETY: the layout is not empty: it has at least one line.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(memory.cast()) else {
            handle_alloc_error(layout)
        };
        Self {
            start,
            length,
            pages: None,
        }
    }

    fn layout(length: usize) -> Layout {
        let bytes = (length.max(1) * size_of::<f32>()).next_multiple_of(LINE);
        // Lengths are products of a model's extents, which are limited when models are read.
        Layout::from_size_align(bytes, LINE)
            .expect("a model's tensors are smaller than the address space")
    }
}

/// Allocates zeros in separate pages, large ones where the system supports them.
fn huge_pages(bytes: usize) -> Option<MmapMut> {
    let pages = MmapMut::map_anon(bytes).ok()?;
    #[cfg(target_os = "linux")]
    // A system without large pages provides small ones.
    let _ = pages.advise(memmap2::Advice::HugePage);
    Some(pages)
}

impl Default for Aligned {
    fn default() -> Self {
        Self::zeroed(0)
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        if self.pages.is_none() {
            // SAFETY: allocated in `zeroed` with this layout, and freed only here.
            unsafe { dealloc(self.start.as_ptr().cast(), Self::layout(self.length)) }
        }
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: `length` values at `start` are allocated, and were zeroed.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl std::fmt::Debug for Aligned {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} values", self.length)
    }
}

/// Values to which the workers of one stage write in disjoint places, and which none of them reads.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a> {
    start: *mut f32,
    length: usize,
    lifetime: PhantomData<&'a mut [f32]>,
}

// SAFETY: workers write only through `range`, whose callers guarantee that ranges do not overlap.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(crate) fn new(values: &'a mut [f32]) -> Self {
        Self {
            start: values.as_mut_ptr(),
            length: values.len(),
            lifetime: PhantomData,
        }
    }

    /// Returns the values of a range for writing.
    ///
    /// # Safety
    /// While the result lives, no other code may access these values.
    ///
    /// # Panics
    /// If the range ends beyond the values.
    #[allow(
        clippy::mut_from_ref,
        reason = "the caller guarantees that ranges do not overlap"
    )]
    pub(crate) unsafe fn range(&self, range: Range<usize>) -> &'a mut [f32] {
        assert!(range.start <= range.end && range.end <= self.length);
        // SAFETY: inside the values, by the assertion; not aliased, by the caller.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// Returns a part of the values.
    ///
    /// # Panics
    /// If the range ends beyond the values.
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.length);
        Self {
            // SAFETY: inside the values, by the assertion.
            start: unsafe { self.start.add(range.start) },
            length: range.len(),
            lifetime: PhantomData,
        }
    }

    /// Returns the values of a range for reading.
    ///
    /// # Safety
    /// While the result lives, no code may write to these values.
    ///
    /// # Panics
    /// If the range ends beyond the values.
    pub(crate) unsafe fn read(&self, range: Range<usize>) -> &'a [f32] {
        assert!(range.start <= range.end && range.end <= self.length);
        // SAFETY: inside the values, by the assertion; not written meanwhile, by the caller.
        unsafe { std::slice::from_raw_parts(self.start.add(range.start), range.len()) }
    }
}
