//! The driver, and which GPUs it shows.

use std::ffi::{CStr, c_char};
use std::panic;

use cosmogan_kernels::Tier;
use cudarc::driver::{result, sys};

use crate::backend::launch::Gpu;
use crate::error::{Error, Result};

/// What the driver shows.
#[derive(Clone, Debug)]
pub struct CudaInventory {
    /// Major and minor version of CUDA that the driver supports.
    pub driver: [i32; 2],
    /// Its GPUs, by number.
    pub devices: Vec<CudaDevice>,
}

/// One GPU.
#[derive(Clone, Debug)]
pub struct CudaDevice {
    /// Its number.
    pub number: i32,
    /// What the driver calls it.
    pub name: String,
    /// Compute capability, 90 for 9.0.
    pub capability: i32,
    /// Bytes of memory.
    pub memory: usize,
    /// Streaming multiprocessors.
    pub multiprocessors: i32,
}

impl CudaDevice {
    /// Why kernels of `tier` do not run on this GPU where NVRTC compiles for `target`, in one line; `None` where they do.
    pub fn lack(&self, tier: Tier, target: &str) -> Option<String> {
        let has = format!(
            "{} has compute capability {}.{}",
            self.name,
            self.capability / 10,
            self.capability % 10
        );
        match tier {
            Tier::Tiled if self.capability < 80 => {
                Some(format!("{has}, and tensor cores are used from 8.0 on"))
            }
            Tier::Hopper if self.capability != 90 => {
                Some(format!("{has}, and Hopper kernels are for 9.0 alone"))
            }
            Tier::Hopper if target != "sm_90" => Some(format!(
                "NVRTC compiles for {target} and not for sm_90, which Hopper kernels need"
            )),
            Tier::Plain | Tier::Tiled | Tier::Hopper => None,
        }
    }
}

impl CudaInventory {
    /// What times on GPU number `number` depend on.
    pub fn gpu(&self, number: usize) -> Option<Gpu> {
        let device = self.devices.get(number)?;
        Some(Gpu {
            name: device.name.clone(),
            capability: device.capability,
            driver: self.driver,
        })
    }
}

/// The oldest CUDA whose driver has everything that is called here, the description of tensors for TMA included.
const OLDEST_DRIVER: i32 = 12;

/// Whether a driver is installed.
pub fn is_driver_present() -> bool {
    // SAFETY: the driver's library has no initialisers that need anything of us.
    unsafe { sys::is_culib_present() }
}

/// Asks the driver what there is.
///
/// # Errors
/// Where there is no driver, or it is too old or does not work; the message says what to do.
pub fn inventory() -> Result<CudaInventory> {
    if !is_driver_present() {
        return Err(Error::Device(
            "there is no NVIDIA driver: libcuda.so.1 is not on the loader's path; install the driver, or use --device cpu"
                .to_owned(),
        ));
    }
    // `cudarc` panics where a driver lacks a function: that driver is too old.
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
    // SAFETY: the pointer leads to an integer.
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
    // A driver without a GPU fails to start, or shows none.
    let none = |reason: String| {
        Error::Device(format!(
            "the NVIDIA driver shows no GPU{reason}; check nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu"
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
    let failed = |error| describe("ask", &format!("GPU number {number}"), error);
    let handle = result::device::get(number).map_err(failed)?;
    // SAFETY: `handle` is a device.
    let attribute =
        |attribute| unsafe { result::device::get_attribute(handle, attribute) }.map_err(failed);
    let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Ok(CudaDevice {
        number,
        name: result::device::get_name(handle).map_err(failed)?,
        capability: 10 * major + minor,
        // SAFETY: `handle` is a device.
        memory: unsafe { result::device::total_mem(handle) }.map_err(failed)?,
        multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
    })
}

/// Makes a context current on this thread.
pub(super) fn set_current(context: sys::CUcontext) -> Result<()> {
    // SAFETY: the context is retained as long as its device is open.
    unsafe { result::ctx::set_current(context) }.map_err(|error| describe("use", "the GPU", error))
}

/// One line on a failure of the driver.
pub(super) fn describe(verb: &str, what: &str, error: result::DriverError) -> Error {
    let mut name: *const c_char = std::ptr::null();
    let mut text: *const c_char = std::ptr::null();
    // SAFETY: the driver sets both to static texts, or leaves them.
    unsafe {
        let _ = sys::cuGetErrorName(error.0, &raw mut name);
        let _ = sys::cuGetErrorString(error.0, &raw mut text);
    }
    Error::Device(format!(
        "cannot {verb} {what}: {} ({})",
        static_text(text),
        static_text(name)
    ))
}

/// A C string that a driver keeps.
fn static_text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the driver's texts are static and end with 0.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}
