//! The compute device and its precision: the flags that choose them, and how a device is opened.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use cosmogan_engine::backend::cpu::CpuBackend;
use cosmogan_engine::backend::cuda::{self, CudaLauncher};
use cosmogan_engine::backend::launch::{KernelDevice as _, LaunchBackend, Launcher};
use cosmogan_engine::backend::simt::SimtLauncher;
use cosmogan_engine::backend::{Backend, Precision};
use cosmogan_engine::profile::Profiled;
use cosmogan_kernels::Tier;
use cosmogan_kernels::tuning::TileConfigs;

use crate::error::{Error, Result};
use crate::help::ADVANCED;
use crate::kernels::read_sources;
use crate::tune::lookup::look_up;

/// The value of `--device`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The first GPU if it can be used, the CPU otherwise.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU by number.
    Cuda(usize),
    /// The kernel executor: runs the GPU kernels thread by thread on the CPU and checks every access. The seed
    /// determines the order of the threads.
    Simt(u64),
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (kind, number) = match text.split_once(':') {
            Some((kind, number)) => (kind, Some(number)),
            None => (text, None),
        };
        let refused = || "expected auto, cpu, cuda, cuda:NUMBER, simt or simt:SEED".to_owned();
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

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(number) => write!(formatter, "cuda:{number}"),
            Self::Simt(seed) => write!(formatter, "simt:{seed}"),
        }
    }
}

/// The value of `--tier`: the kernels that GEMMs may run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum KernelTier {
    /// The best kernel of the device for each shape.
    #[default]
    Auto,
    /// Kernels for any GPU with tensor cores; no Hopper kernels.
    Tiled,
    /// Kernels for any GPU.
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

/// The value of a flag that is on by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On.
    #[default]
    On,
    /// Off.
    Off,
}

/// The flags that choose a device, shared by all commands that compute.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct DeviceArguments {
    /// auto, cpu, cuda or cuda:NUMBER; simt runs GPU kernels on the CPU and checks accesses
    #[arg(long, default_value = "auto")]
    pub device: Device,
    /// Operands of GEMMs: f32, tf32 or bf16; the latter two are faster on tensor cores
    #[arg(long, default_value = "f32", help_heading = ADVANCED)]
    pub precision: Precision,
    /// Highest tier of GPU kernels: auto, tiled or plain
    #[arg(long, value_enum, default_value_t, help_heading = ADVANCED, hide_possible_values = true)]
    pub tier: KernelTier,
    /// Use tile configurations of `cosmogan tune`: on or off
    #[arg(long, value_enum, default_value_t, help_heading = ADVANCED, hide_possible_values = true)]
    pub autotune: Switch,
}

impl DeviceArguments {
    /// The same flags for another process of this program.
    pub fn to_flags(self) -> [String; 4] {
        let name = |value: Option<PossibleValue>| {
            value.map_or_else(String::new, |value| value.get_name().to_owned())
        };
        [
            format!("--device={}", self.device),
            format!("--precision={}", self.precision),
            format!("--tier={}", name(self.tier.to_possible_value())),
            format!("--autotune={}", name(self.autotune.to_possible_value())),
        ]
    }

    /// Opens the device.
    ///
    /// Prints one line to stderr for each thing that the user did not ask for: that a GPU is used, or why it is not;
    /// that compiled kernels cannot be cached. It also prints the folder of kernels in `COSMOGAN_KERNELS`.
    ///
    /// # Errors
    /// If the device does not exist or does not support the request; the message says what is missing and what to do.
    pub fn open(self) -> Result<Arc<dyn Backend>> {
        self.open_as(false, true)
    }

    /// Opens the device with outputs poisoned by NaN, and on a CPU with guards around every buffer. With `prepare`, kernels
    /// are compiled at once on all cores; without, each at its first launch.
    ///
    /// # Errors
    /// As [`DeviceArguments::open`].
    pub fn open_checked(self, prepare: bool) -> Result<Arc<dyn Backend>> {
        self.open_as(true, prepare)
    }

    /// Opens a device on which networks run operator by operator on the tape.
    ///
    /// Returns `None` for the CPU in f32: there, generators run as a [`Generator`](crate::Generator) and everything
    /// else runs on [`processor`].
    ///
    /// # Errors
    /// As [`DeviceArguments::open`].
    pub fn launched(self) -> Result<Option<Arc<dyn Backend>>> {
        self.launched_as(false, true)
    }

