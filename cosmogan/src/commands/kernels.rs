//! `cosmogan kernels`: which kernels there are, and what a compiler makes of them, with or without a GPU.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use cosmogan_engine::backend::cuda::nvrtc::{Nvrtc, Resources, resources};
use cosmogan_kernels::tuning::candidate_modules;
use cosmogan_kernels::{Kernel, MANIFEST, Module, Tier, modules};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::files::write_atomically;

/// Compiled for unless told otherwise: the oldest that NVRTC 13 knows, and one of each generation with tensor cores.
const ARCHITECTURES: [i32; 4] = [75, 80, 90, 100];

/// List the GPU kernels; compile them, which needs NVRTC but no GPU
#[derive(Debug, Args)]
pub(super) struct KernelsArguments {
    /// Compile every kernel and show its registers, shared memory and spills
    #[arg(long)]
    compile: bool,
    /// Architectures to compile for, e.g. 80,90 [default: 75,80,90,100, as far as NVRTC knows them]
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "NUMBERS",
        requires = "compile"
    )]
    architectures: Vec<i32>,
    /// Write the list, and what was compiled, as a Markdown page
    #[arg(long, value_name = "FILE", requires = "compile")]
    table: Option<PathBuf>,
}

impl KernelsArguments {
    pub(super) fn run(self) -> Result<()> {
        if !self.compile {
            print!("{}", list());
            return Ok(());
        }
        let nvrtc = Nvrtc::find(None)?;
        let architectures = self.targets(&nvrtc)?;
        let rows = compile(&nvrtc, &architectures)?;
        let page = page(&nvrtc, &architectures, &rows);
        match &self.table {
            Some(path) => write_atomically(path, page.as_bytes())?,
            None => print!("{page}"),
        }
        let spilled: Vec<_> = rows
            .iter()
            .filter(|row| row.kernel.tier != Tier::Plain)
            .flat_map(|row| {
                row.found
                    .iter()
                    .flatten()
                    .map(|found| (row.kernel.tier, found))
            })
            // Sums of Hopper kernels that lie on the stack have no registers either.
            .filter(|(tier, found)| {
                found.spill_bytes > 0 || *tier == Tier::Hopper && found.stack_bytes > 0
            })
            .map(|(_, found)| found.kernel.clone())
            .collect();
        eprintln!(
            "{} kernels in {} specialisations compile for {architectures:?}",
            MANIFEST.len(),
            rows.len()
        );
        if spilled.is_empty() {
            return Ok(());
        }
        Err(Error::CheckFailed(format!(
            "tiled or Hopper kernels spill registers: {}",
            spilled.join(", ")
        )))
    }

    fn targets(&self, nvrtc: &Nvrtc) -> Result<Vec<i32>> {
        if self.architectures.is_empty() {
            let known = |number: &i32| nvrtc.architectures.contains(number);
            return Ok(ARCHITECTURES.into_iter().filter(known).collect());
        }
        for number in &self.architectures {
            if !nvrtc.architectures.contains(number) {
                return Err(Error::usage(
                    "--architectures",
                    format!(
                        "NVRTC at {} does not know sm_{number}",
                        nvrtc.path.display()
                    ),
                    format!("choose from {:?}", nvrtc.architectures),
                ));
            }
        }
        Ok(self.architectures.clone())
    }
}

/// One kernel in one specialisation, and what it takes on each architecture.
struct Row {
    kernel: &'static Kernel,
    constants: String,
    /// Shared memory that the launch gives it.
    dynamic_bytes: u32,
    found: Vec<Option<Resources>>,
}

