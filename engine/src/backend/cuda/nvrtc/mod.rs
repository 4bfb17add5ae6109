//! NVRTC, NVIDIA's run-time compiler: search, loading and compilation.
//!
//! `cudarc` opens the library by name and so finds it only on the loader's path. It is often elsewhere: in a CUDA
//! toolkit that is not on that path, or in the Python package that PyTorch installs. This module therefore loads it by
//! path, and takes only the types from `cudarc`.

mod resources;
mod search;

use std::ffi::{CString, c_char, c_int};
use std::path::{Path, PathBuf};
use std::ptr;

use cosmogan_kernels::{Module, Sources};
use cudarc::nvrtc::sys::{nvrtcProgram, nvrtcResult};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW, Symbol};

pub use resources::{Resources, resources};
use search::given;
pub use search::{NVRTC_VARIABLE, candidates};

use crate::backend::cache::Cache;
use crate::error::{Error, Result};

/// Remedy in error messages: how to install or locate the library.
pub(super) const REMEDY: &str =
    "pip install nvidia-cuda-nvrtc, or install a CUDA toolkit, or set COSMOGAN_NVRTC to its path";

/// The loaded NVRTC library, which is never unloaded.
#[derive(Debug)]
pub struct Nvrtc {
    /// Path of the library; a bare name if it is on the loader's path.
    pub path: PathBuf,
    /// Major and minor CUDA version.
    pub version: [i32; 2],
    /// Architectures for which it generates machine code, ascending: 90 for `sm_90`.
    pub architectures: Vec<i32>,
    functions: Functions,
}

/// The result of a compilation.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// Machine code for one architecture, or PTX, which the driver compiles.
    pub image: Vec<u8>,
    /// What the compiler printed: with `--ptxas-options=-v`, the resources of every kernel.
    pub log: String,
}

impl Compiled {
    /// Encodes a cache entry: the length of the log in 8 bytes, the log, the image.
    fn to_entry(&self) -> Vec<u8> {
        let length = (self.log.len() as u64).to_le_bytes();
        [&length[..], self.log.as_bytes(), &self.image].concat()
    }

    fn from_entry(entry: &[u8]) -> Option<Self> {
        let (length, rest) = entry.split_first_chunk()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (log, image) = rest.split_at_checked(length)?;
        Some(Self {
            image: image.to_vec(),
            log: String::from_utf8(log.to_vec()).ok()?,
        })
    }
}

type Status = nvrtcResult;

#[derive(Debug)]
struct Functions {
    create: Symbol<
        unsafe extern "C" fn(
            *mut nvrtcProgram,
            *const c_char,
            *const c_char,
            c_int,
            *const *const c_char,
            *const *const c_char,
        ) -> Status,
    >,
    compile: Symbol<unsafe extern "C" fn(nvrtcProgram, c_int, *const *const c_char) -> Status>,
    destroy: Symbol<unsafe extern "C" fn(*mut nvrtcProgram) -> Status>,
    log_size: Symbol<Size>,
    log: Symbol<Text>,
    cubin_size: Symbol<Size>,
    cubin: Symbol<Text>,
    ptx_size: Symbol<Size>,
    ptx: Symbol<Text>,
}

type Size = unsafe extern "C" fn(nvrtcProgram, *mut usize) -> Status;
type Text = unsafe extern "C" fn(nvrtcProgram, *mut c_char) -> Status;

impl Nvrtc {
    /// Loads the first library that is not newer than `newest`, the driver's major CUDA version.
    ///
    /// If `newest` is `None`, any version is accepted.
    ///
    /// # Errors
    /// If there is none, or all are too new for the driver; the message says what to install.
    pub fn find(newest: Option<i32>) -> Result<Self> {
        let mut too_new = None;
        let mut broken = None;
        for path in candidates() {
            match Self::load(&path) {
                Ok(Some(nvrtc)) if newest.is_none_or(|newest| nvrtc.version[0] <= newest) => {
                    return Ok(nvrtc);
                }
                Ok(Some(nvrtc)) => too_new = too_new.or(Some((path, nvrtc.version))),
                Ok(None) => {}
                Err(error) => broken = broken.or(Some(error)),
            }
        }
        let newest = newest.unwrap_or_default();
        Err(match (too_new, broken) {
            (Some((path, [major, minor])), _) => Error::Device(format!(
                "the driver supports CUDA {newest}, but NVRTC at {} belongs to CUDA {major}.{minor}; update the driver, or pip install nvidia-cuda-nvrtc-cu{newest}",
                path.display()
            )),
            (None, Some(error)) => error,
            (None, None) => match given() {
                Some(path) => Error::Device(format!(
                    "{NVRTC_VARIABLE}: no NVRTC library at {}; correct the path, or unset the variable",
                    path.display()
                )),
                None => Error::Device(format!("NVRTC was not found; {REMEDY}")),
            },
        })
    }

