//! `cosmogan profile`: times of operators and kernels, compared with the limits of the device.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use cosmogan_engine::backend::Backend;
use cosmogan_engine::profile::Profiled;
use cosmogan_oracle::Case;

use crate::device::{Device, DeviceArguments};
use crate::error::{Error, Result};
use crate::help::{ADVANCED, examples};
use crate::model::preset::{TrainingConfig, with_overrides};
use crate::model::{ModelConfig, Preset};
use crate::profile::{
    Form, GeneratorPass, Measured, Outputs, Profile, Settings, SingleKernel, Target, Verified,
    Workload, compare, dump, measure, mismatch, summary, table, verify,
};
use crate::verify::BYTES_PER_VALUE;
use cosmogan_base::memory;

/// Time every operator or kernel and compare it with the limits of the device
#[derive(Debug, Args)]
#[command(after_help = examples(&["cosmogan profile generator --preset small", "cosmogan profile --kernel dgrad --shape \"n=8 h=64 w=64 c=128 k=256\""]))]
pub(super) struct ProfileArguments {
    /// What to measure: generator, discriminator or step (a training step)
    #[arg(value_enum, default_value_t = Target::Step, hide_possible_values = true)]
    what: Target,
    /// Model: paper, small or tiny
    #[arg(long, value_enum, default_value_t = Preset::Paper, hide_possible_values = true)]
    preset: Preset,
    /// TOML file with settings that replace the preset's
    #[arg(long, value_name = "FILE.toml", help_heading = ADVANCED)]
    config: Option<PathBuf>,
    /// Batch size
    #[arg(long, default_value_t = 8, value_name = "N")]
    batch: usize,
    #[command(flatten)]
    device: DeviceArguments,
    /// Timed passes, after a warm-up
    #[arg(long, default_value_t = 10, value_name = "N", help_heading = ADVANCED)]
    repeats: usize,
    /// Empty the caches before every operator or launch
    #[arg(long, help_heading = ADVANCED)]
    cold: bool,
    /// Skip the check against the oracle, for perf and ncu to see nothing else
    #[arg(long, help_heading = ADVANCED)]
    no_verify: bool,
    /// Write all measurements, for --compare and for programs
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write one pass as a trace for ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Draw the roofline, as .png or .svg
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Show what became slower and faster than in this file of --json
    #[arg(long, value_name = "OLD.json")]
    compare: Option<PathBuf>,
    /// Measure one operator, e.g. dgrad, or on a GPU one kernel, e.g. conv_dgrad_tiled
    #[arg(long, value_name = "NAME", conflicts_with_all = ["what", "preset", "config", "batch"])]
    kernel: Option<String>,
    /// Extents for --kernel, or a case of verify; left out, the command lists them
    #[arg(long, value_name = "EXTENTS", requires = "kernel")]
    shape: Option<String>,
    /// Write the kernels, or --kernel, as ptx, cubin or sass instead; needs NVRTC, no GPU
    #[arg(long, value_enum, value_name = "FORM", help_heading = ADVANCED, hide_possible_values = true, conflicts_with_all = ["json", "trace", "plot", "compare", "shape", "cold"])]
    dump: Option<Form>,
    /// Compute capability to compile for, with --dump
    #[arg(long, default_value_t = 90, value_name = "NUMBER", requires = "dump", help_heading = ADVANCED)]
    architecture: i32,
    /// Folder to write to, with --dump
    #[arg(
        long,
        default_value = "listing",
        value_name = "FOLDER",
        requires = "dump",
        help_heading = ADVANCED
    )]
    out: PathBuf,
}

impl ProfileArguments {
    pub(super) fn run(self) -> Result<()> {
        if let Some(form) = self.dump {
            return self.dump(form);
        }
        for (flag, value) in [("--batch", self.batch), ("--repeats", self.repeats)] {
            if value == 0 {
                return Err(Error::usage(flag, "0 is too few", "give 1 or more"));
            }
        }
        if self.what == Target::Step && self.kernel.is_none() && self.batch < 2 {
            return Err(Error::usage(
                "--batch",
                "a training step of 1 map has no batch statistics",
                "give 2 or more",
            ));
        }
        let old = self.compare.as_deref().map(Profile::read).transpose()?;
        let outputs = Outputs::open(
            self.json.as_deref(),
            self.trace.as_deref(),
            self.plot.as_deref(),
        )?;
        let device = self.device.open_profiled()?;
        if !device.has_clock() {
            self.refuse_without_clock()?;
        }
        let measured = match &self.kernel {
            Some(name) => self.single(name, &device, old.as_ref())?,
            None => self.model(&device, old.as_ref())?,
        };
        print!("{}", table(&measured.profile));
        print!("{}", summary(&measured.profile));
        outputs.write(&measured)?;
        for path in [&self.json, &self.trace, &self.plot].into_iter().flatten() {
            println!("wrote {}", path.display());
        }
        if let (Some(path), Some(old)) = (&self.compare, old) {
            let comparison =
                compare(&old, &measured.profile).map_err(|problem| incomparable(path, &problem))?;
            println!("compared with {}", path.display());
            print!("{comparison}");
        }
        Ok(())
    }