/// Compiles every module for every architecture that can run it.
fn compile(nvrtc: &Nvrtc, architectures: &[i32]) -> Result<Vec<Row>> {
    let mut modules = modules();
    modules.extend(candidate_modules());
    modules.sort();
    modules.dedup();
    let jobs: Vec<(&Module, i32)> = modules
        .iter()
        .flat_map(|module| architectures.iter().map(move |&number| (module, number)))
        .collect();
    let compiled = jobs
        .par_iter()
        .map(|&(module, number)| {
            let Some(target) = module.target(number) else {
                return Ok(Vec::new());
            };
            let compiled = nvrtc.compile(module, &target)?;
            // Said where products of a warpgroup wait for each other, which costs most of their speed.
            if compiled.log.contains("serialized") {
                return Err(Error::CheckFailed(format!(
                    "{}: products of a warpgroup are serialized on {target}",
                    module.source
                )));
            }
            Ok(resources(&compiled.log))
        })
        .collect::<Result<Vec<_>>>()?;

    let mut rows = Vec::new();
    for kernel in MANIFEST {
        for (index, module) in modules.iter().enumerate() {
            if module.source != kernel.source {
                continue;
            }
            let found = (0..architectures.len())
                .map(|architecture| {
                    compiled[index * architectures.len() + architecture]
                        .iter()
                        .find(|found| found.kernel == kernel.name)
                        .cloned()
                })
                .collect();
            rows.push(Row {
                kernel,
                constants: module.specialisation(),
                dynamic_bytes: module.dynamic_shared_bytes(),
                found,
            });
        }
    }
    Ok(rows)
}

fn tier(kernel: &Kernel) -> &'static str {
    match kernel.tier {
        Tier::Plain => "plain",
        Tier::Tiled => "tiled",
        Tier::Hopper => "Hopper",
    }
}

/// The kernels as plain text.
fn list() -> String {
    let mut text = String::new();
    for kernel in MANIFEST {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}  (kernels/cuda/{}, {})\n    {}\n    {}",
            kernel.name,
            kernel.source,
            tier(kernel),
            kernel.summary,
            kernel.ladder
        );
    }
    text
}

/// The kernels, and what they take, as a Markdown page.
fn page(nvrtc: &Nvrtc, architectures: &[i32], rows: &[Row]) -> String {
    let [major, minor] = nvrtc.version;
    let mut page = format!(
        "# Kernels\n\n\
         Written by `cosmogan kernels --compile --table docs/kernels.md`, with NVRTC of CUDA {major}.{minor}.\n\n\
         ## What there is\n\n\
         | kernel | file | tier | computes | ladder |\n| --- | --- | --- | --- | --- |\n"
    );
    for kernel in MANIFEST {
        let _ = writeln!(
            page,
            "| `{}` | `{}` | {} | {} | {} |",
            kernel.name,
            kernel.source,
            tier(kernel),
            kernel.summary.replace('|', "\\|"),
            kernel.ladder.replace('|', "\\|")
        );
    }
    page.push_str(
        "\n## What they take\n\n\
         Registers of a thread, bytes of shared memory of a block, and bytes spilled, where there are any. A\n\
         specialisation is what is fixed at compile time: operands, tile, stages, window and stride (none named: any),\n\
         the defaults and every candidate of `cosmogan tune` (tuning.md). Hopper kernels are compiled for sm_90a; of\n\
         their registers, 168 at first, those who multiply take 232 each.\n\n\
         | kernel | specialisation |",
    );
    for number in architectures {
        let _ = write!(page, " sm_{number} |");
    }
    page.push_str("\n| --- | --- |");
    page.push_str(&" --- |".repeat(architectures.len()));
    page.push('\n');
    for row in rows {
        let _ = write!(page, "| `{}` | {} |", row.kernel.name, row.constants);
        for found in &row.found {
            let cell = found.as_ref().map_or_else(
                || "–".to_owned(),
                |found| {
                    let mut cell = found.registers.to_string();
                    let shared_bytes = found.shared_bytes + row.dynamic_bytes;
                    if shared_bytes > 0 {
                        let _ = write!(cell, ", {shared_bytes} B");
                    }
                    if found.spill_bytes > 0 {
                        let _ = write!(cell, ", **spills {} B**", found.spill_bytes);
                    }
                    cell
                },
            );
            let _ = write!(page, " {cell} |");
        }
        page.push('\n');
    }
    page
}
