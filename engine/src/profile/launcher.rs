//! A launcher that records its launches.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use cosmogan_kernels::Launch;

use super::instruments::Instruments;
use super::profiler::Profiler;
use crate::backend::Recording;
use crate::backend::launch::{Allocation, Arguments, KernelDevice, Launcher};
use crate::error::Result;

/// A launcher that forwards and records launches.
///
/// On a device without a meaningful clock, launches are counted but not run.
pub(super) struct ProfiledLauncher {
    inner: Arc<dyn Launcher>,
    profiler: Profiler,
    /// The only kernel that is launched; `None` launches all.
    only: Mutex<Option<&'static str>>,
    /// Two buffers of the size of the last-level cache: a copy between them evicts everything else from it.
    eviction: Mutex<Option<[Box<dyn Allocation>; 2]>>,
}

impl ProfiledLauncher {
    pub(super) fn new(inner: Arc<dyn Launcher>, profiler: Profiler) -> Self {
        Self {
            inner,
            profiler,
            only: Mutex::new(None),
            eviction: Mutex::new(None),
        }
    }

    pub(super) fn inner(&self) -> Arc<dyn Launcher> {
        Arc::clone(&self.inner)
    }

    pub(super) fn only(&self, kernel: Option<&'static str>) {
        *self.only.lock().unwrap_or_else(PoisonError::into_inner) = kernel;
    }

    /// Sets whether the last-level cache is flushed before every launch.
    pub(super) fn set_cold(&self, cold: bool) -> Result<()> {
        let memory = match self.inner.instruments() {
            Some(device) if cold => {
                let allocate = || self.inner.device().allocate(device.cache_bytes());
                Some([allocate()?, allocate()?])
            }
            _ => None,
        };
        *self.eviction.lock().unwrap_or_else(PoisonError::into_inner) = memory;
        Ok(())
    }

    fn is_skipped(&self, launch: &Launch) -> bool {
        let only = self.only.lock().unwrap_or_else(PoisonError::into_inner);
        only.is_some_and(|only| only != launch.kernel.name)
    }

    fn flush(&self, device: &dyn Instruments) -> Result<()> {
        let memory = self.eviction.lock().unwrap_or_else(PoisonError::into_inner);
        match &*memory {
            Some([from, to]) => device.copy(&**from, &**to, device.cache_bytes()),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for ProfiledLauncher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Profiled({:?})", self.inner)
    }
}

impl Launcher for ProfiledLauncher {
    fn device(&self) -> &dyn KernelDevice {
        self.inner.device()
    }

    fn launch(&self, launch: &Launch, arguments: &Arguments) -> Result<()> {
        if self.is_skipped(launch) {
            return Ok(());
        }
        let Some(device) = self.inner.instruments() else {
            self.profiler.launched(launch, None);
            return Ok(());
        };
        if !self.profiler.is_recording() {
            return self.inner.launch(launch, arguments);
        }
        self.flush(device)?;
        let from = device.mark()?;
        self.inner.launch(launch, arguments)?;
        let to = device.mark()?;
        self.profiler.launched(launch, Some([from, to]));
        Ok(())
    }

    fn record(&self, body: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Recording>> {
        self.inner.record(body)
    }

    fn instruments(&self) -> Option<&dyn Instruments> {
        self.inner.instruments()
    }
}