    fn model(&self, device: &Arc<Profiled>, old: Option<&Profile>) -> Result<Measured> {
        let (model, training): (ModelConfig, TrainingConfig) = match &self.config {
            Some(path) => with_overrides(self.preset, path)?,
            None => (self.preset.model(), self.preset.training()),
        };
        let settings = Settings {
            subject: self.what.to_string(),
            model: Some(model),
            batch: Some(self.batch),
            ..self.settings()
        };
        self.refuse_other(old, &settings.begin(device))?;
        let is_alone = self.what == Target::Generator && !device.launches() && model.c_dim == 1;
        if is_alone && self.cold {
            return Err(Error::usage(
                "--cold",
                "the generator runs its layers depth first to keep caches warm",
                "omit it, or choose step",
            ));
        }
        let cases = self.what.cases(&model, self.batch);
        let mut verified = self.verified(&cases, device)?;
        if is_alone {
            let alone = Arc::new(GeneratorPass::new(model, self.batch, &device.unprofiled())?);
            verified = verified
                .map(|operators| alone.check(operators))
                .transpose()?;
            let make = |_: &Arc<dyn Backend>| Ok(alone.workload(device));
            return measure(device, &make, &settings, verified);
        }
        let make = |backend: &Arc<dyn Backend>| {
            Workload::of_model(self.what, (model, training), self.batch, backend)
        };
        measure(device, &make, &settings, verified)
    }

    fn single(
        &self,
        name: &str,
        device: &Arc<Profiled>,
        old: Option<&Profile>,
    ) -> Result<Measured> {
        let shape = self.shape.as_deref().unwrap_or_default();
        let single = SingleKernel::parse(name, shape, device.launches())?;
        let cases: Vec<_> = single.case().into_iter().collect();
        // For a GPU, at most three operands are made one after the other in the memory of this machine.
        let at_once = if device.launches() { 3.0 } else { 1.0 };
        let mut bytes = single.operator.work().bytes / at_once;
        if self.verifies(device) {
            let needed = cases.iter().map(|case| BYTES_PER_VALUE * case.values());
            bytes = needed.fold(bytes, f64::max);
        }
        memory::expect_room("--shape", "this operator needs", bytes)?;
        let settings = Settings {
            subject: format!("{name} {}", single.operator.extents),
            only: single.kernel,
            ..self.settings()
        };
        self.refuse_other(old, &settings.begin(device))?;
        let verified = if cases.is_empty() {
            None
        } else {
            self.verified(&cases, device)?
        };
        let make = |backend: &Arc<dyn Backend>| single.workload(backend);
        let measured = measure(device, &make, &settings, verified)?;
        if measured.profile.rows.is_empty() {
            return Err(Error::usage(
                "--kernel",
                format!("{name} does not run at this shape in this precision"),
                format!(
                    "--kernel {} shows which kernels do",
                    single.operator.kind.name()
                ),
            ));
        }
        Ok(measured)
    }

    fn settings(&self) -> Settings {
        Settings {
            subject: String::new(),
            model: None,
            batch: None,
            repeats: self.repeats,
            cold: self.cold,
            only: None,
        }
    }

    fn verifies(&self, device: &Profiled) -> bool {
        !self.no_verify && device.has_clock()
    }

    /// Checks the operators that will be timed; `None` if nothing is timed or with `--no-verify`.
    fn verified(&self, cases: &[Case], device: &Arc<Profiled>) -> Result<Option<Verified>> {
        if !self.verifies(device) {
            return Ok(None);
        }
        let backend: Arc<dyn Backend> = Arc::clone(device) as Arc<dyn Backend>;
        verify(cases, &backend, device.precision()).map(Some)
    }

    /// Rejects an earlier profile of another subject before the work begins.
    fn refuse_other(&self, old: Option<&Profile>, new: &Profile) -> Result<()> {
        let problem = old.and_then(|old| mismatch(old, new));
        match (&self.compare, problem) {
            (Some(path), Some(problem)) => Err(incomparable(path, &problem)),
            _ => Ok(()),
        }
    }

    fn refuse_without_clock(&self) -> Result<()> {
        let refused = [
            ("--trace", self.trace.is_some()),
            ("--plot", self.plot.is_some()),
            ("--compare", self.compare.is_some()),
            ("--cold", self.cold),
        ];
        match refused.into_iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((flag, _)) => Err(Error::usage(
                flag,
                "the speed of simt says nothing about a GPU, so launches are counted but not timed",
                "use --device cuda or cpu",
            )),
        }
    }

    fn dump(&self, form: Form) -> Result<()> {
        if !matches!(self.device.device, Device::Auto | Device::Cuda(_)) {
            return Err(Error::usage(
                "--dump",
                "only GPU kernels are compiled by NVRTC",
                "omit --device",
            ));
        }
        let files = dump(
            form,
            self.kernel.as_deref(),
            self.device.precision,
            self.architecture,
            &self.out,
        )?;
        for file in files {
            println!("{}", file.display());
        }
        Ok(())
    }
}

fn incomparable(path: &Path, problem: &str) -> Error {
    Error::file(path, problem, "compare with a profile of the same subject")
}
