//! One pass in Chrome's trace event format, for Perfetto (ui.perfetto.dev) and `chrome://tracing`.

use cosmogan_engine::profile::Sample;
use serde_json::{Value, json};

use super::measure::Measured;

const PROCESS: u32 = 1;
const OPERATORS: u32 = 1;
const LAUNCHES: u32 = 2;

/// The trace as JSON; times in microseconds since the pass began.
pub fn trace(measured: &Measured) -> String {
    let launches = measured.pass.iter().any(|sample| sample.launch.is_some());
    let mut events = vec![
        name("process_name", 0, &measured.profile.device),
        name("thread_name", OPERATORS, "operators"),
    ];
    if launches {
        events.push(name("thread_name", LAUNCHES, "kernels"));
        events.extend(measured.pass.iter().filter_map(launch));
    }
    events.extend(
        operators(&measured.pass)
            .iter()
            .filter_map(|calls| operator(calls)),
    );
    let trace = json!({
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {
            "program": format!("cosmogan {}", measured.profile.version),
            "subject": measured.profile.subject,
            "device": measured.profile.device,
        },
    });
    trace.to_string() + "\n"
}

fn name(what: &str, thread: u32, name: &str) -> Value {
    json!({ "name": what, "ph": "M", "pid": PROCESS, "tid": thread, "args": { "name": name } })
}

/// Groups consecutive samples of one operator: its launches, or the operator itself.
fn operators(pass: &[Sample]) -> Vec<&[Sample]> {
    pass.chunk_by(|a, b| a.launch.is_some() && a.operator == b.operator)
        .collect()
}

fn operator(calls: &[Sample]) -> Option<Value> {
    let (first, last) = (calls.first()?, calls.last()?);
    let seconds = last.started? + last.seconds? - first.started?;
    let work = first.operator.work();
    Some(json!({
        "name": first.operator.to_string(),
        "cat": first.operator.kind.name(),
        "ph": "X",
        "pid": PROCESS,
        "tid": OPERATORS,
        "ts": 1e6 * first.started?,
        "dur": 1e6 * seconds,
        "args": {
            "shape": first.operator.extents.to_string(),
            "GFLOP": work.operations / 1e9,
            "MB": work.bytes / 1e6,
            "GFLOP/s": work.operations / seconds / 1e9,
            "GB/s": work.bytes / seconds / 1e9,
        },
    }))
}

fn launch(sample: &Sample) -> Option<Value> {
    let launch = sample.launch.as_ref()?;
    let seconds = sample.seconds?;
    Some(json!({
        "name": launch.kernel.name,
        "cat": "kernel",
        "ph": "X",
        "pid": PROCESS,
        "tid": LAUNCHES,
        "ts": 1e6 * sample.started?,
        "dur": 1e6 * seconds,
        "args": {
            "operator": sample.operator.to_string(),
            "specialisation": launch.module.specialisation(),
            "grid": launch.grid,
            "block": launch.block,
            "GFLOP/s": sample.work.operations / seconds / 1e9,
            "GB/s": sample.work.bytes / seconds / 1e9,
        },
    }))
}
