//! Rows of a profile: samples of all passes grouped by operator, kernel and shape, and their limits.

use cosmogan_engine::ConvMethod;
use cosmogan_engine::profile::{Instruments, Profiled, Sample};
use cosmogan_kernels::{Launch, Tier};

use super::record::{Bound, Ceilings, Kernel, Resources, Row};
use super::samples::{disturbed, median, noise};
use crate::error::Result;

/// Seconds below which a call at its limit is latency-bound: the time to launch a kernel, or to wake all threads.
const START: f64 = 5e-6;

/// Samples of one pass, and its time by the host's clock in seconds.
pub(super) struct Pass {
    pub(super) samples: Vec<Sample>,
    pub(super) seconds: f64,
}

/// One row per operator, kernel and shape, without limits, in order of decreasing time.
pub(super) fn rows(passes: &[Pass], device: &Profiled) -> Result<Vec<Row>> {
    let mut keys: Vec<&Sample> = Vec::new();
    for sample in passes.iter().flat_map(|pass| &pass.samples) {
        if !keys.iter().any(|key| is_same(key, sample)) {
            keys.push(sample);
        }
    }
    let least = 1e-3 * median(&passes.iter().map(|pass| pass.seconds).collect::<Vec<_>>());
    let mut rows = keys
        .into_iter()
        .map(|key| row(key, passes, least, device.instruments()))
        .collect::<Result<Vec<_>>>()?;
    let weight = |row: &Row| row.seconds.unwrap_or(row.operations);
    rows.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    Ok(rows)
}

fn is_same(a: &Sample, b: &Sample) -> bool {
    let launch = |sample: &Sample| {
        let launch = sample.launch.as_ref()?;
        Some((launch.kernel.name, launch.module.clone(), launch.grid))
    };
    a.operator == b.operator && launch(a) == launch(b)
}

fn row(
    key: &Sample,
    passes: &[Pass],
    least: f64,
    instruments: Option<&dyn Instruments>,
) -> Result<Row> {
    let of_pass = |pass: &Pass| {
        let mine = pass.samples.iter().filter(|sample| is_same(sample, key));
        mine.filter_map(|sample| sample.seconds).sum::<f64>()
    };
    let first = passes.first().map_or(&[][..], |pass| &pass.samples);
    let calls: Vec<&Sample> = first.iter().filter(|sample| is_same(sample, key)).collect();
    let is_timed = key.seconds.is_some();
    let samples: Vec<f64> = if is_timed {
        passes.iter().map(of_pass).collect()
    } else {
        Vec::new()
    };
    let sum = |value: fn(&Sample) -> f64| calls.iter().map(|sample| value(sample)).sum();
    let kernel = key
        .launch
        .as_ref()
        .map(|launch| kernel(launch, instruments));
    Ok(Row {
        operator: key.operator.to_string(),
        shape: key.operator.extents.to_string(),
        // A launch has its own work model.
        method: (key.method == ConvMethod::Winograd && key.launch.is_none())
            .then(|| "minimal filtering".to_owned()),
        kernel: kernel.transpose()?,
        calls: calls.len(),
        seconds: is_timed.then(|| median(&samples)),
        noise: is_timed.then(|| noise(&samples)),
        disturbed: disturbed(&samples, least),
        samples,
        share: None,
        operations: sum(|sample| sample.work.operations),
        multiplied: sum(|sample| sample.multiplied),
        bytes: sum(|sample| sample.work.bytes),
        limit_seconds: None,
        floor_seconds: None,
        bound: None,
    })
}

fn kernel(launch: &Launch, instruments: Option<&dyn Instruments>) -> Result<Kernel> {
    let resources = match instruments {
        Some(instruments) => {
            let found = instruments.resources(launch)?;
            Some(Resources {
                registers: found.registers,
                shared_bytes: found.shared_bytes,
                local_bytes: found.local_bytes,
                spill_bytes: found.spill_bytes,
                occupancy: found.occupancy,
            })
        }
        None => None,
    };
    Ok(Kernel {
        name: launch.kernel.name.to_owned(),
        specialisation: launch.module.specialisation(),
        is_rounded: is_rounded(launch),
        grid: launch.grid,
        block: launch.block,
        resources,
    })
}

/// Whether a kernel multiplies in the precision of the run; all others multiply in f32.
fn is_rounded(launch: &Launch) -> bool {
    launch.kernel.tier != Tier::Plain
}

/// Adds limits and shares; returns the floor of all rows together in seconds.
///
/// A row whose operands are in the caches may be faster than the limit of memory; it counts with its measured time.
pub(super) fn finish_rows(rows: &mut [Row], ceilings: &Ceilings, outside: Option<f64>) -> f64 {
    let inside: f64 = rows.iter().filter_map(|row| row.seconds).sum();
    let all = inside + outside.unwrap_or(0.0);
    for row in rows.iter_mut() {
        let rate = ceilings.rate_for(row);
        let transfer = row.bytes / ceilings.copy.per_second;
        let floor = (row.multiplied / rate).max(transfer);
        row.limit_seconds = Some((row.operations / rate).max(transfer));
        row.floor_seconds = Some(floor);
        row.bound = Some(if floor / (row.calls.max(1) as f64) < START {
            Bound::Latency
        } else if row.multiplied / rate > transfer {
            Bound::Compute
        } else {
            Bound::Memory
        });
        row.share = row.seconds.map(|seconds| seconds / all);
    }
    rows.iter().filter_map(Row::reachable_seconds).sum()
}

impl Ceilings {
    /// Peak operations per second for a row.
    pub(super) fn rate_for(&self, row: &Row) -> f64 {
        let is_rounded = row.kernel.as_ref().is_some_and(|kernel| kernel.is_rounded);
        match self.rounded_product {
            Some(rate) if is_rounded => rate.per_second,
            _ => self.product.per_second,
        }
    }
}
