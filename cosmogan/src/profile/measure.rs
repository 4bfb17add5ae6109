//! A profiling run: warm-up, timed passes, and the rows of the profile.

use std::sync::Arc;
use std::time::Instant;

use cosmogan_engine::backend::Backend;
use cosmogan_engine::profile::{Profiled, Sample};

use super::ceilings::RateSamples;
use super::record::{Conditions, DeviceSeconds, FORMAT, Profile, Verified};
use super::rows::{Pass, finish_rows, rows};
use super::samples::{median, noise};
use super::workload::Workload;
use crate::error::Result;
use crate::model::ModelConfig;
use crate::progress::Progress;
use crate::tune::lookup::describe;

/// Warm-up passes, which compile kernels, touch memory and record the training step as a CUDA graph.
const WARM_UP: usize = 3;

/// Settings of a profile.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The target, or the operator with its extents.
    pub subject: String,
    /// The model, if one runs.
    pub model: Option<ModelConfig>,
    /// Batch size, if a model runs.
    pub batch: Option<usize>,
    /// Number of timed passes.
    pub repeats: usize,
    /// Whether caches are flushed before every operator.
    pub cold: bool,
    /// The only kernel to launch after the warm-up; `None` launches all.
    pub only: Option<&'static str>,
}

impl Settings {
    /// Creates a profile without measurements.
    pub fn begin(&self, device: &Profiled) -> Profile {
        Profile {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: device.description(),
            precision: device.precision().to_string(),
            hopper_lack: device.hopper_lack().map(str::to_owned),
            tuning: device.tile_configs().map(describe),
            subject: self.subject.clone(),
            model: self.model,
            batch: self.batch,
            cold: self.cold,
            repeats: self.repeats,
            verified: None,
            ceilings: None,
            conditions: Vec::new(),
            seconds: None,
            noise: None,
            device_seconds: None,
            recorded: false,
            recording_failure: None,
            outside_seconds: None,
            floor_seconds: None,
            rows: Vec::new(),
        }
    }
}

/// A profile, and the samples of one typical pass.
#[derive(Debug)]
pub struct Measured {
    /// The profile.
    pub profile: Profile,
    /// Samples of the pass of median length, in order.
    pub pass: Vec<Sample>,
}

/// Measures a workload on `device`, first without the profiler and then with it.
///
/// `make` creates the workload. On a device without a meaningful clock, the launches of one pass are only counted.
///
/// # Errors
/// If the device fails or its memory is too small.
pub fn measure(
    device: &Arc<Profiled>,
    make: &dyn Fn(&Arc<dyn Backend>) -> Result<Workload>,
    settings: &Settings,
    verified: Option<Verified>,
) -> Result<Measured> {
    let mut profile = settings.begin(device);
    profile.verified = verified;
    let backend: Arc<dyn Backend> = Arc::clone(device) as Arc<dyn Backend>;
    if !device.has_clock() {
        let mut workload = make(&backend)?;
        device.start();
        workload.run()?;
        let pass = device.finish()?;
        let counted = [Pass {
            samples: pass.clone(),
            seconds: f64::NAN,
        }];
        profile.repeats = 1;
        profile.rows = rows(&counted, device)?;
        return Ok(Measured { profile, pass });
    }

    let before = Conditions::now("before", device);
    let mut samples = RateSamples::default();
    // With a single kernel, other profilers must see no GEMM before it; peaks are measured afterwards instead.
    let alone = settings.only.is_some();
    if !alone {
        samples.sample(device)?;
    }
    let mut workload = warm(device, &device.unprofiled(), make, settings)?;
    let plain = time(&mut workload, settings.repeats)?;
    profile.recorded = workload.was_replayed();
    profile.recording_failure = workload.recording_failure();
    profile.device_seconds = time_on_device(device, &mut workload, settings.repeats)?;
    drop(workload);
    let passes = profiled(device, &backend, make, settings)?;
    samples.sample(device)?;
    if alone {
        samples.sample(device)?;
    }
    let after = Conditions::now("after", device);

    let ceilings = samples.finish(device);
    profile.rows = rows(&passes, device)?;
    if !settings.cold {
        let outside: Vec<f64> = passes.iter().map(outside).collect();
        profile.outside_seconds = Some(median(&outside).max(0.0));
    }
    profile.floor_seconds = Some(finish_rows(
        &mut profile.rows,
        &ceilings,
        profile.outside_seconds,
    ));
    profile.seconds = Some(median(&plain));
    profile.noise = Some(noise(&plain));
    profile.ceilings = Some(ceilings);
    profile.conditions = vec![before, after];
    Ok(Measured {
        profile,
        pass: typical(passes),
    })
}

