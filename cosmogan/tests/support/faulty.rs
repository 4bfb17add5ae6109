//! The kernels with a fault in them.

use cosmogan_engine::backend::launch::{Allocation, Arguments, Launcher, Recording};
use cosmogan_engine::backend::simt::SimtLauncher;
use cosmogan_engine::{Error, Result};
use cosmogan_kernels::tensor_map::TensorMap;
use cosmogan_kernels::{Launch, source};

/// The executor, with one line of one source replaced.
#[derive(Debug)]
pub(crate) struct Faulty {
    inner: SimtLauncher,
    file: &'static str,
    text: String,
    records: bool,
}

impl Faulty {
    pub(crate) fn new(file: &'static str, right: &str, wrong: &str) -> Self {
        let text = source(file);
        assert_eq!(text.matches(right).count(), 1, "{file}: {right}");
        Self {
            inner: SimtLauncher::new(1).unwrap(),
            file,
            text: text.replace(right, wrong),
            records: true,
        }
    }

    /// Without a fault, but nothing is replayed.
    #[allow(dead_code, reason = "one of the tests that share this file")]
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
    fn description(&self) -> String {
        self.inner.description()
    }
    fn notice(&self) -> Option<String> {
        self.inner.notice()
    }
    fn tiled_kernels(&self) -> std::result::Result<(), String> {
        self.inner.tiled_kernels()
    }
    fn hopper_kernels(&self) -> std::result::Result<usize, String> {
        self.inner.hopper_kernels()
    }
    fn tensor_map(&self, map: &TensorMap, address: u64) -> Result<[u8; 128]> {
        self.inner.tensor_map(map, address)
    }
    fn free_memory(&self) -> usize {
        self.inner.free_memory()
    }
    fn allocate(&self, bytes: usize) -> Result<Box<dyn Allocation>> {
        self.inner.allocate(bytes)
    }
    fn write(&self, to: &dyn Allocation, first: usize, values: &[f32]) -> Result<()> {
        self.inner.write(to, first, values)
    }
    fn read(&self, from: &dyn Allocation, values: &mut [f32]) -> Result<()> {
        self.inner.read(from, values)
    }
    fn launch(&self, launch: &Launch, arguments: &Arguments) -> Result<()> {
        let file = launch.kernel.source;
        let text = if file == self.file {
            &self.text
        } else {
            source(file)
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
