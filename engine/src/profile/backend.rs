//! Profiling wrapper around a backend.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use cosmogan_kernels::Tier;
use cosmogan_kernels::tuning::Choices;

use super::ceiling::{Copy, cache_bytes};
use super::instruments::Instruments;
use super::launcher::ProfiledLauncher;
use super::layers::Layers;
use super::operator::{Kind, Operator};
use super::profiler::{Profiler, Sample};
use crate::adam::AdamStep;
use crate::backend::cpu::CpuBackend;
use crate::backend::launch::{LaunchBackend, Launcher, Recording};
use crate::backend::{Activation, Backend, Epilogue, Fusion, Normalisation, Precision};
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

    /// Returns the same device with the tile configurations of `choices`; both share their tensors.
    #[must_use]
    pub fn with_choices(&self, choices: Arc<Choices>) -> Self {
        let launched = self.launched.as_ref();
        let launched = launched.map(|(launcher, backend)| {
            (Arc::clone(launcher), backend.clone().with_choices(choices))
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
    pub fn choices(&self) -> Option<&Choices> {
        self.launched.as_ref().map(|(_, backend)| backend.choices())
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

    fn run(&self, operator: Operator, body: impl FnOnce() -> Result<()>) -> Result<()> {
        self.run_by(operator, ConvMethod::Direct, body)
    }

    fn run_by(
        &self,
        operator: Operator,
        method: ConvMethod,
        body: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        if self.launched.is_none() {
            self.profiler.flush();
            let started = Instant::now();
            let outcome = body();
            self.profiler.ran(operator, method, started);
            return outcome;
        }
        if let Some(device) = self.instruments() {
            device.push_range(&operator.to_string());
        }
        self.profiler.enter(operator, method);
        let outcome = body();
        self.profiler.leave();
        if let Some(device) = self.instruments() {
            device.pop_range();
        }
        outcome
    }

    fn convolve(
        &self,
        kind: Kind,
        product: ConvProduct,
        geometry: &ConvGeometry,
        body: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let method = self.inner.conv_method(product, geometry);
        self.run_by(Operator::convolution(kind, geometry), method, body)
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

    fn empty(&self, shape: Shape) -> Result<Tensor> {
        self.inner.empty(shape)
    }

    fn upload(&self, shape: Shape, values: &[f32]) -> Result<Tensor> {
        self.inner.upload(shape, values)
    }

    fn write_part(&self, tensor: &mut Tensor, first: usize, values: &[f32]) -> Result<()> {
        self.inner.write_part(tensor, first, values)
    }

    fn download(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        self.inner.download(tensor)
    }

    fn linear(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        epilogue: Epilogue<'_>,
        y: &mut Tensor,
    ) -> Result<()> {
        self.run(Operator::linear(Kind::Linear, x, y), || {
            self.inner.linear(x, weight, bias, epilogue, y)
        })
    }

    fn linear_fusion(&self, extents: [usize; 3], channels: usize) -> Fusion {
        self.inner.linear_fusion(extents, channels)
    }

    fn linear_dgrad(&self, dy: &Tensor, weight: &Tensor, dx: &mut Tensor) -> Result<()> {
        self.run(Operator::linear(Kind::LinearDgrad, dx, dy), || {
            self.inner.linear_dgrad(dy, weight, dx)
        })
    }

    fn linear_wgrad(&self, x: &Tensor, dy: &Tensor, dweight: &mut Tensor) -> Result<()> {
        self.run(Operator::linear(Kind::LinearWgrad, x, dy), || {
            self.inner.linear_wgrad(x, dy, dweight)
        })
    }

    fn bias_gradient(&self, dy: &Tensor, dbias: &mut Tensor) -> Result<()> {
        self.run(Operator::over(Kind::BiasGradient, dy), || {
            self.inner.bias_gradient(dy, dbias)
        })
    }

    fn conv_method(&self, product: ConvProduct, geometry: &ConvGeometry) -> ConvMethod {
        self.inner.conv_method(product, geometry)
    }

    fn conv_fusion(&self, product: ConvProduct, geometry: &ConvGeometry) -> Fusion {
        self.inner.conv_fusion(product, geometry)
    }

    fn empty_packed(&self, shape: Shape) -> Result<Tensor> {
        self.inner.empty_packed(shape)
    }

    fn keeps_packed(&self) -> bool {
        self.inner.keeps_packed()
    }

    fn pack(&self, values: &Tensor, packed: &mut Tensor) -> Result<()> {
        self.inner.pack(values, packed)
    }

    fn conv_fprop(
        &self,
        geometry: &ConvGeometry,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        epilogue: Epilogue<'_>,
        y: &mut Tensor,
    ) -> Result<()> {
        self.convolve(Kind::Fprop, ConvProduct::Fprop, geometry, || {
            self.inner
                .conv_fprop(geometry, x, weight, bias, epilogue, y)
        })
    }

    fn conv_dgrad(
        &self,
        geometry: &ConvGeometry,
        y: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        epilogue: Epilogue<'_>,
        x: &mut Tensor,
    ) -> Result<()> {
        self.convolve(Kind::Dgrad, ConvProduct::Dgrad, geometry, || {
            self.inner
                .conv_dgrad(geometry, y, weight, bias, epilogue, x)
        })
    }

    fn conv_wgrad(
        &self,
        geometry: &ConvGeometry,
        x: &Tensor,
        y: &Tensor,
        weight: &mut Tensor,
    ) -> Result<()> {
        self.convolve(Kind::Wgrad, ConvProduct::Wgrad, geometry, || {
            self.inner.conv_wgrad(geometry, x, y, weight)
        })
    }

    fn batch_statistics(&self, x: &Tensor, mean: &mut Tensor, variance: &mut Tensor) -> Result<()> {
        self.run(Operator::over(Kind::BatchStatistics, x), || {
            self.inner.batch_statistics(x, mean, variance)
        })
    }

    fn normalise(&self, x: &Tensor, by: Normalisation<'_>, y: &mut Tensor) -> Result<()> {
        self.run(Operator::over(Kind::Normalise, x), || {
            self.inner.normalise(x, by, y)
        })
    }

    fn normalise_gradient(
        &self,
        x: &Tensor,
        by: Normalisation<'_>,
        dy: &Tensor,
        dx: &mut Tensor,
        dscale: &mut Tensor,
        dshift: &mut Tensor,
    ) -> Result<()> {
        self.run(Operator::over(Kind::NormaliseGradient, x), || {
            self.inner.normalise_gradient(x, by, dy, dx, dscale, dshift)
        })
    }

    fn update_running(
        &self,
        running: &mut Tensor,
        batch: &Tensor,
        momentum: f32,
        factor: f32,
    ) -> Result<()> {
        self.run(Operator::over(Kind::UpdateRunning, batch), || {
            self.inner.update_running(running, batch, momentum, factor)
        })
    }

    fn activate(&self, activation: Activation, x: &Tensor, y: &mut Tensor) -> Result<()> {
        self.run(Operator::over(Kind::activation(activation), x), || {
            self.inner.activate(activation, x, y)
        })
    }

    fn activate_gradient(
        &self,
        activation: Activation,
        y: &Tensor,
        dy: &Tensor,
        dx: &mut Tensor,
    ) -> Result<()> {
        self.run(
            Operator::over(Kind::activation_gradient(activation), y),
            || self.inner.activate_gradient(activation, y, dy, dx),
        )
    }

    fn bce_with_logits(&self, logits: &Tensor, target: f32, loss: &mut Tensor) -> Result<()> {
        let operator = Operator::values(Kind::BceWithLogits, 1, logits.shape().len());
        self.run(operator, || {
            self.inner.bce_with_logits(logits, target, loss)
        })
    }

    fn bce_with_logits_gradient(
        &self,
        logits: &Tensor,
        target: f32,
        dloss: &Tensor,
        dlogits: &mut Tensor,
    ) -> Result<()> {
        let operator = Operator::values(Kind::BceWithLogitsGradient, 1, logits.shape().len());
        self.run(operator, || {
            self.inner
                .bce_with_logits_gradient(logits, target, dloss, dlogits)
        })
    }

    fn add(&self, a: &Tensor, b: &Tensor, y: &mut Tensor) -> Result<()> {
        // Mostly weight gradients, whose extents would be taken for those of activations.
        let operator = Operator::values(Kind::Add, 1, a.shape().len());
        self.run(operator, || self.inner.add(a, b, y))
    }

    fn copy(&self, from: &Tensor, to: &mut Tensor, first: usize) -> Result<()> {
        self.run(Operator::over(Kind::Copy, from), || {
            self.inner.copy(from, to, first)
        })
    }

    fn squared_norm(&self, tensors: &[Tensor], sum: &mut Tensor) -> Result<()> {
        let length = tensors.iter().map(|tensor| tensor.shape().len()).sum();
        let operator = Operator::values(Kind::SquaredNorm, tensors.len(), length);
        self.run(operator, || self.inner.squared_norm(tensors, sum))
    }

    fn recomputes(&self) -> bool {
        self.inner.recomputes()
    }

    fn free_memory(&self) -> Option<usize> {
        self.inner.free_memory()
    }

    fn gather(&self, maps: &Tensor, table: &Tensor, crops: &mut Tensor) -> Result<()> {
        self.run(Operator::over(Kind::Gather, crops), || {
            self.inner.gather(maps, table, crops)
        })
    }

    fn gather_half(
        &self,
        pairs: &Tensor,
        extents: [usize; 4],
        table: &Tensor,
        crops: &mut Tensor,
    ) -> Result<()> {
        self.run(Operator::over(Kind::Gather, crops), || {
            self.inner.gather_half(pairs, extents, table, crops)
        })
    }

    fn adam(&self, step: AdamStep<'_>) -> Result<()> {
        let lengths = step.operands.iter();
        let length = lengths.map(|operand| operand.gradient.shape().len()).sum();
        let operator = Operator::values(Kind::Adam, step.operands.len(), length);
        self.run(operator, || self.inner.adam(step))
    }

    /// Does not record: the parts of a replayed graph cannot be timed.
    fn record(&self, _: &mut dyn FnMut() -> Result<()>) -> Result<Option<Box<dyn Recording>>> {
        Ok(None)
    }
}
