//! `cosmogan tune`: finds and stores the fastest tile configuration of each GEMM on this GPU.

use std::path::PathBuf;

use clap::Args;
use cosmogan_engine::backend::Backend;
use cosmogan_engine::backend::launch::{Gpu, Launcher};
use cosmogan_engine::profile::{Extents, Kind, Operator, Profiled};
use cosmogan_kernels::ConvProduct;
use cosmogan_kernels::Tier;
use cosmogan_kernels::convolution::ConvShape;
use cosmogan_kernels::tuning::Problem;

use crate::device::{DeviceArguments, KernelTier, Switch};
use crate::error::{Error, Result};
use crate::help::{ADVANCED, examples};
use crate::interrupt;
use crate::model::preset::with_overrides;
use crate::model::{ModelConfig, Preset};
use crate::tune::{Entry, Found, Settings, Table, Time, problems_of, search};

/// Find the fastest tile configuration of each GEMM on this GPU, and store it for later runs
#[derive(Debug, Args)]
#[command(after_help = examples(&["cosmogan tune --device cuda --precision bf16"]))]
pub(super) struct TuneArguments {
    /// Model whose GEMMs are tuned: paper, small or tiny
    #[arg(long, value_enum, default_value_t = Preset::Paper, hide_possible_values = true)]
    preset: Preset,
    /// TOML file with settings that replace the preset's
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Batch size; a tile configuration holds for one batch size only
    #[arg(long, default_value_t = 64, value_name = "N")]
    batch: usize,
    #[command(flatten)]
    device: DeviceArguments,
    /// Tune one GEMM instead of a model's: fprop, dgrad or wgrad
    #[arg(long, value_name = "NAME", requires = "shape", conflicts_with_all = ["preset", "config", "batch"])]
    product: Option<Kind>,
    /// Extents of that GEMM, as in "n=64 h=64 w=64 c=128 k=256"
    #[arg(long, value_name = "EXTENTS", requires = "product")]
    shape: Option<String>,
    /// Timed passes per candidate
    #[arg(long, default_value_t = 15, value_name = "N", help_heading = ADVANCED)]
    repeats: usize,
    /// Tune GEMMs again that were tuned before
    #[arg(long)]
    again: bool,
}

impl TuneArguments {
    pub(super) fn run(self) -> Result<()> {
        for (flag, value) in [("--batch", self.batch), ("--repeats", self.repeats)] {
            if value == 0 {
                return Err(Error::usage(flag, "0 is too few", "give 1 or more"));
            }
        }
        if self.device.tier == KernelTier::Plain {
            return Err(Error::usage(
                "--tier",
                "plain kernels have no tile configurations to choose from",
                "leave it out, or use --tier tiled",
            ));
        }
        // A search does not use earlier results.
        let device = DeviceArguments {
            autotune: Switch::Off,
            ..self.device
        }
        .open_profiled()?;
        let launcher = device.launcher().filter(|_| device.instruments().is_some());
        let gpu = launcher
            .as_ref()
            .and_then(|launcher| launcher.device().gpu());
        let (Some(launcher), Some(gpu)) = (&launcher, gpu) else {
            return Err(Error::usage(
                "--device",
                format!("{} cannot measure times of a GPU", device.description()),
                "use --device cuda on a machine with one",
            ));
        };
        let problems = self.problems(&device, &**launcher)?;
        self.search(&problems, &device, gpu)
    }

    fn model_config(&self) -> Result<ModelConfig> {
        Ok(match &self.config {
            Some(path) => with_overrides(self.preset, path)?.0,
            None => self.preset.model(),
        })
    }

    fn problems(&self, device: &Profiled, launcher: &dyn Launcher) -> Result<Vec<Problem>> {
        let operand = device.precision();
        let able = launcher.device().tiled_kernels();
        able.map_err(|message| Error::refused("--device", message))?;
        let has_hopper =
            self.device.tier == KernelTier::Auto && launcher.device().hopper_kernels().is_ok();
        let Some(kind) = self.product else {
            return Ok(problems_of(
                &self.model_config()?,
                self.batch,
                operand,
                has_hopper,
            ));
        };
        let product = ConvProduct::ALL
            .into_iter()
            .find(|product| product.name() == kind.name())
            .ok_or_else(|| {
                Error::usage(
                    "--product",
                    format!("{} has no tile configurations to choose from", kind.name()),
                    "choose from fprop, dgrad, wgrad",
                )
            })?;
        let shape = self.shape.as_deref().unwrap_or_default();
        let extents =
            Operator::of_kind(kind, shape).map_err(|message| Error::refused("--shape", message))?;
        match extents.extents {
            Extents::Convolution(geometry)
                if geometry.input_channels > 1 && geometry.output_channels > 1 =>
            {
                let shape = ConvShape::from(&geometry);
                Ok(vec![Problem::new(product, operand, &shape, has_hopper)])
            }
            _ => Err(Error::usage(
                "--shape",
                "single channels have kernels of their own, without tile configurations",
                "give c and k of 2 or more",
            )),
        }
    }

    fn search(&self, problems: &[Problem], device: &Profiled, gpu: &Gpu) -> Result<()> {
        interrupt::listen();
        let path = Table::path(gpu)?;
        let mut table = match Table::read(&path, gpu) {
            Ok(table) => table.unwrap_or_else(|| Table::on(gpu)),
            Err(problem) => {
                eprintln!("{}: {problem}; starting a new table", path.display());
                Table::on(gpu)
            }
        };
        println!("tuning on {}", device.description());
        for problem in problems {
            let name = describe(problem);
            if table.has(problem) && !self.again {
                println!("{name}: found before (--again searches again)");
                continue;
            }
            let settings = Settings {
                repeats: self.repeats,
                ..Settings::default()
            };
            let Some(found) = search(problem, device, settings, &interrupt::requested)? else {
                return Err(Error::interrupted(format!(
                    "results so far are in {}; run the same command again to continue",
                    path.display()
                )));
            };
            report(&name, problem, &found);
            let time = Time::from(&found);
            table.set(Entry::new(problem, &found.tile_config, time));
            // Written after every GEMM: a killed search loses only the current one.
            table.write(&path)?;
        }
        println!("tile configurations are in {}", path.display());
        Ok(())
    }
}

fn describe(problem: &Problem) -> String {
    let s = &problem.shape;
    let (from, to) = match problem.product {
        ConvProduct::Dgrad => (s.outputs, s.channels),
        _ => (s.channels, s.outputs),
    };
    let tier = if problem.tier == Tier::Hopper {
        "Hopper"
    } else {
        "tiled"
    };
    let [height, width] = s.input;
    let name = problem.product.name();
    format!(
        "{name} {from}→{to} at {height}×{width}, batch {}, {tier}",
        s.batch
    )
}

fn report(name: &str, problem: &Problem, found: &Found) {
    let milliseconds = |seconds: f64| 1e3 * seconds;
    let outcome = if found.tile_config == problem.default_config() {
        "the default".to_owned()
    } else {
        format!(
            "{:.1} % less time than the default",
            100.0 * (1.0 - found.seconds / found.default_seconds)
        )
    };
    println!(
        "{name}: {} takes {:.4} ms ± {:.1} %, {outcome}; {} timed",
        found.tile_config,
        milliseconds(found.seconds),
        100.0 * found.noise,
        found.timed
    );
    for (tile_config, reason) in &found.refused {
        println!("  refused {tile_config}: {reason}");
    }
}
