//! A loaded module: its kernels, their shared memory, and the variables shared with the executor.

use std::ffi::{CStr, CString, c_char, c_void};

use libloading::Library;

use super::{compile, lines};
use crate::error::{Error, Result};

/// `struct SimtHooks` of `simt.h`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Hooks {
    pub(super) executor: *mut c_void,
    pub(super) access: extern "C" fn(*mut c_void, u64, u32, u32, u32),
    pub(super) barrier: extern "C" fn(*mut c_void, u32),
    pub(super) exchange: extern "C" fn(*mut c_void, *const c_void, u32, *mut c_void, u32),
    pub(super) guard: extern "C" fn(*mut c_void, u64, u32),
    pub(super) copy_async: extern "C" fn(*mut c_void, u64, u64, u32, u32),
    pub(super) copy_commit: extern "C" fn(*mut c_void),
    pub(super) copy_wait: extern "C" fn(*mut c_void, u32),
    pub(super) fault: extern "C" fn(*mut c_void, *const c_char),
    pub(super) dynamic_shared: extern "C" fn(*mut c_void, u32),
    pub(super) mbarrier_init: extern "C" fn(*mut c_void, u64, u32),
    pub(super) mbarrier_init_fence: extern "C" fn(*mut c_void),
    pub(super) mbarrier_arrive: extern "C" fn(*mut c_void, u64, u32),
    pub(super) mbarrier_wait: extern "C" fn(*mut c_void, u64, u32),
    pub(super) tma_load: extern "C" fn(*mut c_void, u64, *const c_void, u64, *const i32, u32),
    pub(super) wgmma: extern "C" fn(*mut c_void, *mut f32, u32, u64, u64, u32, u32),
    pub(super) wgmma_fence: extern "C" fn(*mut c_void),
    pub(super) wgmma_commit: extern "C" fn(*mut c_void),
    pub(super) wgmma_wait: extern "C" fn(*mut c_void, u32),
}

/// `struct SimtPosition` of `simt.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Position {
    pub(super) thread: [u32; 3],
    pub(super) block: [u32; 3],
    pub(super) block_extent: [u32; 3],
    pub(super) grid_extent: [u32; 3],
}

/// `simt_call_KERNEL`: runs one thread, given pointers to the arguments.
pub(super) type Call = unsafe extern "C" fn(*mut *mut c_void);
type Sizes = unsafe extern "C" fn(*mut u32) -> u32;

/// A loaded module. Every executor loads its own copy, with its own shared memory.
#[derive(Debug)]
pub(super) struct Module {
    library: Library,
    pub(super) hooks: *mut Hooks,
    pub(super) position: *mut Position,
    /// Offset into the library of the instruction that called a hook last.
    place: *const usize,
    /// The file that was loaded, for its line tables.
    bytes: Vec<u8>,
    /// Address range of its shared arrays; empty if it has none.
    pub(super) shared: (u64, u64),
    declared: Vec<Declared>,
}

/// A shared array that a function declares.
#[derive(Debug)]
struct Declared {
    function: String,
    /// Size, rounded up to a multiple of a guard's size.
    bytes: u64,
}

// SAFETY: the pointers refer to the library's own variables, which live as long as the library, and an executor uses a
// module under its lock.
unsafe impl Send for Module {}

impl Module {
    /// Loads a library that [`compile`] produced.
    pub(super) fn load(bytes: Vec<u8>) -> Result<Self> {
        let file = compile::to_file(&bytes)?;
        // SAFETY: the library was compiled from this project's header and sources, whose only initialiser is empty.
        let library = unsafe { Library::new(&*file) }.map_err(|error| {
            Error::Device(format!("a compiled kernel cannot be loaded: {error}"))
        })?;
        let range = expect(&library, c"simt_shared_range")? as *const [u64; 2];
        // SAFETY: `simt.h` defines it as two pointers.
        let [start, stop] = unsafe { *range };
        Ok(Self {
            hooks: expect(&library, c"simt_hooks")? as *mut Hooks,
            position: expect(&library, c"simt_position")? as *mut Position,
            place: expect(&library, c"simt_place")? as *const usize,
            bytes,
            shared: (start, stop),
            // SAFETY: the linker defines the bounds of the section, and its guards have been initialised.
            declared: unsafe { declared(start, stop) },
            library,
        })
    }

