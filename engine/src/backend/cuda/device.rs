//! The CUDA driver and the GPUs that it reports.

use std::ffi::{CStr, c_char};
use std::panic;

use cosmogan_kernels::Tier;
use cudarc::driver::{result, sys};

use crate::backend::launch::Gpu;
use crate::error::{Error, Result};

/// The driver and its GPUs.
#[derive(Clone, Debug)]
pub struct CudaInventory {
    /// Major and minor version of CUDA that the driver supports.
    pub driver: [i32; 2],
    /// The GPUs, indexed by number.
    pub devices: Vec<CudaDevice>,
}

/// One GPU.
#[derive(Clone, Debug)]
pub struct CudaDevice {
    /// The driver's number for it, counted from 0.
    pub number: i32,
    /// The name that the driver reports.
    pub name: String,
    /// Compute capability times ten: 90 for 9.0.
    pub capability: i32,
    /// Device memory in bytes.
    pub memory: usize,
    /// Number of streaming multiprocessors.
    pub multiprocessors: i32,
}

impl CudaDevice {
    /// Returns why kernels of `tier` cannot run on this GPU, in one line; `None` if they can.
    ///
    /// `target` is the architecture that NVRTC compiles for.
    pub fn lack(&self, tier: Tier, target: &str) -> Option<String> {
        let has = format!(
            "{} has compute capability {}.{}",
            self.name,
            self.capability / 10,
            self.capability % 10
        );
        match tier {
            Tier::Tiled if self.capability < 80 => {
                Some(format!("{has}, but tiled kernels need 8.0 or later"))
            }
            Tier::Hopper if self.capability != 90 => {
                Some(format!("{has}, but Hopper kernels need exactly 9.0"))
            }
            Tier::Hopper if target != "sm_90" => Some(format!(
                "NVRTC compiles for {target}, but Hopper kernels need sm_90"
            )),
            Tier::Plain | Tier::Tiled | Tier::Hopper => None,
        }
    }
}

impl CudaInventory {
    /// The properties of GPU number `number` on which kernel times depend.
    pub fn gpu(&self, number: usize) -> Option<Gpu> {
        let device = self.devices.get(number)?;
        Some(Gpu {
            name: device.name.clone(),
            capability: device.capability,
            driver: self.driver,
        })
    }
}

/// Oldest CUDA version whose driver has every function called here, including `cuTensorMapEncodeTiled` for TMA.
const OLDEST_DRIVER: i32 = 12;

/// Whether an NVIDIA driver is installed.
pub fn is_driver_present() -> bool {
    // SAFETY: the driver's library has no initialisers with preconditions.
    unsafe { sys::is_culib_present() }
}

/// Queries the driver and its GPUs.
///
/// # Errors
/// If there is no driver, or it is too old or does not work; the message names a remedy.
pub fn inventory() -> Result<CudaInventory> {
    if !is_driver_present() {
        return Err(Error::Device(
            "no NVIDIA driver found: libcuda.so.1 is not on the loader's path; install the driver, or use --device cpu"
                .to_owned(),
        ));
    }
    // `cudarc` panics if the driver lacks a function, which means that the driver is too old.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let found = panic::catch_unwind(ask);
    panic::set_hook(hook);
    found.unwrap_or_else(|_| {
        Err(Error::Device(format!(
            "the NVIDIA driver is too old; install one for CUDA {OLDEST_DRIVER} or later, or use --device cpu"
        )))
    })
}

fn ask() -> Result<CudaInventory> {
    let failed = |error| describe("use", "the NVIDIA driver", error);
    let mut version = 0;
    // SAFETY: the pointer refers to an integer.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }
        .result()
        .map_err(failed)?;
    let driver = [version / 1000, version % 1000 / 10];
    if driver[0] < OLDEST_DRIVER {
        return Err(Error::Device(format!(
            "the NVIDIA driver supports CUDA {}.{}, which is too old; install one for CUDA {OLDEST_DRIVER} or later, or use --device cpu",
            driver[0], driver[1]
        )));
    }
    // Without a GPU, the driver either fails to initialise or reports no devices.
    let none = |reason: String| {
        Error::Device(format!(
            "the NVIDIA driver reports no GPU{reason}; check nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu"
        ))
    };
    result::init().map_err(|error| none(format!(": {}", failed(error))))?;
    let count = result::device::get_count().map_err(failed)?;
    let devices = (0..count).map(device).collect::<Result<Vec<_>>>()?;
    if devices.is_empty() {
        return Err(none(String::new()));
    }
    Ok(CudaInventory { driver, devices })
}

fn device(number: i32) -> Result<CudaDevice> {
    use sys::CUdevice_attribute as Attribute;
    let failed = |error| describe("query", &format!("GPU number {number}"), error);
    let handle = result::device::get(number).map_err(failed)?;
    // SAFETY: `handle` is a valid device.
    let attribute =
        |attribute| unsafe { result::device::get_attribute(handle, attribute) }.map_err(failed);
    let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Ok(CudaDevice {
        number,
        name: result::device::get_name(handle).map_err(failed)?,
        capability: 10 * major + minor,
        // SAFETY: `handle` is a valid device.
        memory: unsafe { result::device::total_mem(handle) }.map_err(failed)?,
        multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
    })
}

/// Makes a context current on the calling thread.
pub(super) fn set_current(context: sys::CUcontext) -> std::result::Result<(), result::DriverError> {
    // SAFETY: the context is retained while its device is open.
    unsafe { result::ctx::set_current(context) }
}

/// The error of a driver call made outside a context, or of an attribute query.
pub(super) fn describe(verb: &str, what: &str, error: result::DriverError) -> Error {
    Error::Device(format!("cannot {verb} {what}: {}", describe_code(error)))
}

/// Text, name and number of an error code, e.g. `out of memory (CUDA_ERROR_OUT_OF_MEMORY, 2)`.
pub(super) fn describe_code(error: result::DriverError) -> String {
    let mut name: *const c_char = std::ptr::null();
    let mut text: *const c_char = std::ptr::null();
    // SAFETY: the driver sets both to static strings or leaves them unchanged.
    unsafe {
        let _ = sys::cuGetErrorName(error.0, &raw mut name);
        let _ = sys::cuGetErrorString(error.0, &raw mut text);
    }
    format!(
        "{} ({}, {})",
        static_text(text),
        static_text(name),
        error.0 as i32
    )
}

/// Converts a static C string of the driver.
fn static_text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the driver's strings are static and end with a NUL byte.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}
