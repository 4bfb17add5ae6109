//! Implementation of the C interface declared in `include/cosmogan.h`.
//!
//! Every function checks its pointers for null, checks lengths, and catches panics, so that none crosses into C. The
//! requirements that it cannot check are stated under `# Safety` and in the header.

use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::ptr;

use cosmogan_generator::{Error, Generator, Options};

/// Status of a call; the values are those of the header.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Success.
    Ok = 0,
    /// A pointer is null, a buffer has the wrong length, or the CPU lacks the requested instruction set.
    BadArgument = 1,
    /// The weights cannot be read, or are not those of a generator.
    BadWeights = 2,
    /// A bug in this library.
    Defect = 3,
}

/// A status and a message of one line.
struct Failure(Status, String);

impl Failure {
    fn argument(problem: impl ToString) -> Self {
        Self(Status::BadArgument, problem.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::Usage { .. } => Status::BadArgument,
            _ => Status::BadWeights,
        };
        Self(status, error.to_string())
    }
}

/// Version of the interface; increases when a function changes or is removed.
const ABI_VERSION: u32 = 1;

/// The `COSMOGAN_ABI_VERSION` of the header.
#[unsafe(no_mangle)]
pub extern "C" fn cosmogan_abi_version() -> u32 {
    ABI_VERSION
}

/// The version of this library, terminated by NUL.
#[unsafe(no_mangle)]
pub extern "C" fn cosmogan_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// Loads weights from a file.
///
/// # Safety
/// `path` must be null or terminated by NUL, `generator` null or writable, and `error` null or writable for
/// `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cosmogan_load(
    path: *const c_char,
    threads: usize,
    generator: *mut *mut Generator,
    error: *mut c_char,
    error_size: usize,
) -> Status {
    // SAFETY: the caller guarantees it for `error`.
    unsafe {
        reported(error, error_size, || {
            construct(generator, || {
                let path = Path::new(text(path)?);
                Generator::load_with(path, options(threads)).map_err(Failure::from)
            })
        })
    }
}

/// Loads weights from the bytes of a weight file.
///
/// # Safety
/// `bytes` must be null or readable for `size` bytes; the other pointers as in [`cosmogan_load`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cosmogan_from_bytes(
    bytes: *const c_void,
    size: usize,
    threads: usize,
    generator: *mut *mut Generator,
    error: *mut c_char,
    error_size: usize,
) -> Status {
    // SAFETY: the caller guarantees it for `bytes` and `error`.
    unsafe {
        reported(error, error_size, || {
            construct(generator, || {
                let bytes: &[u8] = slice("bytes", bytes.cast(), size)?;
                Generator::from_bytes_with(bytes, options(threads)).map_err(Failure::from)
            })
        })
    }
}

/// Loads the weights embedded in the library.
///
/// # Safety
/// As [`cosmogan_load`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cosmogan_shipped(
    threads: usize,
    generator: *mut *mut Generator,
    error: *mut c_char,
    error_size: usize,
) -> Status {
    // SAFETY: the caller guarantees it for all pointers.
    unsafe {
        reported(error, error_size, || {
            construct(generator, || shipped(options(threads)))
        })
    }
}

#[cfg(feature = "embed-weights")]
fn shipped(options: Options) -> Result<Generator, Failure> {
    Generator::shipped_with(options).map_err(Failure::from)
}

#[cfg(not(feature = "embed-weights"))]
fn shipped(_: Options) -> Result<Generator, Failure> {
    const NONE: &str = "cosmogan_shipped: this library was built without weights; load a file, or build it with \
                        --features embed-weights";
    Err(Failure(Status::BadWeights, NONE.to_owned()))
}

/// Rows and columns of a map; 0 for null.
///
/// # Safety
/// `generator` must be null or come from this library and not have been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cosmogan_map_size(generator: *const Generator) -> usize {
    // SAFETY: the caller guarantees it.
    unsafe { generator.as_ref() }.map_or(0, Generator::size)
}

/// Width of a latent vector; 0 for null.
///
/// # Safety
/// As [`cosmogan_map_size`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cosmogan_latent_width(generator: *const Generator) -> usize {
    // SAFETY: the caller guarantees it.
    unsafe { generator.as_ref() }.map_or(0, Generator::latent_width)
}

/// Generates maps of a seed.
///
/// # Safety
/// `generator` as in [`cosmogan_map_size`]; `maps` must be null or writable for `room` floats, and not accessed by
/// others during the call; `error` as in [`cosmogan_load`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cosmogan_sample(
    generator: *const Generator,
    seed: u64,
    first: u64,
    count: usize,
    maps: *mut f32,
    room: usize,
    error: *mut c_char,
    error_size: usize,
) -> Status {
    // SAFETY: the caller guarantees it for all pointers.
    unsafe {
        reported(error, error_size, || {
            let (generator, maps) = destination(generator, maps, room, count)?;
            let sampled = generator.sample_into(first, seed, maps);
            sampled.map_err(Failure::from)
        })
    }
}