    /// Source line of the access or operation that called a hook last, e.g. `convolution.cu:48`.
    ///
    /// Returns `None` without `addr2line` (binutils) or line tables.
    pub(super) fn last_line(&self) -> Option<String> {
        // SAFETY: the module's variables live as long as the module, and no kernel runs while it is read.
        let place = unsafe { *self.place };
        lines::of(&self.bytes, place)
    }

    /// Bytes of static shared memory of a kernel and the functions that it may call.
    pub(super) fn declared_bytes(&self, kernel: &str) -> u64 {
        let is_another = |name: &str| {
            let symbol = CString::new(format!("simt_call_{name}")).unwrap_or_default();
            name != kernel && address(&self.library, &symbol).is_some()
        };
        let mine = self
            .declared
            .iter()
            .filter(|array| !is_another(&array.function));
        mine.map(|array| array.bytes).sum()
    }

    /// Returns the kernel's entry after comparing the sizes of its parameters and the arguments.
    pub(super) fn kernel(&self, name: &str, sizes: &[usize]) -> Result<Call> {
        let symbol = |prefix: &str| {
            let name = CString::new(format!("{prefix}{name}")).unwrap_or_default();
            expect(&self.library, &name)
        };
        let mut found = [0; 64];
        // SAFETY: `simt.h` defines both functions with these signatures for every kernel; no kernel has 64 parameters.
        let (call, count) = unsafe {
            let call =
                std::mem::transmute::<*mut c_void, Call>(symbol("simt_call_")? as *mut c_void);
            let sizes =
                std::mem::transmute::<*mut c_void, Sizes>(symbol("simt_sizes_")? as *mut c_void);
            (call, sizes(found.as_mut_ptr()))
        };
        let found: Vec<_> = found[..count as usize]
            .iter()
            .map(|&size| size as usize)
            .collect();
        if found != sizes {
            return Err(Error::Device(format!(
                "kernel {name}: its parameters have {found:?} bytes, but the arguments have {sizes:?}"
            )));
        }
        Ok(call)
    }
}

/// Size of `struct SimtGuard` of `simt.h`: a mark and the name of a function, each ended by 0.
const GUARD: u64 = 128;
const MARK: usize = 16;

/// Static arrays between `start` and `stop`.
///
/// Compilers place variables in source order, each after its guard, or in reverse order.
///
/// # Safety
/// The range must be a module's shared memory.
/// A module's shared memory must lie there.
unsafe fn declared(start: u64, stop: u64) -> Vec<Declared> {
    let text = |bytes: &[u8]| {
        let name = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    };
    let mut guards = Vec::new();
    for at in (start..stop).step_by(GUARD as usize) {
        // SAFETY: the section consists of variables that are aligned to the size of a guard.
        let bytes = unsafe { std::slice::from_raw_parts(at as *const u8, GUARD as usize) };
        let mark = text(&bytes[..MARK]);
        if mark == "simt declares" || mark == "simt is given" {
            guards.push((at, mark == "simt declares", text(&bytes[MARK..])));
        }
    }
    let is_first = guards.first().is_some_and(|(at, ..)| *at == start);
    let array = |(index, (at, is_declared, function)): (usize, &(u64, bool, String))| {
        let bytes = if is_first {
            guards.get(index + 1).map_or(stop, |(next, ..)| *next) - at - GUARD
        } else {
            let before = index.checked_sub(1).map(|before| guards[before].0 + GUARD);
            at - before.unwrap_or(start)
        };
        is_declared.then(|| Declared {
            function: function.clone(),
            bytes,
        })
    };
    guards.iter().enumerate().filter_map(array).collect()
}

fn address(library: &Library, name: &CStr) -> Option<u64> {
    // SAFETY: only the address of the symbol is used.
    let pointer = unsafe {
        library
            .get::<*mut c_void>(name.to_bytes_with_nul())
            .ok()?
            .try_as_raw_ptr()
    };
    pointer.map(|pointer| pointer as u64)
}

fn expect(library: &Library, name: &CStr) -> Result<u64> {
    address(library, name).ok_or_else(|| {
        Error::Device(format!(
            "a compiled kernel lacks {}; delete the kernel cache",
            name.to_string_lossy()
        ))
    })
}
