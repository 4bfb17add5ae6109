//! Mock launchers: an executor with a planted fault, and a GPU that only records its launches.
#![allow(dead_code, reason = "every test file uses its own part of this")]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its device has failed"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use cosmogan_engine::backend::Precision;
use cosmogan_engine::backend::Recording;
use cosmogan_engine::backend::launch::{
    Allocation, Arguments, KernelDevice, LaunchBackend, Launcher,
};
use cosmogan_engine::backend::simt::SimtLauncher;
use cosmogan_engine::{Error, Result};
use cosmogan_kernels::tensor_map::TensorMap;
use cosmogan_kernels::{Launch, Sources, Work};

pub(crate) fn device(launcher: impl Launcher + 'static, precision: Precision) -> LaunchBackend {
    LaunchBackend::new(Arc::new(launcher), precision).unwrap()
}

pub(crate) fn simt(seed: u64, precision: Precision) -> LaunchBackend {
    device(SimtLauncher::new(seed).unwrap(), precision)
}

/// The kernel executor (`simt`) with a text in one kernel source replaced.
#[derive(Debug)]
pub(crate) struct Faulty {
    inner: SimtLauncher,
    file: &'static str,
    text: String,
    records: bool,
}

impl Faulty {
    pub(crate) fn new(file: &'static str, right: &str, wrong: &str) -> Self {
        Self::with_text(file, replaced(file, sources().family(file), right, wrong))
    }

    /// Replaces a text in a header that the source includes.
    pub(crate) fn in_header(file: &'static str, header: &str, right: &str, wrong: &str) -> Self {
        let faulty = replaced(header, sources().header(header), right, wrong);
        let include = format!("#include \"{header}\"");
        Self::with_text(
            file,
            replaced(file, sources().family(file), &include, &faulty),
        )
    }

    fn with_text(file: &'static str, text: String) -> Self {
        Self {
            inner: SimtLauncher::new(1).unwrap(),
            file,
            text,
            records: true,
        }
    }

    /// No fault, but steps are never recorded and replayed.
    pub(crate) fn that_runs_everything(seed: u64) -> Self {
        Self {
            inner: SimtLauncher::new(seed).unwrap(),
            file: "",
            text: String::new(),
            records: false,
        }
    }
}

impl Launcher for Faulty {
    fn device(&self) -> &dyn KernelDevice {
        &self.inner
    }
    fn launch(&self, launch: &Launch, arguments: &Arguments) -> Result<()> {
        let file = launch.kernel.source;
        let text = if file == self.file {
            &self.text
        } else {
            sources().family(file)
        };
        self.inner.launch_source(text, launch, arguments)
    }
    fn record(&self, body: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Recording>> {
        if !self.records {
            return Err(Error::Device("nothing is recorded".to_owned()));
        }
        self.inner.record(body)
    }
}

fn sources() -> &'static Sources {
    Sources::current().unwrap()
}

/// Replaces `right`, which must occur exactly once in `text`, by `wrong`.
fn replaced(file: &str, text: &str, right: &str, wrong: &str) -> String {
    assert_eq!(text.matches(right).count(), 1, "{file}: {right}");
    text.replace(right, wrong)
}

/// Operations per second of an H200 in bf16 (decision 8). All launches but GEMMs are memory-bound.
pub(crate) const BF16: f64 = 790e12;
/// Operations per second of an H200 in tf32.
pub(crate) const TF32: f64 = BF16 / 2.0;
/// Bytes per second of an H200's memory (decision 8).
const BYTES: f64 = 4.3e12;

/// A mock GPU of 132 multiprocessors that records launches and computes nothing.
#[derive(Debug, Default)]
pub(crate) struct WorkModel(Mutex<Vec<(&'static str, Work)>>);

impl WorkModel {
    /// The launches so far: kernel and work.
    pub(crate) fn launches(&self) -> Vec<(&'static str, Work)> {
        self.0.lock().unwrap().clone()
    }

    /// Cost of `passes` passes: gigabytes, launches, and the lower bound of their time on an H200 in milliseconds.
    ///
    /// A launch takes at least the time of its operations at `rate`, and of its bytes. Prints the cost of each kernel.
    pub(crate) fn cost(&self, passes: f64, rate: f64) -> [f64; 3] {
        let mut kernels = BTreeMap::<_, [f64; 4]>::new();
        for (name, work) in self.launches() {
            let least = (work.operations / rate).max(work.bytes / BYTES);
            let sum = kernels.entry(name).or_default();
            for (sum, cost) in sum
                .iter_mut()
                .zip([1.0, work.operations, work.bytes, least])
            {
                *sum += passes * cost;
            }
        }
        let mut total = [0.0; 3];
        for (name, [launches, operations, bytes, least]) in kernels {
            println!(
                "  {name:28} {launches:5} launches {:8.3} TFLOP {:6.2} GB {:6.3} ms",
                operations / 1e12,
                bytes / 1e9,
                least * 1e3
            );
            for (total, cost) in total.iter_mut().zip([bytes / 1e9, launches, least * 1e3]) {
                *total += cost;
            }
        }
        total
    }
}

#[derive(Debug)]
struct Nothing;

impl Allocation for Nothing {
    fn address(&self) -> u64 {
        0
    }
}

impl KernelDevice for WorkModel {
    fn description(&self) -> String {
        "work model".to_owned()
    }
    fn notice(&self) -> Option<String> {
        None
    }
    fn tiled_kernels(&self) -> std::result::Result<(), String> {
        Ok(())
    }
    fn hopper_kernels(&self) -> std::result::Result<usize, String> {
        Ok(132)
    }
    fn tensor_map(&self, _: &TensorMap, _: u64) -> Result<[u8; 128]> {
        Ok([0; 128])
    }
    fn free_memory(&self) -> usize {
        0
    }
    fn allocate(&self, _: usize) -> Result<Box<dyn Allocation>> {
        Ok(Box::new(Nothing))
    }
    fn write(&self, _: &dyn Allocation, _: usize, _: &[f32]) -> Result<()> {
        Ok(())
    }
    fn read(&self, _: &dyn Allocation, _: &mut [f32]) -> Result<()> {
        Ok(())
    }
}

impl Launcher for WorkModel {
    fn device(&self) -> &dyn KernelDevice {
        self
    }
    fn launch(&self, launch: &Launch, _: &Arguments) -> Result<()> {
        let launched = (launch.kernel.name, launch.work);
        self.0.lock().unwrap().push(launched);
        Ok(())
    }
    fn record(&self, _: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Recording>> {
        unreachable!("a first step is not recorded")
    }
}
