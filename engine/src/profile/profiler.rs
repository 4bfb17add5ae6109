//! The recording of operators and launches.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use cosmogan_kernels::{Launch, Work};

use super::instruments::Instruments;
use super::operator::Operator;
use crate::error::Result;
use crate::geometry::ConvMethod;

/// One operator on the CPU, or one kernel launch.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The operator, or the operator to which the launch belongs.
    pub operator: Operator,
    /// Algorithm, if it is a GEMM of a convolution.
    pub method: ConvMethod,
    /// The kernel with its grid and block, on a device that runs kernels.
    pub launch: Option<Launch>,
    /// Lower bound of the work of the operator or launch.
    pub work: Work,
    /// Operations that are executed by the chosen algorithm; see [`Operator::multiplied`].
    pub multiplied: f64,
    /// Start in seconds since the start of the recording; `None` if nothing was timed.
    pub started: Option<f64>,
    /// Duration in seconds; `None` if nothing was timed.
    pub seconds: Option<f64>,
}

/// Start and end of a sample.
enum Timing {
    /// From the CPU's monotonic clock; `started` is in seconds since the start of the recording.
    Clock { started: f64, seconds: f64 },
    /// Between two marks of the device.
    Marks { from: u64, to: u64 },
    /// Not timed.
    None,
}

/// The recording, shared by the profiled backend and launcher.
#[derive(Clone, Default)]
pub(super) struct Profiler(Arc<Mutex<State>>);

impl std::fmt::Debug for Profiler {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Profiler")
    }
}

#[derive(Default)]
struct State {
    recording: Option<Recording>,
    /// The operator whose launches are being queued.
    current: Option<(Operator, ConvMethod)>,
    /// Flushes the caches before each timed operator.
    flush: Option<Box<dyn FnMut() + Send>>,
}

struct Recording {
    epoch: Instant,
    entries: Vec<(Sample, Timing)>,
}

impl Profiler {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn start(&self) {
        self.lock().recording = Some(Recording {
            epoch: Instant::now(),
            entries: Vec::new(),
        });
    }

    pub(super) fn is_recording(&self) -> bool {
        self.lock().recording.is_some()
    }

    pub(super) fn flush_with(&self, flush: Option<Box<dyn FnMut() + Send>>) {
        self.lock().flush = flush;
    }

    /// Flushes the caches if a flush is set and a recording is in progress.
    pub(super) fn flush(&self) {
        let mut state = self.lock();
        if state.recording.is_some()
            && let Some(flush) = &mut state.flush
        {
            flush();
        }
    }

    pub(super) fn enter(&self, operator: Operator, method: ConvMethod) {
        self.lock().current = Some((operator, method));
    }

    pub(super) fn leave(&self) {
        self.lock().current = None;
    }

    /// Records an operator that ran on the CPU.
    pub(super) fn ran(&self, operator: Operator, method: ConvMethod, started: Instant) {
        let ended = Instant::now();
        let sample = Sample {
            operator,
            method,
            launch: None,
            work: operator.work(),
            multiplied: operator.multiplied(method),
            started: None,
            seconds: None,
        };
        if let Some(recording) = &mut self.lock().recording {
            let timing = Timing::Clock {
                started: (started - recording.epoch).as_secs_f64(),
                seconds: (ended - started).as_secs_f64(),
            };
            recording.entries.push((sample, timing));
        }
    }

    /// Records a launch, with its two marks if the device has a clock.
    pub(super) fn launched(&self, launch: &Launch, marks: Option<[u64; 2]>) {
        let mut state = self.lock();
        let Some((operator, method)) = state.current else {
            return;
        };
        if let Some(recording) = &mut state.recording {
            let sample = Sample {
                operator,
                method,
                launch: Some(launch.clone()),
                work: launch.work,
                multiplied: launch.work.operations,
                started: None,
                seconds: None,
            };
            let timing = marks.map_or(Timing::None, |[from, to]| Timing::Marks { from, to });
            recording.entries.push((sample, timing));
        }
    }

    /// Ends the recording; returns its samples with their times.
    pub(super) fn finish(&self, instruments: Option<&dyn Instruments>) -> Result<Vec<Sample>> {
        let recording = self.lock().recording.take();
        let entries = recording.map_or(Vec::new(), |recording| recording.entries);
        let first = entries.iter().find_map(|(_, timing)| match timing {
            Timing::Marks { from, .. } => Some(*from),
            _ => None,
        });
        let samples = entries
            .into_iter()
            .map(|(sample, timing)| {
                let (started, seconds) = match (timing, instruments) {
                    (Timing::Clock { started, seconds }, _) => (Some(started), Some(seconds)),
                    (Timing::Marks { from, to }, Some(device)) => (
                        Some(device.seconds_between(first.unwrap_or(from), from)?),
                        Some(device.seconds_between(from, to)?),
                    ),
                    _ => (None, None),
                };
                Ok(Sample {
                    started,
                    seconds,
                    ..sample
                })
            })
            .collect();
        if let Some(device) = instruments {
            device.clear_marks();
        }
        samples
    }
}
