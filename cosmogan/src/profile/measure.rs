//! Warm-up, repeats, rows.

use std::sync::Arc;
use std::time::Instant;

use cosmogan_engine::backend::Backend;
use cosmogan_engine::profile::{Profiled, Sample};

use super::ceilings::Climb;
use super::record::{Conditions, FORMAT, Profile, Verified};
use super::rows::{finish_rows, rows};
use super::samples::{median, noise};
use super::workload::Workload;
use crate::error::Result;
use crate::model::ModelConfig;
use crate::progress::Progress;
use crate::tune::lookup::describe;

/// Passes before the first that is timed: kernels are compiled, memory is touched, a training step is recorded.
const WARM_UP: usize = 3;

/// What is measured, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What runs, in a word.
    pub subject: String,
    /// The model, where one runs.
    pub model: Option<ModelConfig>,
    /// Maps at a time, where a model runs.
    pub batch: Option<usize>,
    /// Passes that are timed.
    pub repeats: usize,
    /// Whether caches are emptied before every operator.
    pub cold: bool,
    /// The only kernel that is launched once everything is warm, if not all are.
    pub only: Option<&'static str>,
}

impl Settings {
    /// A profile in which nothing is measured yet.
    pub fn begin(&self, device: &Profiled) -> Profile {
        Profile {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: device.description(),
            precision: device.precision().to_string(),
            hopper_lack: device.hopper_lack().map(str::to_owned),
            tuning: device.choices().map(describe),
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
            outside_seconds: None,
            floor_seconds: None,
            rows: Vec::new(),
        }
    }
}

/// A profile, and the samples of one pass of typical length.
#[derive(Debug)]
pub struct Measured {
    /// What was found out.
    pub profile: Profile,
    /// One pass, in order.
    pub pass: Vec<Sample>,
}

/// One pass with its time by the host's clock.
pub(super) struct Pass {
    pub(super) samples: Vec<Sample>,
    pub(super) seconds: f64,
}

/// Runs what `make` makes on `device`, first without a profiler and then with it. On a device without a clock worth
/// reading, one pass is counted.
///
/// # Errors
/// Where the device fails or has no room.
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
    let mut climb = Climb::default();
    // Of one kernel alone, other profilers are to see no product before the one that was asked for.
    let alone = settings.only.is_some();
    if !alone {
        climb.sample(device)?;
    }
    let plain = time(device, make, settings)?;
    let passes = profiled(device, &backend, make, settings)?;
    climb.sample(device)?;
    if alone {
        climb.sample(device)?;
    }
    let after = Conditions::now("after", device);

    let ceilings = climb.finish(device);
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

/// Seconds of passes without a profiler.
fn time(
    device: &Profiled,
    make: &dyn Fn(&Arc<dyn Backend>) -> Result<Workload>,
    settings: &Settings,
) -> Result<Vec<f64>> {
    let mut workload = warm(device, &device.unprofiled(), make, settings)?;
    (0..settings.repeats)
        .map(|_| {
            let started = Instant::now();
            workload.run()?;
            Ok(started.elapsed().as_secs_f64())
        })
        .collect()
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

/// A workload that has run a few times, on a device that launches from now on what it shall.
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

/// Seconds of a pass outside all samples.
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
