//! NVIDIA's run-time compiler: where it is, and what it makes of a kernel.
//!
//! `cudarc` looks for the library by name only, where the loader looks. It is often elsewhere: in a CUDA toolkit that is
//! not on the loader's path, or in the Python package that PyTorch brings along. So it is loaded here, by path, and
//! `cudarc` gives the types.

mod resources;
mod search;

use std::ffi::{CString, c_char, c_int};
use std::path::{Path, PathBuf};
use std::ptr;

use cosmogan_kernels::{HEADERS, Module};
use cudarc::nvrtc::sys::{nvrtcProgram, nvrtcResult};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW, Symbol};

pub use resources::{Resources, resources};
use search::given;
pub use search::{NVRTC_VARIABLE, candidates};

use crate::backend::cache::Cache;
use crate::error::{Error, Result};

/// What gets the library where there is none.
pub(super) const REMEDY: &str = "pip install nvidia-cuda-nvrtc, or install a CUDA toolkit, or name the library in COSMOGAN_NVRTC";

/// A loaded compiler. It is never unloaded.
#[derive(Debug)]
pub struct Nvrtc {
    /// Where it was found; a bare name means on the loader's path.
    pub path: PathBuf,
    /// Major and minor version of CUDA that it belongs to.
    pub version: [i32; 2],
    /// Architectures for which it makes machine code, as in `sm_90`, ascending.
    pub architectures: Vec<i32>,
    functions: Functions,
}

/// What a compilation gives.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// Machine code for one architecture, or PTX for the driver to finish.
    pub image: Vec<u8>,
    /// What the compiler printed: with `--ptxas-options=-v`, the resources of every kernel.
    pub log: String,
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
    /// The first library that is no newer than `newest`, the driver's version of CUDA; any, where that is `None`.
    ///
    /// # Errors
    /// Where there is none, or each is too new for the driver; the message says what to install.
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
                "the driver supports CUDA {newest}, and NVRTC at {} is of CUDA {major}.{minor}; update the driver, or pip install nvidia-cuda-nvrtc-cu{newest}",
                path.display()
            )),
            (None, Some(error)) => error,
            (None, None) => match given() {
                Some(path) => Error::Device(format!(
                    "{NVRTC_VARIABLE} names {}, and NVRTC is not there; correct it, or unset it",
                    path.display()
                )),
                None => Error::Device(format!("NVRTC was not found; {REMEDY}")),
            },
        })
    }

    /// Loads the library at `path`; `None` where there is none.
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
        // SAFETY: NVIDIA's libraries have no initialisers that need anything of us.
        let library = match unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) } {
            Ok(library) => library,
            Err(_) if !path.is_absolute() => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        // SAFETY: the signatures are those of nvrtc.h, which have not changed since CUDA 11.3.
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

    /// The target for a GPU of compute capability `capability` (90 for 9.0): machine code for exactly that, or, where
    /// this compiler does not know it yet, PTX for the newest that it knows below.
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
                    "the GPU has compute capability {}.{}, and NVRTC of CUDA {}.{} starts at {}.{}; pip install nvidia-cuda-nvrtc-cu12, or use --device cpu",
                    capability / 10,
                    capability % 10,
                    self.version[0],
                    self.version[1],
                    self.architectures.first().unwrap_or(&0) / 10,
                    self.architectures.first().unwrap_or(&0) % 10,
                ))
            })
    }

    /// `module` for `target`, from the cache if it is there.
    pub(super) fn build(&self, cache: &Cache, module: &Module, target: &str) -> Result<Vec<u8>> {
        let source = cosmogan_kernels::source(module.source);
        let [major, minor] = self.version;
        let mut key = format!("nvrtc {major}.{minor}\n");
        for option in options(module, target) {
            key.push_str(&option);
            key.push('\n');
        }
        for (name, text) in HEADERS.iter().chain([&(module.source, source)]) {
            key.push_str(name);
            key.push('\n');
            key.push_str(text);
        }
        cache.get_or_build(&key, || Ok(self.compile(module, target)?.image))
    }

    /// Compiles every kernel of `module` for `target`, e.g. `sm_90`, or `compute_90` for PTX.
    ///
    /// # Errors
    /// Where the compiler refuses; the message holds its first complaint.
    pub fn compile(&self, module: &Module, target: &str) -> Result<Compiled> {
        let text = |text: &str| CString::new(text).unwrap_or_default();
        let source = text(cosmogan_kernels::source(module.source));
        let name = text(module.source);
        let headers: Vec<_> = HEADERS.iter().map(|(_, header)| text(header)).collect();
        let names: Vec<_> = HEADERS.iter().map(|(name, _)| text(name)).collect();
        let options: Vec<_> = options(module, target)
            .iter()
            .map(|option| text(option))
            .collect();
        let pointers =
            |texts: &[CString]| texts.iter().map(|text| text.as_ptr()).collect::<Vec<_>>();
        let (headers, names, options) = (pointers(&headers), pointers(&names), pointers(&options));

        let functions = &self.functions;
        let mut program: nvrtcProgram = ptr::null_mut();
        // SAFETY: every pointer leads to a string that lives until the program is destroyed; counts are the lengths.
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
        // SAFETY: the program was created above and is not used any more.
        unsafe { (functions.destroy)(&raw mut program) };
        if status == nvrtcResult::NVRTC_SUCCESS && !image.is_empty() {
            return Ok(Compiled { image, log });
        }
        let complaint = log
            .lines()
            .find(|line| line.contains("error") || line.contains("failed"))
            .unwrap_or("it does not say why");
        Err(Error::Device(format!(
            "{}: NVRTC at {} does not compile it for {target}: {complaint}",
            module.source,
            self.path.display()
        )))
    }

    /// One of a program's texts; empty if it has none.
    fn text(&self, program: nvrtcProgram, size: &Symbol<Size>, text: &Symbol<Text>) -> Vec<u8> {
        let mut length = 0;
        // SAFETY: the program is alive, and the buffer has the length that the library asks for.
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

/// NVRTC opens its builtins by name, and finds them only where the loader looks, unless they are loaded already.
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
            // A failure shows when NVRTC misses it.
            if let Ok(builtins) = builtins {
                std::mem::forget(builtins);
            }
        }
    }
}
