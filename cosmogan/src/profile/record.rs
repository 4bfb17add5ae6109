//! The profile and its JSON format.

use serde::{Deserialize, Serialize};

use crate::model::ModelConfig;

/// Version of the JSON format.
pub(super) const FORMAT: u32 = 1;

/// Results of one profiling run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Profile {
    /// Version of this format: 1.
    pub format: u32,
    /// Version of the program.
    pub version: String,
    /// The device, as named by `doctor`.
    pub device: String,
    /// Operand precision of GEMMs.
    pub precision: String,
    /// Why no GEMM ran on a Hopper kernel, if kernels were launched and none could be a Hopper kernel.
    #[serde(default)]
    pub hopper_lack: Option<String>,
    /// Source of the tile configurations of GEMMs, on a device that runs kernels.
    pub tuning: Option<String>,
    /// What was measured: `generator`, `discriminator`, `step`, or one operator with its extents.
    pub subject: String,
    /// The model, if one ran.
    pub model: Option<ModelConfig>,
    /// Batch size, if a model ran.
    pub batch: Option<usize>,
    /// Whether caches were flushed before every operator.
    pub cold: bool,
    /// Number of timed passes.
    pub repeats: usize,
    /// Results of the checks before timing; `None` if nothing was checked.
    pub verified: Option<Verified>,
    /// Peak rates of the device, measured in this run; absent if nothing was timed.
    pub ceilings: Option<Ceilings>,
    /// Clocks before and after the run.
    pub conditions: Vec<Conditions>,
    /// Median seconds of one pass without the profiler, including copies from and to the host.
    pub seconds: Option<f64>,
    /// Noise of `seconds`, as a fraction.
    pub noise: Option<f64>,
    /// Times of one pass from device events.
    #[serde(default)]
    pub device_seconds: Option<DeviceSeconds>,
    /// Whether `seconds` belongs to a training step replayed as a CUDA graph.
    #[serde(default)]
    pub recorded: bool,
    /// Why the step was not recorded as a CUDA graph, if that was tried and failed.
    #[serde(default)]
    pub recording_failure: Option<String>,
    /// Seconds of one profiled pass outside all rows: tape, memory, uploads, downloads, and gaps between launches.
    pub outside_seconds: Option<f64>,
    /// Seconds of all rows together if each ran at its limit; see [`Row::reachable_seconds`].
    pub floor_seconds: Option<f64>,
    /// Rows, one per operator or kernel and shape, in order of decreasing time.
    pub rows: Vec<Row>,
}

/// Median seconds of one pass between two events in the device's queue.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceSeconds {
    /// With inputs and results on the device.
    pub without_copy: f64,
    /// With inputs copied from the host and results copied to it.
    pub with_copy: f64,
}

/// Results of the comparison with the oracle.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verified {
    /// Number of operators, each at its shape.
    pub cases: usize,
    /// The largest error, in units of its bound.
    pub worst: f64,
}

/// A rate with its noise.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Rate {
    /// Median bytes or operations per second.
    pub per_second: f64,
    /// Noise, as a fraction of the median.
    pub noise: f64,
}

/// Measured peak rates of the device.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ceilings {
    /// Bytes read and written per second by a copy larger than all caches.
    pub copy: Rate,
    /// Operations per second of an f32 GEMM.
    pub product: Rate,
    /// Operations per second of a GEMM in the precision of the run, if that is not f32.
    pub rounded_product: Option<Rate>,
    /// Method of measurement.
    pub method: String,
}

/// Clocks at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Conditions {
    /// `before` or `after`.
    pub when: String,
    /// Clocks by name, in Hz.
    pub clocks: Vec<(String, f64)>,
    /// Links per second of a chain of dependent operations on one core, which is proportional to its clock.
    pub chain_rate: Option<f64>,
}

/// The limit of the roofline that applies to an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Peak rate of GEMMs.
    Compute,
    /// Memory bandwidth.
    Memory,
    /// Neither: at its limit, a call would take less time than its start.
    Latency,
}

impl Bound {
    /// Name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Memory => "memory",
            Self::Latency => "latency",
        }
    }
}