/// Generates maps of latent vectors.
///
/// # Safety
/// `latents` must be null or readable for `count` vectors; the other pointers as in [`cosmogan_sample`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cosmogan_generate(
    generator: *const Generator,
    latents: *const f32,
    count: usize,
    maps: *mut f32,
    room: usize,
    error: *mut c_char,
    error_size: usize,
) -> Status {
    // SAFETY: the caller guarantees it for all pointers.
    unsafe {
        reported(error, error_size, || {
            let (generator, maps) = destination(generator, maps, room, count)?;
            // Only an overflow check: `count` maps fit into memory, and a vector is at most 64 kB.
            let length = count.checked_mul(generator.latent_width());
            let length =
                length.ok_or_else(|| Failure::argument("latents: too many; ask for fewer"))?;
            let latents: &[f32] = slice("latents", latents, length)?;
            let generated = generator.generate_into(latents, maps);
            generated.map_err(Failure::from)
        })
    }
}

/// Frees a generator.
///
/// # Safety
/// `generator` must be null, or come from this library and not be in use by any thread; it must not be used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cosmogan_free(generator: *mut Generator) {
    if !generator.is_null() {
        // SAFETY: it comes from `Box::into_raw` in `construct`, and is freed once.
        drop(unsafe { Box::from_raw(generator) });
    }
}

fn options(threads: usize) -> Options {
    let default = Options::default();
    Options {
        threads: if threads == 0 {
            default.threads
        } else {
            threads
        },
        ..default
    }
}

/// Creates a generator and writes its address to `place`; writes null on failure.
///
/// # Safety
/// `place` must be null or writable.
unsafe fn construct(
    place: *mut *mut Generator,
    make: impl FnOnce() -> Result<Generator, Failure>,
) -> Result<(), Failure> {
    if place.is_null() {
        return Err(Failure::argument(
            "generator: null; give the address of a pointer",
        ));
    }
    // SAFETY: not null, and the caller guarantees the rest.
    unsafe { place.write(ptr::null_mut()) };
    let generator = Box::new(make()?);
    // SAFETY: as above.
    unsafe { place.write(Box::into_raw(generator)) };
    Ok(())
}

/// Checks the arguments: a generator, and room for exactly `count` maps.
///
/// # Safety
/// `generator` must be null or come from this library; `maps` must be null or writable for `room` floats.
unsafe fn destination<'a>(
    generator: *const Generator,
    maps: *mut f32,
    room: usize,
    count: usize,
) -> Result<(&'a Generator, &'a mut [f32]), Failure> {
    // SAFETY: the caller guarantees it.
    let generator = unsafe { generator.as_ref() }
        .ok_or_else(|| Failure::argument("generator: null; load one first"))?;
    let needed = generator.size().pow(2).checked_mul(count);
    if needed != Some(room) {
        return Err(Failure::argument(format!(
            "maps: room for {room} floats; {count} maps need {} each",
            generator.size().pow(2)
        )));
    }
    if maps.is_null() && room > 0 {
        return Err(Failure::argument("maps: null; give a buffer"));
    }
    let maps = match room {
        0 => &mut [],
        // SAFETY: not null, and the caller guarantees `room` floats.
        _ => unsafe { std::slice::from_raw_parts_mut(maps, room) },
    };
    Ok((generator, maps))
}

/// Checks a pointer from C and converts it to a slice.
///
/// # Safety
/// `start` must be null or readable for `length` values.
unsafe fn slice<'a, T>(name: &str, start: *const T, length: usize) -> Result<&'a [T], Failure> {
    if length == 0 {
        return Ok(&[]);
    }
    if start.is_null() {
        return Err(Failure::argument(format!("{name}: null; give a buffer")));
    }
    // SAFETY: not null, and the caller guarantees the rest.
    Ok(unsafe { std::slice::from_raw_parts(start, length) })
}

/// Checks a path from C and converts it to a string.
///
/// # Safety
/// `start` must be null or terminated by NUL.
unsafe fn text<'a>(start: *const c_char) -> Result<&'a str, Failure> {
    if start.is_null() {
        return Err(Failure::argument("path: null; name a file"));
    }
    // SAFETY: not null, and the caller guarantees the terminating NUL.
    let text = unsafe { CStr::from_ptr(start) };
    text.to_str()
        .map_err(|_| Failure::argument("path: not UTF-8; rename the file"))
}

/// Runs `work`, and writes the message of a failure to `error`.
///
/// # Safety
/// `error` must be null or writable for `size` bytes.
unsafe fn reported(
    error: *mut c_char,
    size: usize,
    work: impl FnOnce() -> Result<(), Failure>,
) -> Status {
    // Unwind-safe: a panic leaves behind at most the scratch memory of a call, which the next call overwrites.
    let outcome = catch_unwind(AssertUnwindSafe(work));
    let Failure(status, message) = match outcome {
        Ok(Ok(())) => return Status::Ok,
        Ok(Err(failure)) => failure,
        Err(_) => Failure(
            Status::Defect,
            "a bug in this library; report it".to_owned(),
        ),
    };
    if !error.is_null() && size > 0 {
        let mut length = message.len().min(size - 1);
        while !message.is_char_boundary(length) {
            length -= 1;
        }
        // SAFETY: `length` bytes and a NUL fit into `size` bytes, which the caller guarantees.
        unsafe {
            ptr::copy_nonoverlapping(message.as_ptr().cast(), error, length);
            error.add(length).write(0);
        }
    }
    status
}
