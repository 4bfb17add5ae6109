//! Which device computes, in which precision, and what there is to choose from.

use std::str::FromStr;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use cosmogan_engine::backend::cpu::CpuBackend;
use cosmogan_engine::backend::cuda::{self, CudaLauncher};
use cosmogan_engine::backend::launch::{LaunchBackend, Launcher};
use cosmogan_engine::backend::simt::SimtLauncher;
use cosmogan_engine::backend::{Backend, Precision};
use cosmogan_engine::profile::Profiled;
use cosmogan_kernels::Tier;
use cosmogan_kernels::tuning::Choices;

use crate::error::{Error, Result};
use crate::tune::lookup::look_up;

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

/// What `--tier` says: which kernels products run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum KernelTier {
    /// The best of the device for each shape.
    #[default]
    Auto,
    /// Those for every GPU with tensor cores, and no Hopper kernels.
    Tiled,
    /// Those for every GPU.
    Plain,
}

impl KernelTier {
    fn highest(self) -> Tier {
        match self {
            Self::Auto => Tier::Hopper,
            Self::Tiled => Tier::Tiled,
            Self::Plain => Tier::Plain,
        }
    }
}

/// What `--autotune` says: whether choices of how to cut products are looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Autotune {
    /// In what `cosmogan tune` found on this GPU, then in what comes with the program.
    #[default]
    On,
    /// Nowhere: every product goes by its shape alone.
    Off,
}

/// The flags that choose a device, the same for every command that computes.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct DeviceArguments {
    /// auto, cpu, cuda or cuda:NUMBER; simt runs the GPU's kernels on the processor, slowly, checking every access
    #[arg(long, default_value = "auto")]
    pub device: Device,
    /// What matrix products multiply: f32; tf32 or bf16 are faster and less exact, and need tensor cores, but for
    /// --device cpu, which rounds the same operands and is no faster
    #[arg(long, default_value = "f32")]
    pub precision: Precision,
    /// Which GPU kernels multiply matrices: the best for each shape, or none beyond a tier, to compare them
    #[arg(long, value_enum, default_value_t)]
    pub tier: KernelTier,
    /// Cut matrix products on a GPU as cosmogan tune found best there, or else as a table in the program says; off: by shape
    #[arg(long, value_enum, default_value_t)]
    pub autotune: Autotune,
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

    /// Opens the device where networks run on its operators; `None` stands for the processor in f32, on which generators run
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
            None => self.cores(checked),
        })
    }

    /// The processor's cores, which round what tensor cores would.
    fn cores(self, checked: bool) -> Arc<dyn Backend> {
        let backend = if checked {
            CpuBackend::checked()
        } else {
            CpuBackend::new()
        };
        Arc::new(backend.multiplying(self.precision))
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
                 highest,
                 choices,
                 ..
             }| {
                let profiled = Profiled::on_launcher(launcher, precision, highest)?;
                Ok(profiled.with_choices(choices))
            },
        )?;
        match profiled {
            Some(profiled) => Ok(profiled),
            None if self.precision == Precision::F32 => Ok(Arc::new(Profiled::on_processor(
                Arc::new(CpuBackend::new()),
            ))),
            None => Err(Error::usage(
                "--precision",
                format!(
                    "a processor rounds to {} what it then multiplies in f32, so that its times say nothing about that precision",
                    self.precision
                ),
                "leave it out, or use --device cuda",
            )),
        }
    }

    fn launched_as(self, checked: bool) -> Result<Option<Arc<dyn Backend>>> {
        let backend = self.launched_with(|opened| {
            let backend = LaunchBackend::new(opened.launcher, opened.precision)?
                .up_to(opened.highest)
                .with_choices(opened.choices);
            // The memory of simt is poisoned, and watched, as it is.
            Ok(if checked && opened.is_gpu {
                backend.poisoned()
            } else {
                backend
            })
        })?;
        Ok(match backend {
            Some(backend) => Some(backend),
            None if self.precision == Precision::F32 => None,
            None if self.device == Device::Cpu => Some(self.cores(checked)),
            // What makes a GPU faster is not done on a processor that nobody asked for.
            None => {
                return Err(Error::usage(
                    "--precision",
                    format!(
                        "no GPU can be used, and a processor is no faster in {}",
                        self.precision
                    ),
                    "leave it out, or say --device cpu to see what this precision does to results",
                ));
            }
        })
    }

    /// What `build` makes of the device, if kernels are launched on it.
    fn launched_with<B: Backend + 'static>(
        self,
        build: impl Fn(Opened) -> cosmogan_engine::Result<B>,
    ) -> Result<Option<Arc<B>>> {
        if self.tier == KernelTier::Plain && self.precision != Precision::F32 {
            return Err(Error::usage(
                "--tier",
                format!(
                    "plain kernels multiply in f32 and not in {}",
                    self.precision
                ),
                "leave it out, or use --tier tiled",
            ));
        }
        match self.device {
            Device::Cpu => self.on_processor(),
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
            Device::Auto if !cuda::is_driver_present() => self.on_processor(),
            Device::Auto => match self.cuda(0).and_then(build) {
                Ok(backend) => {
                    eprintln!("computing on {}", backend.description());
                    Ok(Some(Arc::new(backend)))
                }
                Err(error) => {
                    eprintln!("the GPU is not used: {error}");
                    self.on_processor()
                }
            },
        }
    }

    /// No device that takes kernels, where none is asked for by name.
    fn on_processor<B>(self) -> Result<Option<Arc<B>>> {
        if self.tier != KernelTier::Auto {
            return Err(Error::usage(
                "--tier",
                "the processor runs no GPU kernels",
                "leave it out, or use --device cuda or --device simt",
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
        let arguments = Self { precision, ..self };
        Ok(Opened::new(Arc::new(launcher), arguments, true))
    }

    fn simt(self, seed: u64) -> cosmogan_engine::Result<Opened> {
        let launcher = SimtLauncher::new(seed)?;
        Ok(Opened::new(Arc::new(launcher), self, false))
    }
}

/// A device that takes kernels, as it was opened.
struct Opened {
    launcher: Arc<dyn Launcher>,
    /// What products multiply on it.
    precision: Precision,
    /// The highest tier of kernels that they run on.
    highest: Tier,
    /// How products are cut.
    choices: Arc<Choices>,
    is_gpu: bool,
}

impl Opened {
    fn new(launcher: Arc<dyn Launcher>, arguments: DeviceArguments, is_gpu: bool) -> Self {
        if let Some(notice) = launcher.notice() {
            eprintln!("{notice}");
        }
        let choices = match launcher.gpu() {
            Some(gpu) if arguments.autotune == Autotune::On => {
                let found = look_up(gpu);
                if let Some(notice) = found.notice {
                    eprintln!("{notice}");
                }
                Arc::new(found.choices)
            }
            _ => Arc::default(),
        };
        Self {
            launcher,
            precision: arguments.precision,
            highest: arguments.tier.highest(),
            choices,
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
