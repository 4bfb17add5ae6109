//! Profiling wrapper around a backend.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use cosmogan_kernels::Tier;
use cosmogan_kernels::tuning::TileConfigs;

use super::ceiling::{Copy, cache_bytes};
use super::instruments::Instruments;
use super::launcher::ProfiledLauncher;
use super::layers::Layers;
use super::operator::Operator;
use super::profiler::{Profiler, Sample};
use crate::backend::cpu::CpuBackend;
use crate::backend::launch::{LaunchBackend, Launcher};
use crate::backend::{Arithmetic, Backend, Fusion, Op, Precision, Recording};
use crate::error::Result;
use crate::geometry::{ConvGeometry, ConvMethod, ConvProduct};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A backend that runs another one, and records every operator between [`Profiled::start`] and
/// [`Profiled::finish`].
pub struct Profiled {
    inner: Arc<dyn Backend>,
    profiler: Profiler,
    precision: Precision,
    /// The highest tier of kernels in use.
    highest: Tier,
    /// On a device that runs kernels: the launcher that records, and the backend on top of it.
    launched: Option<(Arc<ProfiledLauncher>, LaunchBackend)>,
    hopper_lack: Option<String>,
}

impl Profiled {
    /// Wraps a CPU backend; records one sample per operator.
    pub fn on_processor(backend: Arc<CpuBackend>) -> Self {
        Self {
            inner: backend,
            profiler: Profiler::default(),
            precision: Precision::F32,
            highest: Tier::Plain,
            launched: None,
            hopper_lack: None,
        }
    }

    /// Wraps the operators on `launcher`; records one sample per launch.
    ///
    /// If the device has no [`Instruments`], launches are counted but not run, and outputs are meaningless. Only
    /// kernels up to tier `highest` are used.
    ///
    /// # Errors
    /// If the device lacks the tensor cores that the precision needs.
    pub fn on_launcher(
        launcher: Arc<dyn Launcher>,
        precision: Precision,
        highest: Tier,
    ) -> Result<Self> {
        let profiler = Profiler::default();
        let launcher = Arc::new(ProfiledLauncher::new(launcher, profiler.clone()));
        let backend = LaunchBackend::new(Arc::clone(&launcher) as Arc<dyn Launcher>, precision)?
            .up_to(highest)
            .prepared();
        Ok(Self {
            hopper_lack: backend.hopper_lack().map(str::to_owned),
            inner: Arc::new(backend.clone()),
            profiler,
            precision,
            highest,
            launched: Some((launcher, backend)),
        })
    }

    /// Returns the same device with the tile configurations of `tile_configs`; both share their tensors.
    #[must_use]
    pub fn with_tile_configs(&self, tile_configs: Arc<TileConfigs>) -> Self {
        let launched = self.launched.as_ref();
        let launched = launched.map(|(launcher, backend)| {
            (
                Arc::clone(launcher),
                backend.clone().with_tile_configs(tile_configs),
            )
        });
        let inner = launched.as_ref().map_or_else(
            || Arc::clone(&self.inner),
            |(_, backend)| Arc::new(backend.clone()) as Arc<dyn Backend>,
        );
        Self {
            inner,
            profiler: self.profiler.clone(),
            precision: self.precision,
            highest: self.highest,
            launched,
            hopper_lack: self.hopper_lack.clone(),
        }
    }

    /// The tile configurations of GEMMs, if the device runs kernels.
    pub fn tile_configs(&self) -> Option<&TileConfigs> {
        self.launched
            .as_ref()
            .map(|(_, backend)| backend.tile_configs())
    }