/// Times passes without the profiler, in seconds of the host's clock.
fn time(workload: &mut Workload, repeats: usize) -> Result<Vec<f64>> {
    (0..repeats)
        .map(|_| {
            let started = Instant::now();
            workload.run()?;
            Ok(started.elapsed().as_secs_f64())
        })
        .collect()
}

/// Times passes with device events, with and without copies.
///
/// Returns `None` if the device has no events, or the workload has no part without copies.
fn time_on_device(
    device: &Profiled,
    workload: &mut Workload,
    repeats: usize,
) -> Result<Option<DeviceSeconds>> {
    let Some(events) = device.instruments() else {
        return Ok(None);
    };
    if !workload.has_device_part() {
        // Another profiler is to see no launch beyond those that are timed.
        return Ok(None);
    }
    let between = |work: &mut dyn FnMut() -> Result<()>| -> Result<f64> {
        let mut seconds = Vec::new();
        for _ in 0..repeats {
            let from = events.mark()?;
            work()?;
            let to = events.mark()?;
            seconds.push(events.seconds_between(from, to)?);
            events.clear_marks();
        }
        Ok(median(&seconds))
    };
    let with_copy = between(&mut || workload.run())?;
    let without_copy = between(&mut || workload.run_on_device())?;
    Ok(Some(DeviceSeconds {
        without_copy,
        with_copy,
    }))
}

fn profiled(
    device: &Profiled,
    backend: &Arc<dyn Backend>,
    make: &dyn Fn(&Arc<dyn Backend>) -> Result<Workload>,
    settings: &Settings,
) -> Result<Vec<Pass>> {
    let mut workload = warm(device, backend, make, settings)?;
    device.set_cold(settings.cold)?;
    let mut progress = Progress::new("profiling", settings.repeats as u64);
    let mut passes = Vec::new();
    for _ in 0..settings.repeats {
        device.start();
        let started = Instant::now();
        workload.run()?;
        let seconds = started.elapsed().as_secs_f64();
        passes.push(Pass {
            samples: device.finish()?,
            seconds,
        });
        progress.advance(1, "");
    }
    progress.finish("");
    device.set_cold(false)?;
    device.launch_only(None);
    Ok(passes)
}

/// Creates a workload and warms it up; then restricts the device to the kernel of the settings, if any.
fn warm(
    device: &Profiled,
    backend: &Arc<dyn Backend>,
    make: &dyn Fn(&Arc<dyn Backend>) -> Result<Workload>,
    settings: &Settings,
) -> Result<Workload> {
    device.launch_only(None);
    let mut workload = make(backend)?;
    for _ in 0..WARM_UP {
        workload.run()?;
    }
    device.launch_only(settings.only);
    Ok(workload)
}

/// Time of a pass outside all samples, in seconds.
fn outside(pass: &Pass) -> f64 {
    pass.seconds - inside(pass)
}

fn inside(pass: &Pass) -> f64 {
    pass.samples
        .iter()
        .filter_map(|sample| sample.seconds)
        .sum()
}

/// The samples of the pass of median length.
fn typical(mut passes: Vec<Pass>) -> Vec<Sample> {
    passes.sort_by(|a, b| inside(a).total_cmp(&inside(b)));
    let middle = passes.len() / 2;
    passes.swap_remove(middle).samples
}
