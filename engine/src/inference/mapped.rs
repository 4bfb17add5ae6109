//! A file as memory.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Deref;

/// The bytes of a file, which are read when they are looked at. While the result lives, nobody may change the file.
///
/// # Errors
/// Where it cannot be mapped.
pub fn mapped(file: &File) -> io::Result<impl Deref<Target = [u8]>> {
    // SAFETY: the mapping is for reading only. Another program that changes the file meanwhile could change the bytes
    // under way, which every reader of mapped files has to trust nobody does, and which callers are told.
    unsafe { memmap2::Mmap::map(file) }
}