    /// Returns the same device with f32 GEMMs; `None` if they are f32 already.
    ///
    /// # Errors
    /// If the device fails.
    pub fn in_f32(&self) -> Result<Option<Self>> {
        match &self.launched {
            Some((launcher, _)) if self.precision != Precision::F32 => {
                Self::on_launcher(launcher.inner(), Precision::F32, self.highest).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The wrapped backend, which does not record; both share their tensors.
    pub fn unprofiled(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.inner)
    }

    /// Operand precision of GEMMs.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Why no GEMM runs on a Hopper kernel; see [`LaunchBackend::hopper_lack`].
    pub fn hopper_lack(&self) -> Option<&str> {
        self.hopper_lack.as_deref()
    }

    /// Starts a new recording.
    pub fn start(&self) {
        self.profiler.start();
    }

    /// Waits for the device; returns everything that ran since the start, in order.
    ///
    /// # Errors
    /// If the device fails.
    pub fn finish(&self) -> Result<Vec<Sample>> {
        self.profiler.finish(self.instruments())
    }

    /// Returns an observer that records the layers of the inference generator
    /// ([`Stack`](crate::inference::Stack)).
    ///
    /// `operators` gives, for each layer, the operator for one image and its algorithm.
    pub fn watch(&self, operators: Vec<(Operator, ConvMethod)>) -> Layers {
        Layers::new(self.profiler.clone(), operators)
    }

    /// Sets whether caches are flushed before every recorded operator or launch.
    ///
    /// # Errors
    /// If the device has no memory for the buffers that flush them.
    pub fn set_cold(&self, cold: bool) -> Result<()> {
        match &self.launched {
            Some((launcher, _)) => launcher.set_cold(cold),
            None => {
                let flush = cold.then(|| {
                    let mut copy = Copy::of(cache_bytes());
                    Box::new(move || {
                        copy.run();
                    }) as Box<dyn FnMut() + Send>
                });
                self.profiler.flush_with(flush);
                Ok(())
            }
        }
    }

    /// Launches only this kernel from now on, so that the vendor's profiler sees no other; `None` launches all.
    pub fn launch_only(&self, kernel: Option<&'static str>) {
        if let Some((launcher, _)) = &self.launched {
            launcher.only(kernel);
        }
    }

    /// The wrapped launcher, which does not record.
    pub fn launcher(&self) -> Option<Arc<dyn Launcher>> {
        self.launched.as_ref().map(|(launcher, _)| launcher.inner())
    }

    /// Whether this device runs kernels.
    pub fn launches(&self) -> bool {
        self.launched.is_some()
    }

    /// The device's clock, if it has one.
    pub fn instruments(&self) -> Option<&dyn Instruments> {
        self.launched.as_ref()?.0.instruments()
    }

    /// Whether samples have times.
    pub fn has_clock(&self) -> bool {
        self.launched.is_none() || self.instruments().is_some()
    }
}

impl fmt::Debug for Profiled {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Profiled({:?})", self.inner)
    }
}

/// Forwards every call unchanged, and records the operators.
impl Backend for Profiled {
    fn description(&self) -> String {
        self.inner.description()
    }

    fn arithmetic(&self) -> Arithmetic {
        self.inner.arithmetic()
    }

    fn run(&self, op: Op<'_>) -> Result<()> {
        let Some(operator) = Operator::of(&op) else {
            return self.inner.run(op);
        };
        let method = op
            .convolution()
            .map_or(ConvMethod::Direct, |(product, geometry)| {
                self.inner.conv_method(product, geometry)
            });
        if self.launched.is_none() {
            self.profiler.flush();
            let started = Instant::now();
            let outcome = self.inner.run(op);
            self.profiler.ran(operator, method, started);
            return outcome;
        }
        if let Some(device) = self.instruments() {
            device.push_range(&operator.to_string());
        }
        self.profiler.enter(operator, method);
        let outcome = self.inner.run(op);
        self.profiler.leave();
        if let Some(device) = self.instruments() {
            device.pop_range();
        }
        outcome
    }

    fn empty(&self, shape: Shape) -> Result<Tensor> {
        self.inner.empty(shape)
    }

    fn write_part(&self, tensor: &mut Tensor, first: usize, values: &[f32]) -> Result<()> {
        self.inner.write_part(tensor, first, values)
    }

    fn download(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        self.inner.download(tensor)
    }

    /// Does not record: the parts of a replayed graph cannot be timed.
    fn record(&self, _: &mut dyn FnMut() -> Result<()>) -> Result<Option<Box<dyn Recording>>> {
        Ok(None)
    }

    fn free_memory(&self) -> Option<usize> {
        self.inner.free_memory()
    }

    fn conv_method(&self, product: ConvProduct, geometry: &ConvGeometry) -> ConvMethod {
        self.inner.conv_method(product, geometry)
    }

    fn conv_fusion(&self, product: ConvProduct, geometry: &ConvGeometry) -> Fusion {
        self.inner.conv_fusion(product, geometry)
    }

    fn linear_fusion(&self, extents: [usize; 3], channels: usize) -> Fusion {
        self.inner.linear_fusion(extents, channels)
    }

    fn empty_packed(&self, shape: Shape) -> Result<Tensor> {
        self.inner.empty_packed(shape)
    }

    fn keeps_packed(&self) -> bool {
        self.inner.keeps_packed()
    }

    fn recomputes(&self) -> bool {
        self.inner.recomputes()
    }
}