    fn open_as(self, checked: bool, prepare: bool) -> Result<Arc<dyn Backend>> {
        Ok(match self.launched_as(checked, prepare)? {
            Some(backend) => backend,
            None => self.cores(checked),
        })
    }

    /// The CPU, which rounds the operands that tensor cores would round.
    fn cores(self, checked: bool) -> Arc<dyn Backend> {
        let backend = if checked {
            CpuBackend::checked()
        } else {
            CpuBackend::new()
        };
        Arc::new(backend.multiplying(self.precision))
    }

    /// Opens the device for profiling: every operator or kernel launch is recorded.
    ///
    /// # Errors
    /// As [`DeviceArguments::open`].
    pub fn open_profiled(self) -> Result<Arc<Profiled>> {
        let profiled = self.launched_with(
            |Opened {
                 launcher,
                 precision,
                 highest,
                 tile_configs,
                 ..
             }| {
                let profiled = Profiled::on_launcher(launcher, precision, highest)?;
                Ok(profiled.with_tile_configs(tile_configs))
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
                    "the CPU rounds operands to {} and multiplies them in f32, so that its times say nothing about that precision",
                    self.precision
                ),
                "leave it out, or use --device cuda",
            )),
        }
    }

    fn launched_as(self, checked: bool, prepare: bool) -> Result<Option<Arc<dyn Backend>>> {
        let backend = self.launched_with(|opened| {
            let backend = LaunchBackend::new(opened.launcher, opened.precision)?
                .up_to(opened.highest)
                .with_tile_configs(opened.tile_configs);
            let backend = if prepare { backend.prepared() } else { backend };
            // simt always poisons its memory and checks accesses.
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
            // Reduced precision only pays on a GPU. The CPU rounds only if the user asks for the CPU.
            None => {
                return Err(Error::usage(
                    "--precision",
                    format!(
                        "no GPU can be used, and the CPU is no faster in {}",
                        self.precision
                    ),
                    "leave it out, or use --device cpu to see how this precision changes results",
                ));
            }
        })
    }

    /// The backend that `build` makes of the device; `None` for the CPU, on which no kernels are launched.
    fn launched_with<B: Backend + 'static>(
        self,
        build: impl Fn(Opened) -> cosmogan_engine::Result<B>,
    ) -> Result<Option<Arc<B>>> {
        if self.tier == KernelTier::Plain && self.precision != Precision::F32 {
            return Err(Error::usage(
                "--tier",
                format!("plain kernels multiply in f32, not in {}", self.precision),
                "leave it out, or use --tier tiled",
            ));
        }
        let launches = match self.device {
            Device::Cpu => false,
            // Without a driver there is nothing to report.
            Device::Auto => cuda::is_driver_present(),
            Device::Cuda(_) | Device::Simt(_) => true,
        };
        if !launches {
            return self.on_processor();
        }
        read_sources()?;
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

    /// `None`, the CPU; an error if the user asked for a tier of GPU kernels.
    fn on_processor<B>(self) -> Result<Option<Arc<B>>> {
        if self.tier != KernelTier::Auto {
            return Err(Error::usage(
                "--tier",
                "the CPU runs no GPU kernels",
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

/// An opened device that launches kernels.
struct Opened {
    launcher: Arc<dyn Launcher>,
    /// Operand precision of GEMMs.
    precision: Precision,
    /// The highest tier of kernels that GEMMs may use.
    highest: Tier,
    /// Tile configurations of GEMMs.
    tile_configs: Arc<TileConfigs>,
    is_gpu: bool,
}

impl Opened {
    fn new(launcher: Arc<dyn Launcher>, arguments: DeviceArguments, is_gpu: bool) -> Self {
        if let Some(notice) = launcher.device().notice() {
            eprintln!("{notice}");
        }
        let tile_configs = match launcher.device().gpu() {
            Some(gpu) if arguments.autotune == Switch::On => {
                let found = look_up(gpu);
                if let Some(notice) = found.notice {
                    eprintln!("{notice}");
                }
                Arc::new(found.tile_configs)
            }
            _ => Arc::default(),
        };
        Self {
            launcher,
            precision: arguments.precision,
            highest: arguments.tier.highest(),
            tile_configs,
            is_gpu,
        }
    }
}

/// The CPU backend in f32.
pub fn processor() -> Arc<dyn Backend> {
    Arc::new(CpuBackend::new())
}

fn refused(kind: &str, number: impl std::fmt::Display, error: &cosmogan_engine::Error) -> Error {
    let message = format!("{error} (cosmogan doctor says what there is)");
    Error::refused(format!("--device {kind}:{number}"), message)
}