/// All calls of one operator, or launches of one kernel, at one shape in one pass.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The operator, as in `dgrad 256→128 at 64²`.
    pub operator: String,
    /// Its complete extents.
    pub shape: String,
    /// `minimal filtering` if a convolution is computed by Winograd filtering.
    pub method: Option<String>,
    /// The kernel, on a device that runs kernels.
    pub kernel: Option<Kernel>,
    /// Calls or launches per pass.
    pub calls: usize,
    /// Seconds of all calls of a pass; median over the passes.
    pub seconds: Option<f64>,
    /// Noise between the passes, as a fraction of the median.
    pub noise: Option<f64>,
    /// Number of passes far above the median, throttled or disturbed; the samples include them.
    pub disturbed: usize,
    /// Seconds of each pass, in order.
    pub samples: Vec<f64>,
    /// Share of a profiled pass, including the time outside all rows.
    pub share: Option<f64>,
    /// Operations of all calls according to the definition.
    pub operations: f64,
    /// Operations that the algorithm executes; Winograd filtering needs fewer than `operations`.
    pub multiplied: f64,
    /// Bytes of all calls if every operand is transferred once.
    pub bytes: f64,
    /// Seconds of all calls at the limit for `operations`.
    pub limit_seconds: Option<f64>,
    /// Seconds of all calls at the limit for `multiplied`.
    pub floor_seconds: Option<f64>,
    /// The limit that applies.
    pub bound: Option<Bound>,
}

/// A launched kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kernel {
    /// Name in the source.
    pub name: String,
    /// Compile-time parameters.
    pub specialisation: String,
    /// Whether it multiplies in the precision of the run; otherwise in f32.
    pub is_rounded: bool,
    /// Blocks along x, y and z.
    pub grid: [u32; 3],
    /// Threads per block along x, y and z.
    pub block: [u32; 3],
    /// Resources, if the device reports them.
    pub resources: Option<Resources>,
}

/// Resources of a kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resources {
    /// Registers per thread.
    pub registers: u32,
    /// Bytes of shared memory per block.
    pub shared_bytes: u32,
    /// Bytes of stack and spills per thread.
    pub local_bytes: u32,
    /// Bytes of spill stores and loads, if the compiler reports them.
    pub spill_bytes: Option<u32>,
    /// Resident warps per multiprocessor, as a fraction of the maximum.
    pub occupancy: f64,
}

impl Row {
    /// Operations per second.
    pub fn rate(&self) -> Option<f64> {
        Some(self.operations / self.seconds?)
    }

    /// Bytes per second.
    pub fn bandwidth(&self) -> Option<f64> {
        Some(self.bytes / self.seconds?)
    }

    /// Operations per byte.
    pub fn intensity(&self) -> f64 {
        self.operations / self.bytes
    }

    /// Achieved fraction of the limit for `operations`.
    pub fn share_of_limit(&self) -> Option<f64> {
        Some(self.limit_seconds? / self.seconds?)
    }

    /// Achieved fraction of the limit for `multiplied`.
    pub fn share_of_floor(&self) -> Option<f64> {
        Some(self.floor_seconds? / self.seconds?)
    }

    /// Seconds at the limit for `multiplied`, or measured seconds if these are less.
    pub fn reachable_seconds(&self) -> Option<f64> {
        Some(self.floor_seconds?.min(self.seconds?))
    }

    /// Operator, and kernel if there is one.
    pub fn name(&self) -> String {
        match &self.kernel {
            Some(kernel) => format!("{} · {}", self.operator, kernel.name),
            None => self.operator.clone(),
        }
    }

    /// Whether the other row has the same operator, shape and kernel.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let kernel = |row: &Self| row.kernel.as_ref().map(|kernel| kernel.name.clone());
        self.operator == other.operator
            && self.shape == other.shape
            && kernel(self) == kernel(other)
    }
}

impl Profile {
    /// Parses the JSON format.
    ///
    /// # Errors
    /// If `text` is not a profile, or has another format; the message gives the problem.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(format) if format == u64::from(FORMAT) => {}
            Some(format) => return Err(format!("has format {format}, not {FORMAT}")),
            None => return Err("is not a profile: it has no `format`".to_owned()),
        }
        serde_json::from_value(value).map_err(|error| format!("is not a profile: {error}"))
    }

    /// Returns the profile in the JSON format.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("plain data has a JSON form");
        json.push('\n');
        json
    }

    /// Seconds of a profiled pass, including the time outside all rows.
    pub fn profiled_seconds(&self) -> Option<f64> {
        let rows: f64 = self.rows.iter().filter_map(|row| row.seconds).sum();
        (rows > 0.0).then(|| rows + self.outside_seconds.unwrap_or(0.0))
    }
}
