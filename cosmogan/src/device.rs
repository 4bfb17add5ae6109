//! Which device computes, in which precision, and what there is to choose from.

use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use cosmogan_engine::backend::cpu::CpuBackend;
use cosmogan_engine::backend::cuda::{self, CudaLauncher};
use cosmogan_engine::backend::launch::{LaunchBackend, Launcher};
use cosmogan_engine::backend::simt::SimtLauncher;
use cosmogan_engine::backend::{Backend, Precision};
use cosmogan_engine::profile::Profiled;

use crate::error::{Error, Result};

/// What `--device` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The best there is.
    #[default]
    Auto,
    /// The processor's cores.
    Cpu,
    /// An NVIDIA GPU by number.
    Cuda(usize),
    /// The GPU's kernels, thread by thread on the processor, with every access checked; the seed orders the threads.
    Simt(u64),
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (kind, number) = match text.split_once(':') {
            Some((kind, number)) => (kind, Some(number)),
            None => (text, None),
        };
        let refused = || "say auto, cpu, cuda, cuda:NUMBER, simt or simt:SEED".to_owned();
        let parsed = number.map(str::parse::<u64>).transpose();
        match (kind, parsed.map_err(|_| refused())?) {
            ("auto", None) => Ok(Self::Auto),
            ("cpu", None) => Ok(Self::Cpu),
            ("cuda", number) => usize::try_from(number.unwrap_or(0))
                .map(Self::Cuda)
                .map_err(|_| refused()),
            ("simt", seed) => Ok(Self::Simt(seed.unwrap_or(0))),
            _ => Err(refused()),
        }
    }
}

/// The flags that choose a device, the same for every command that computes.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct DeviceArguments {
    /// auto, cpu, cuda or cuda:NUMBER; simt runs the GPU's kernels on the processor, slowly, checking every access
    #[arg(long, default_value = "auto")]
    pub device: Device,
    /// What matrix products multiply: f32; tf32 or bf16 are faster and less exact, and need tensor cores
    #[arg(long, default_value = "f32")]
    pub precision: Precision,
}

impl DeviceArguments {
    /// Opens the device. What the user did not ask for is said on stderr, in one line each: that a GPU was taken, or
    /// why not; that kernels cannot be cached.
    ///
    /// # Errors
    /// Where it is not there, or cannot do what is asked; the message says what was looked for and what to do.
    pub fn open(self) -> Result<Arc<dyn Backend>> {
        self.open_as(false)
    }

    /// Opens the device in a mode that notices elements that were not written, and on a processor what was written out
    /// of bounds.
    ///
    /// # Errors
    /// As [`DeviceArguments::open`].
    pub fn open_checked(self) -> Result<Arc<dyn Backend>> {
        self.open_as(true)
    }

    /// Opens the device where kernels are launched on it; `None` stands for the processor, on which generators run
    /// [by themselves](crate::Generator) and everything else on [`processor`].
    ///
    /// # Errors
    /// As [`DeviceArguments::open`].
    pub fn launched(self) -> Result<Option<Arc<dyn Backend>>> {
        self.launched_as(false)
    }

    fn open_as(self, checked: bool) -> Result<Arc<dyn Backend>> {
        Ok(match self.launched_as(checked)? {
            Some(backend) => backend,
            None if checked => Arc::new(CpuBackend::checked()),
            None => processor(),
        })
    }

    /// Opens the device for a profiler: what runs is written down, operator by operator or launch by launch.
    ///
    /// # Errors
    /// As [`DeviceArguments::open`].
    pub fn open_profiled(self) -> Result<Arc<Profiled>> {
        let profiled = self.launched_with(
            |Opened {
                 launcher,
                 precision,
                 ..
             }| { Profiled::on_launcher(launcher, precision) },
        )?;
        Ok(profiled
            .unwrap_or_else(|| Arc::new(Profiled::on_processor(Arc::new(CpuBackend::new())))))
    }

    fn launched_as(self, checked: bool) -> Result<Option<Arc<dyn Backend>>> {
        let backend = self.launched_with(|opened| {
            let backend = LaunchBackend::new(opened.launcher, opened.precision)?;
            // The memory of simt is poisoned, and watched, as it is.
            Ok(if checked && opened.is_gpu {
                backend.poisoned()
            } else {
                backend
            })
        })?;
        Ok(backend.map(|backend| backend as Arc<dyn Backend>))
    }

    /// What `build` makes of the device, if kernels are launched on it.
    fn launched_with<B: Backend + 'static>(
        self,
        build: impl Fn(Opened) -> cosmogan_engine::Result<B>,
    ) -> Result<Option<Arc<B>>> {
        match self.device {
            Device::Cpu => self.require_f32(),
            Device::Cuda(number) => self
                .cuda(number)
                .and_then(build)
                .map(|backend| Some(Arc::new(backend)))
                .map_err(|error| refused("cuda", number, &error)),
            Device::Simt(seed) => self
                .simt(seed)
                .and_then(build)
                .map(|backend| Some(Arc::new(backend)))
                .map_err(|error| refused("simt", seed, &error)),
            // Without a driver there is nothing to tell.
            Device::Auto if !cuda::is_driver_present() => self.require_f32(),
            Device::Auto => match self.cuda(0).and_then(build) {
                Ok(backend) => {
                    eprintln!("computing on {}", backend.description());
                    Ok(Some(Arc::new(backend)))
                }
                Err(error) => {
                    eprintln!("the GPU is not used: {error}");
                    self.require_f32()
                }
            },
        }
    }

    /// No device but the processor, if it can do what is asked.
    fn require_f32<B>(self) -> Result<Option<Arc<B>>> {
        if self.precision != Precision::F32 {
            return Err(Error::usage(
                "--precision",
                format!(
                    "the processor multiplies in f32 and not in {}",
                    self.precision
                ),
                "leave it out, or use --device cuda",
            ));
        }
        Ok(None)
    }

    fn cuda(self, number: usize) -> cosmogan_engine::Result<Opened> {
        let launcher = CudaLauncher::new(number)?;
        let mut precision = self.precision;
        if let Err(lack) = launcher.tiled_kernels()
            && precision != Precision::F32
        {
            eprintln!("computing in f32: {lack}");
            precision = Precision::F32;
        }
        Ok(Opened::new(Arc::new(launcher), precision, true))
    }

    fn simt(self, seed: u64) -> cosmogan_engine::Result<Opened> {
        let launcher = SimtLauncher::new(seed)?;
        Ok(Opened::new(Arc::new(launcher), self.precision, false))
    }
}

/// A device that takes kernels, as it was opened.
struct Opened {
    launcher: Arc<dyn Launcher>,
    /// What products multiply on it.
    precision: Precision,
    is_gpu: bool,
}

impl Opened {
    fn new(launcher: Arc<dyn Launcher>, precision: Precision, is_gpu: bool) -> Self {
        if let Some(notice) = launcher.notice() {
            eprintln!("{notice}");
        }
        Self {
            launcher,
            precision,
            is_gpu,
        }
    }
}

/// The processor's cores.
pub fn processor() -> Arc<dyn Backend> {
    Arc::new(CpuBackend::new())
}

fn refused(kind: &str, number: impl std::fmt::Display, error: &cosmogan_engine::Error) -> Error {
    // The engine's messages end with their remedy, which is the last clause here.
    let message = error.to_string();
    let (problem, remedy) = message
        .split_once("; ")
        .unwrap_or((&message, "see cosmogan doctor"));
    Error::usage(format!("--device {kind}:{number}"), problem, remedy)
}
