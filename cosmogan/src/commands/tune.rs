//! `cosmogan tune`: the fastest way to cut each matrix product on this GPU, searched for and kept.

use std::path::PathBuf;

use clap::Args;
use cosmogan_engine::backend::Backend;
use cosmogan_engine::backend::launch::{Gpu, Launcher};
use cosmogan_engine::profile::{Extents, Kind, Operator, Profiled};
use cosmogan_kernels::Tier;
use cosmogan_kernels::pack::Operand;
use cosmogan_kernels::tuning::model::{DEVICES, choose};
use cosmogan_kernels::tuning::{Problem, Product};

use crate::device::{Autotune, DeviceArguments, KernelTier};
use crate::error::{Error, Result};
use crate::files::write_atomically;
use crate::interrupt;
use crate::model::preset::with_overrides;
use crate::model::{ModelConfig, Preset};
use crate::tune::{Entry, Found, Settings, Table, Time, operand_of, problems_of, search, shape_of};

/// Search for the fastest way to cut each matrix product on this GPU, and keep it for later runs
#[derive(Debug, Args)]
pub(super) struct TuneArguments {
    /// The model whose products are searched for
    #[arg(long, value_enum, default_value_t = Preset::Paper)]
    preset: Preset,
    /// A TOML file with parts of the model that replace the preset's
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Maps at a time: a choice holds for one batch size
    #[arg(long, default_value_t = 64, value_name = "N")]
    batch: usize,
    #[command(flatten)]
    device: DeviceArguments,
    /// One product instead of a model's: fprop, dgrad or wgrad
    #[arg(long, value_name = "NAME", requires = "shape", conflicts_with_all = ["preset", "config", "batch"])]
    product: Option<Kind>,
    /// Its extents, as in "n=64 h=64 w=64 c=128 k=256"
    #[arg(long, value_name = "EXTENTS", requires = "product")]
    shape: Option<String>,
    /// Passes that are timed of every candidate
    #[arg(long, default_value_t = 15, value_name = "N")]
    repeats: usize,
    /// Search again for what was found before
    #[arg(long)]
    again: bool,
    /// Choose by a model of an architecture's cost instead, without measuring: 80 or 90; how the shipped tables are made
    #[arg(long, value_name = "ARCHITECTURE", conflicts_with_all = ["device", "precision", "tier", "autotune", "product", "again", "repeats"])]
    model: Option<i32>,
    /// Where to write what --model chooses
    #[arg(long, value_name = "FILE", requires = "model")]
    out: Option<PathBuf>,
}

impl TuneArguments {
    pub(super) fn run(self) -> Result<()> {
        for (flag, value) in [("--batch", self.batch), ("--repeats", self.repeats)] {
            if value == 0 {
                return Err(Error::usage(flag, "0 is too few", "give 1 or more"));
            }
        }
        if let Some(architecture) = self.model {
            return self.by_model(architecture);
        }
        if self.device.tier == KernelTier::Plain {
            return Err(Error::usage(
                "--tier",
                "plain kernels leave nothing to choose",
                "leave it out, or use --tier tiled",
            ));
        }
        // What is looked up plays no part in a search.
        let device = DeviceArguments {
            autotune: Autotune::Off,
            ..self.device
        }
        .open_profiled()?;
        let launcher = device.launcher().filter(|_| device.instruments().is_some());
        let gpu = launcher.as_ref().and_then(|launcher| launcher.gpu());
        let (Some(launcher), Some(gpu)) = (&launcher, gpu) else {
            return Err(Error::usage(
                "--device",
                format!(
                    "{} has no clock that says anything about a GPU",
                    device.description()
                ),
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
        let operand = operand_of(device.precision());
        launcher.tiled_kernels().map_err(|lack| {
            let (problem, remedy) = lack.split_once("; ").unwrap_or((&lack, ""));
            Error::usage("--device", problem, remedy)
        })?;
        let has_hopper = self.device.tier == KernelTier::Auto && launcher.hopper_kernels().is_ok();
        let Some(kind) = self.product else {
            return Ok(problems_of(
                &self.model_config()?,
                self.batch,
                operand,
                has_hopper,
            ));
        };
        let product = Product::ALL
            .into_iter()
            .find(|product| product.name() == kind.name())
            .ok_or_else(|| {
                Error::usage(
                    "--product",
                    format!("{} leaves nothing to choose", kind.name()),
                    "choose from fprop, dgrad, wgrad",
                )
            })?;
        let shape = self.shape.as_deref().unwrap_or_default();
        let extents = Operator::of_kind(kind, shape).map_err(|problem| {
            let (problem, remedy) = problem.split_once("; ").unwrap_or((&problem, ""));
            Error::usage("--shape", problem, remedy)
        })?;
        match extents.extents {
            Extents::Convolution(geometry)
                if geometry.input_channels > 1 && geometry.output_channels > 1 =>
            {
                let shape = shape_of(&geometry);
                Ok(vec![Problem::new(product, operand, &shape, has_hopper)])
            }
            _ => Err(Error::usage(
                "--shape",
                "single channels have kernels of their own, which leave nothing to choose",
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
                eprintln!("{}: {problem}; it is begun anew", path.display());
                Table::on(gpu)
            }
        };
        println!("searching on {}", device.description());
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
                return Err(Error::Interrupted(format!(
                    "what was found is in {}; run the same command again to go on",
                    path.display()
                )));
            };
            report(&name, problem, &found);
            let time = Time::from(&found);
            table.set(Entry::new(problem, &found.choice, Some(time)));
            // A search that is killed loses the product that it is at, and no other.
            table.write(&path)?;
        }
        println!("choices are in {}", path.display());
        Ok(())
    }

    /// The table that is shipped for an architecture.
    fn by_model(&self, architecture: i32) -> Result<()> {
        let known =
            |device: &&cosmogan_kernels::tuning::model::Device| device.architecture == architecture;
        let Some(device) = DEVICES.iter().find(known) else {
            return Err(Error::usage(
                "--model",
                format!("there is no model of sm_{architecture}"),
                "choose from 80 and 90",
            ));
        };
        let mut table = Table::unmeasured(format!(
            "unmeasured: chosen by a model of an {} (cosmogan tune --model {architecture}); see docs/tuning.md",
            device.name
        ));
        let model = self.model_config()?;
        for operand in [Operand::F32, Operand::Tf32, Operand::Bf16] {
            for problem in problems_of(&model, self.batch, operand, architecture == 90) {
                table.set(Entry::new(&problem, &choose(&problem, device), None));
            }
        }
        match &self.out {
            Some(path) => write_atomically(path, table.text()?.as_bytes()),
            None => {
                print!("{}", table.text()?);
                Ok(())
            }
        }
    }
}

fn describe(problem: &Problem) -> String {
    let s = &problem.shape;
    let (from, to) = match problem.product {
        Product::Dgrad => (s.outputs, s.channels),
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
    let outcome = if found.choice == problem.default_choice() {
        "the default".to_owned()
    } else {
        format!(
            "{:.1} % less than the default",
            100.0 * (1.0 - found.seconds / found.default_seconds)
        )
    };
    println!(
        "{name}: {} takes {:.4} ms ± {:.1} %, {outcome}; {} timed",
        found.choice,
        milliseconds(found.seconds),
        100.0 * found.noise,
        found.timed
    );
    for (choice, reason) in &found.refused {
        println!("  refused {choice}: {reason}");
    }
}
