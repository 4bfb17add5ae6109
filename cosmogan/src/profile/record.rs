//! A profile as it is kept in JSON.

use serde::{Deserialize, Serialize};

use crate::model::ModelConfig;

/// The number of the JSON form.
pub(super) const FORMAT: u32 = 1;

/// Everything that one run found out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Profile {
    /// The number of this form: 1.
    pub format: u32,
    /// The program's version.
    pub version: String,
    /// What computed, as `doctor` names it.
    pub device: String,
    /// What matrix products multiply.
    pub precision: String,
    /// Why no product ran on a Hopper kernel, where kernels were launched and none could be one.
    #[serde(default)]
    pub hopper_lack: Option<String>,
    /// Where it comes from how products were cut, on a device that takes kernels.
    pub tuning: Option<String>,
    /// What ran: `generator`, `discriminator`, `step`, or one operator with its extents.
    pub subject: String,
    /// The model, where one ran.
    pub model: Option<ModelConfig>,
    /// Maps at a time, where a model ran.
    pub batch: Option<usize>,
    /// Whether caches were emptied before every operator.
    pub cold: bool,
    /// Passes that were timed.
    pub repeats: usize,
    /// What was checked before anything was timed; absent where that was declined.
    pub verified: Option<Verified>,
    /// Ceilings of this device, measured in this run; absent where time means nothing.
    pub ceilings: Option<Ceilings>,
    /// Clocks before and after.
    pub conditions: Vec<Conditions>,
    /// Seconds of one pass without a profiler, from inputs on the host to results on the host.
    pub seconds: Option<f64>,
    /// Its scatter, as a share.
    pub noise: Option<f64>,
    /// Seconds of one pass with the profiler outside all rows: tape, memory, uploads, downloads, and gaps between launches.
    pub outside_seconds: Option<f64>,
    /// Seconds of all rows together if each ran at its limit; see [`Row::reachable_seconds`].
    pub floor_seconds: Option<f64>,
    /// One per operator or kernel, and shape; the longest first.
    pub rows: Vec<Row>,
}

/// What was compared with the oracle.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verified {
    /// Operators at their shapes.
    pub cases: usize,
    /// The largest error, in units of its bound.
    pub worst: f64,
}

/// A rate with its scatter.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Rate {
    /// Bytes or operations per second, the median.
    pub per_second: f64,
    /// Scatter, as a share of the median.
    pub noise: f64,
}

/// What the device can do at most.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ceilings {
    /// Bytes read and written per second by a copy that no cache holds.
    pub copy: Rate,
    /// Operations per second of a matrix product of f32.
    pub product: Rate,
    /// The same in the precision of the run, where that is another.
    pub rounded_product: Option<Rate>,
    /// How they were measured.
    pub method: String,
}

/// What the clocks said at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Conditions {
    /// `before` or `after`.
    pub when: String,
    /// Clocks by name, in Hz.
    pub clocks: Vec<(String, f64)>,
    /// Links per second of a chain of dependent operations on one core, which follows its clock.
    pub chain_rate: Option<f64>,
}

/// Which part of the roofline an operator is under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// The rate of products.
    Compute,
    /// The bandwidth.
    Memory,
    /// Neither: at its limit a call would take less than it takes to start one.
    Latency,
}

impl Bound {
    /// Its name in tables.
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
    /// Its extents in full.
    pub shape: String,
    /// `minimal filtering`, where a convolution is not computed as it is defined.
    pub method: Option<String>,
    /// The kernel, on a device that takes kernels.
    pub kernel: Option<Kernel>,
    /// Calls, or launches, in a pass.
    pub calls: usize,
    /// Seconds of all calls of a pass, the median over the passes.
    pub seconds: Option<f64>,
    /// Scatter between the passes, as a share of the median.
    pub noise: Option<f64>,
    /// Passes far above the median: throttled or disturbed. They are among the samples.
    pub disturbed: usize,
    /// Seconds of each pass, in order.
    pub samples: Vec<f64>,
    /// Share of a profiled pass, rows and what is outside them.
    pub share: Option<f64>,
    /// Operations of all calls, by the definition.
    pub operations: f64,
    /// Operations of the products that are really multiplied; fewer than `operations` by minimal filtering.
    pub multiplied: f64,
    /// Bytes of all calls if every operand passes through memory once.
    pub bytes: f64,
    /// Seconds of all calls at the limit for the operations of the definition.
    pub limit_seconds: Option<f64>,
    /// Seconds of all calls at the limit for what is really multiplied.
    pub floor_seconds: Option<f64>,
    /// What sets the limit.
    pub bound: Option<Bound>,
}

/// A kernel as it was launched.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kernel {
    /// Its name in the source.
    pub name: String,
    /// What was fixed when it was compiled.
    pub specialisation: String,
    /// Whether it multiplies in the precision of the run, and not in f32.
    pub is_rounded: bool,
    /// Blocks along x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y and z.
    pub block: [u32; 3],
    /// What it takes, where the device tells.
    pub resources: Option<Resources>,
}

/// What a kernel takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resources {
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of shared memory of a block.
    pub shared_bytes: u32,
    /// Bytes of a thread's stack and spills.
    pub local_bytes: u32,
    /// Bytes spilled, where the compiler says.
    pub spill_bytes: Option<u32>,
    /// Share of a multiprocessor's warps that fit at once.
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

    /// How near it comes to the limit by the operations of its definition.
    pub fn share_of_limit(&self) -> Option<f64> {
        Some(self.limit_seconds? / self.seconds?)
    }

    /// How near it comes to the limit by what it really multiplies.
    pub fn share_of_floor(&self) -> Option<f64> {
        Some(self.floor_seconds? / self.seconds?)
    }

    /// Seconds that it would take at its limit, or that it takes if that is less.
    pub fn reachable_seconds(&self) -> Option<f64> {
        Some(self.floor_seconds?.min(self.seconds?))
    }

    /// Kernel and operator, as far as there are both.
    pub fn name(&self) -> String {
        match &self.kernel {
            Some(kernel) => format!("{} · {}", self.operator, kernel.name),
            None => self.operator.clone(),
        }
    }

    /// Whether the other row is about the same thing.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let kernel = |row: &Self| row.kernel.as_ref().map(|kernel| kernel.name.clone());
        self.operator == other.operator
            && self.shape == other.shape
            && kernel(self) == kernel(other)
    }
}

impl Profile {
    /// From the JSON form.
    ///
    /// # Errors
    /// Where it is no profile, or one of another form: what is wrong with it.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(format) if format == u64::from(FORMAT) => {}
            Some(format) => return Err(format!("a profile of form {format}, and not {FORMAT}")),
            None => return Err("no profile: it has no `format`".to_owned()),
        }
        serde_json::from_value(value).map_err(|error| format!("no profile: {error}"))
    }

    /// The JSON form.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("plain data has a JSON form");
        json.push('\n');
        json
    }

    /// Seconds of a profiled pass: all rows, and what is outside them.
    pub fn profiled_seconds(&self) -> Option<f64> {
        let rows: f64 = self.rows.iter().filter_map(|row| row.seconds).sum();
        (rows > 0.0).then(|| rows + self.outside_seconds.unwrap_or(0.0))
    }
}
