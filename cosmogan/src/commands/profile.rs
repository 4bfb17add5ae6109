//! `cosmogan profile`: where the time goes, beside what the device could do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use cosmogan_engine::backend::Backend;
use cosmogan_engine::profile::Profiled;
use cosmogan_oracle::Case;

use crate::device::{Device, DeviceArguments};
use crate::error::{Error, Result};
use crate::model::preset::{TrainingConfig, with_overrides};
use crate::model::{ModelConfig, Preset};
use crate::profile::{
    Alone, Form, Measured, Outputs, Profile, Settings, Single, Target, Verified, Workload, compare,
    dump, measure, mismatch, table, verify, words,
};

/// Measure every operator or kernel beside the limits of the device
#[derive(Debug, Args)]
pub(super) struct ProfileArguments {
    /// What to run
    #[arg(value_enum, default_value_t = Target::Step)]
    what: Target,
    /// The model
    #[arg(long, value_enum, default_value_t = Preset::Paper)]
    preset: Preset,
    /// A TOML file with parts of the model that replace the preset's
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Maps at a time
    #[arg(long, default_value_t = 8, value_name = "N")]
    batch: usize,
    #[command(flatten)]
    device: DeviceArguments,
    /// Passes that are timed, after a few that are not
    #[arg(long, default_value_t = 10, value_name = "N")]
    repeats: usize,
    /// Empty the caches before every operator or launch
    #[arg(long)]
    cold: bool,
    /// Do not check the operators against the oracle first, for perf and ncu to see nothing else
    #[arg(long)]
    no_verify: bool,
    /// Write everything that was measured, for --compare and for programs
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write one pass as a trace for ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Draw the roofline: roofline.png, or roofline.svg
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Say what became slower and faster than in the file that --json wrote earlier
    #[arg(long, value_name = "OLD.json")]
    compare: Option<PathBuf>,
    /// Run one operator alone, as dgrad, or on a GPU one kernel, as conv_dgrad_tiled
    #[arg(long, value_name = "NAME", conflicts_with_all = ["what", "preset", "config", "batch"])]
    kernel: Option<String>,
    /// Its extents, as in "n=8 h=64 w=64 c=128 k=256"; left out, what they should be is said
    #[arg(long, value_name = "EXTENTS", requires = "kernel")]
    shape: Option<String>,
    /// Write what NVIDIA's compilers make of the kernels, or of --kernel, instead; needs NVRTC but no GPU
    #[arg(long, value_enum, value_name = "FORM", conflicts_with_all = ["json", "trace", "plot", "compare", "shape", "cold"])]
    dump: Option<Form>,
    /// Compute capability to compile for, with --dump
    #[arg(long, default_value_t = 90, value_name = "NUMBER", requires = "dump")]
    architecture: i32,
    /// Folder to write to, with --dump
    #[arg(
        long,
        default_value = "listing",
        value_name = "FOLDER",
        requires = "dump"
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
        print!("{}", words(&measured.profile));
        outputs.write(&measured)?;
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
                "the generator goes depth first through its layers so that caches are warm",
                "leave it out, or choose step",
            ));
        }
        let cases = self.what.cases(&model, self.batch);
        let mut verified = self.verified(&cases, device)?;
        if is_alone {
            let alone = Arc::new(Alone::new(model, self.batch, &device.unprofiled())?);
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
        let single = Single::parse(name, shape, device.launches())?;
        let settings = Settings {
            subject: format!("{name} {}", single.operator.extents),
            only: single.kernel,
            ..self.settings()
        };
        self.refuse_other(old, &settings.begin(device))?;
        let cases: Vec<_> = single.case().into_iter().collect();
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
                format!("--kernel {} shows which do", single.operator.kind.name()),
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

    /// Checks what is about to be timed; where nothing is timed there is nothing to check.
    fn verified(&self, cases: &[Case], device: &Arc<Profiled>) -> Result<Option<Verified>> {
        if self.no_verify || !device.has_clock() {
            return Ok(None);
        }
        let backend: Arc<dyn Backend> = Arc::clone(device) as Arc<dyn Backend>;
        verify(cases, &backend, device.precision()).map(Some)
    }

    /// Refuses an earlier profile that is about something else, before the work begins.
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
                "the time that simt takes says nothing about a GPU, so that launches are counted and not timed",
                "use --device cuda or cpu",
            )),
        }
    }

    fn dump(&self, form: Form) -> Result<()> {
        if !matches!(self.device.device, Device::Auto | Device::Cuda(_)) {
            return Err(Error::usage(
                "--dump",
                "only the kernels of GPUs are compiled by NVRTC",
                "leave --device out",
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
    Error::file(path, problem, "compare with a profile of the same thing")
}