    /// Loads the library at `path`; returns `None` if there is none.
    fn load(path: &Path) -> Result<Option<Self>> {
        let failed = |error: libloading::Error| {
            Error::Device(format!("{}: {error}; {REMEDY}", path.display()))
        };
        if path.is_absolute() {
            if !path.exists() {
                return Ok(None);
            }
            load_builtins(path);
        }
        // SAFETY: NVIDIA's libraries have no initialisers with preconditions.
        let library = match unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) } {
            Ok(library) => library,
            Err(_) if !path.is_absolute() => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        // SAFETY: the signatures match nvrtc.h, and have not changed since CUDA 11.3.
        let nvrtc = unsafe {
            let version: Symbol<unsafe extern "C" fn(*mut c_int, *mut c_int) -> Status> =
                library.get(b"nvrtcVersion\0").map_err(failed)?;
            let count: Symbol<unsafe extern "C" fn(*mut c_int) -> Status> = library
                .get(b"nvrtcGetNumSupportedArchs\0")
                .map_err(failed)?;
            let list: Symbol<unsafe extern "C" fn(*mut c_int) -> Status> =
                library.get(b"nvrtcGetSupportedArchs\0").map_err(failed)?;
            let [mut major, mut minor, mut number] = [0; 3];
            check(path, version(&raw mut major, &raw mut minor))?;
            check(path, count(&raw mut number))?;
            let mut architectures = vec![0; usize::try_from(number).unwrap_or(0)];
            check(path, list(architectures.as_mut_ptr()))?;
            architectures.sort_unstable();
            Self {
                path: path.to_owned(),
                version: [major, minor],
                architectures,
                functions: Functions {
                    create: library.get(b"nvrtcCreateProgram\0").map_err(failed)?,
                    compile: library.get(b"nvrtcCompileProgram\0").map_err(failed)?,
                    destroy: library.get(b"nvrtcDestroyProgram\0").map_err(failed)?,
                    log_size: library.get(b"nvrtcGetProgramLogSize\0").map_err(failed)?,
                    log: library.get(b"nvrtcGetProgramLog\0").map_err(failed)?,
                    cubin_size: library.get(b"nvrtcGetCUBINSize\0").map_err(failed)?,
                    cubin: library.get(b"nvrtcGetCUBIN\0").map_err(failed)?,
                    ptx_size: library.get(b"nvrtcGetPTXSize\0").map_err(failed)?,
                    ptx: library.get(b"nvrtcGetPTX\0").map_err(failed)?,
                },
            }
        };
        std::mem::forget(library);
        Ok(Some(nvrtc))
    }

    /// The target for a GPU of compute capability `capability` (90 for 9.0).
    ///
    /// This is machine code for exactly that architecture. If NVRTC does not know it, the target is PTX for the newest
    /// older architecture that it knows.
    pub fn target(&self, capability: i32) -> Result<String> {
        if self.architectures.contains(&capability) {
            return Ok(format!("sm_{capability}"));
        }
        self.architectures
            .iter()
            .rfind(|&&known| known < capability)
            .map(|known| format!("compute_{known}"))
            .ok_or_else(|| {
                Error::Device(format!(
                    "the GPU has compute capability {}.{}, but NVRTC of CUDA {}.{} starts at {}.{}; pip install nvidia-cuda-nvrtc-cu12, or use --device cpu",
                    capability / 10,
                    capability % 10,
                    self.version[0],
                    self.version[1],
                    self.architectures.first().unwrap_or(&0) / 10,
                    self.architectures.first().unwrap_or(&0) % 10,
                ))
            })
    }

    /// Returns `module` compiled for `target`, from the cache if possible.
    ///
    /// # Errors
    /// As [`Nvrtc::compile`].
    pub fn build(&self, cache: &Cache, module: &Module, target: &str) -> Result<Compiled> {
        let sources = sources()?;
        let [major, minor] = self.version;
        let mut key = format!("nvrtc {major}.{minor}, log and image\n");
        for option in options(module, target) {
            key.push_str(&option);
            key.push('\n');
        }
        let source = (module.source, sources.family(module.source));
        for (name, text) in sources.headers().chain([source]) {
            key.push_str(name);
            key.push('\n');
            key.push_str(text);
        }
        let entry = cache.get_or_build(&key, || Ok(self.compile(module, target)?.to_entry()))?;
        Compiled::from_entry(&entry).ok_or_else(|| {
            Error::Device(format!(
                "{}: its cache entry cannot be read; delete the folder of compiled kernels",
                module.source
            ))
        })
    }

    /// Compiles every kernel of `module` for `target`: `sm_90`, for example, or `compute_90` for PTX.
    ///
    /// # Errors
    /// If the compilation fails; the message contains the first error of the log.
    pub fn compile(&self, module: &Module, target: &str) -> Result<Compiled> {
        let text = |text: &str| CString::new(text).unwrap_or_default();
        let sources = sources()?;
        let source = text(sources.family(module.source));
        let name = text(module.source);
        let headers: Vec<_> = sources.headers().map(|(_, header)| text(header)).collect();
        let names: Vec<_> = sources.headers().map(|(name, _)| text(name)).collect();
        let options: Vec<_> = options(module, target)
            .iter()
            .map(|option| text(option))
            .collect();
        let pointers =
            |texts: &[CString]| texts.iter().map(|text| text.as_ptr()).collect::<Vec<_>>();
        let (headers, names, options) = (pointers(&headers), pointers(&names), pointers(&options));

        let functions = &self.functions;
        let mut program: nvrtcProgram = ptr::null_mut();
        // SAFETY: every pointer refers to a string that lives until the program is destroyed; counts are the lengths.
        unsafe {
            check(
                &self.path,
                (functions.create)(
                    &raw mut program,
                    source.as_ptr(),
                    name.as_ptr(),
                    headers.len() as c_int,
                    headers.as_ptr(),
                    names.as_ptr(),
                ),
            )?;
        }
        // SAFETY: as above.
        let status =
            unsafe { (functions.compile)(program, options.len() as c_int, options.as_ptr()) };
        let log = self.text(program, &functions.log_size, &functions.log);
        let log = String::from_utf8_lossy(&log)
            .trim_end_matches('\0')
            .to_owned();
        let image = if target.starts_with("sm_") {
            self.text(program, &functions.cubin_size, &functions.cubin)
        } else {
            self.text(program, &functions.ptx_size, &functions.ptx)
        };
        // SAFETY: the program was created above and is not used again.
        unsafe { (functions.destroy)(&raw mut program) };
        if status == nvrtcResult::NVRTC_SUCCESS && !image.is_empty() {
            return Ok(Compiled { image, log });
        }
        let complaint = log
            .lines()
            .find(|line| line.contains("error") || line.contains("failed"))
            .unwrap_or("the log has no error message");
        Err(Error::Device(format!(
            "{}: NVRTC at {} cannot compile it for {target}: {complaint}",
            module.source,
            self.path.display()
        )))
    }

    /// Reads the log or an image of a program; empty if it has none.
    fn text(&self, program: nvrtcProgram, size: &Symbol<Size>, text: &Symbol<Text>) -> Vec<u8> {
        let mut length = 0;
        // SAFETY: the program is alive, and the buffer has the length that the library reports.
        unsafe {
            if size(program, &raw mut length) != nvrtcResult::NVRTC_SUCCESS {
                return Vec::new();
            }
            let mut bytes = vec![0u8; length];
            if text(program, bytes.as_mut_ptr().cast()) != nvrtcResult::NVRTC_SUCCESS {
                return Vec::new();
            }
            bytes
        }
    }
}

