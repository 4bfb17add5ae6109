//! Which device computes, and what there is to choose from.

use std::env;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use cosmogan_engine::backend::Backend;
use cosmogan_engine::backend::cpu::CpuBackend;

use crate::error::{Error, Result};

/// What `--device` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The best there is.
    #[default]
    Auto,
    /// The processor's cores.
    Cpu,
    /// An NVIDIA GPU by number.
    Cuda(usize),
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| "say auto, cpu, cuda or cuda:NUMBER".to_owned()),
        }
    }
}

impl Device {
    /// Opens the device.
    ///
    /// # Errors
    /// Where it is not there; the message says what was looked for and where.
    pub fn open(self) -> Result<Arc<dyn Backend>> {
        self.open_as(CpuBackend::new)
    }

    /// Opens the device in a mode that notices elements that were not written, or written out of bounds.
    ///
    /// # Errors
    /// As [`Device::open`].
    pub fn open_checked(self) -> Result<Arc<dyn Backend>> {
        self.open_as(CpuBackend::checked)
    }

    fn open_as(self, cpu: fn() -> CpuBackend) -> Result<Arc<dyn Backend>> {
        match self {
            Self::Auto | Self::Cpu => Ok(Arc::new(cpu())),
            Self::Cuda(number) => Err(cuda_refused(number)),
        }
    }
}

/// This version computes on processor cores; say so, and say what a later one would need.
fn cuda_refused(number: usize) -> Error {
    let driver = match find_cuda_driver() {
        Some(path) => format!("a driver is at {}", path.display()),
        None => format!(
            "no NVIDIA driver either: {CUDA_DRIVER} is not in {}",
            joined(&library_folders())
        ),
    };
    Error::usage(
        "--device",
        format!("cuda:{number} cannot be used: this version has no CUDA engine yet ({driver})"),
        "use --device cpu",
    )
}

/// The driver's library.
pub const CUDA_DRIVER: &str = "libcuda.so.1";

/// Where the driver's library lies, if anywhere that the dynamic loader or a toolkit would look.
pub fn find_cuda_driver() -> Option<PathBuf> {
    library_folders()
        .into_iter()
        .map(|folder| folder.join(CUDA_DRIVER))
        .find(|path| path.exists())
}

/// The folders in which shared libraries are looked for.
pub fn library_folders() -> Vec<PathBuf> {
    const STANDARD: [&str; 6] = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
        "/usr/local/cuda/lib64",
        "/usr/local/nvidia/lib64",
    ];
    let from_environment = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    env::split_paths(&from_environment)
        .filter(|folder| !folder.as_os_str().is_empty())
        .chain(STANDARD.iter().map(PathBuf::from))
        .collect()
}

fn joined(folders: &[PathBuf]) -> String {
    let names: Vec<_> = folders
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    names.join(", ")
}