fn sources() -> Result<&'static Sources> {
    Sources::current().map_err(|error| Error::Device(error.to_owned()))
}

fn options(module: &Module, target: &str) -> Vec<String> {
    let mut options = vec![
        format!("--gpu-architecture={target}"),
        "--std=c++17".to_owned(),
        "--device-as-default-execution-space".to_owned(),
        "--generate-line-info".to_owned(),
    ];
    if target.starts_with("sm_") {
        options.push("--ptxas-options=-v".to_owned());
    }
    options.extend(module.options());
    options
}

fn check(path: &Path, status: Status) -> Result<()> {
    if status == nvrtcResult::NVRTC_SUCCESS {
        return Ok(());
    }
    Err(Error::Device(format!("{}: {status:?}", path.display())))
}

/// Loads NVRTC's builtins from the folder of `library`.
///
/// NVRTC opens them by name and so finds them only on the loader's path, unless they are loaded already.
fn load_builtins(library: &Path) {
    let Some(entries) = library.parent().and_then(|folder| folder.read_dir().ok()) else {
        return;
    };
    let major = library
        .extension()
        .map(|major| major.to_string_lossy().into_owned())
        .unwrap_or_default();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(&format!("libnvrtc-builtins.so.{major}")) {
            // SAFETY: as in `Nvrtc::load`.
            let builtins = unsafe { Library::open(Some(entry.path()), RTLD_NOW | RTLD_GLOBAL) };
            // After a failure here, NVRTC reports that the builtins are missing.
            if let Ok(builtins) = builtins {
                std::mem::forget(builtins);
            }
        }
    }
}
