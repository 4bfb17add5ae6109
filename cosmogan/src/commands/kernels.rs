//! `cosmogan kernels`: lists the GPU kernels and compiles them, with or without a GPU.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use clap::Args;
use cosmogan_engine::backend::cache::Cache;
use cosmogan_engine::backend::cuda::nvrtc::{Nvrtc, Resources, resources};
use cosmogan_kernels::tuning::candidate_modules;
use cosmogan_kernels::{Kernel, MANIFEST, Module, Tier, modules};
use rayon::prelude::*;

use super::output::print_written;
use crate::error::{Error, Result};
use crate::files::write_atomically;
use crate::help::examples;
use crate::kernels::{find, read_sources};
use crate::progress::Progress;

/// Default architectures: the oldest that NVRTC 13 supports, and one of each later generation with tensor cores.
const ARCHITECTURES: [i32; 4] = [75, 80, 90, 100];

/// List the GPU kernels, or compile them, which needs NVRTC but no GPU
#[derive(Debug, Args)]
#[command(after_help = examples(&["cosmogan kernels", "cosmogan kernels --compile --architectures 80,90"]))]
pub(super) struct KernelsArguments {
    /// Compile every kernel and show its registers, shared memory and spills
    #[arg(long)]
    compile: bool,
    /// Architectures to compile for, e.g. 80,90 [default: those of 75,80,90,100 that NVRTC supports]
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "NUMBERS",
        requires = "compile"
    )]
    architectures: Vec<i32>,
    /// Compile this kernel only; may be given several times
    #[arg(
        long,
        value_name = "NAME",
        requires = "compile",
        conflicts_with = "table"
    )]
    kernel: Vec<String>,
    /// Write the list and the compiled resources to a Markdown page
    #[arg(long, value_name = "FILE", requires = "compile")]
    table: Option<PathBuf>,
}

impl KernelsArguments {
    pub(super) fn run(self) -> Result<()> {
        if !self.compile {
            print!("{}", list());
            return Ok(());
        }
        let kernels = self.kernels()?;
        read_sources()?;
        let nvrtc = Nvrtc::find(None)?;
        let architectures = self.targets(&nvrtc)?;
        let rows = compile(&nvrtc, &architectures, &kernels)?;
        let page = page(&nvrtc, &architectures, &kernels, &rows);
        match &self.table {
            Some(path) => {
                write_atomically(path, page.as_bytes())?;
                print_written(path, "kernels and their resources");
            }
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
            // Accumulators of Hopper kernels on the stack are not in registers either.
            .filter(|(tier, found)| {
                found.spill_bytes > 0 || *tier == Tier::Hopper && found.stack_bytes > 0
            })
            .map(|(_, found)| found.kernel.clone())
            .collect();
        eprintln!(
            "{} kernels in {} specialisations compile for {architectures:?}",
            kernels.len(),
            rows.len()
        );
        if spilled.is_empty() {
            return Ok(());
        }
        Err(Error::check_failed(format!(
            "tiled or Hopper kernels spill registers: {}",
            spilled.join(", ")
        )))
    }

    /// The kernels to compile, in the order of the manifest.
    fn kernels(&self) -> Result<Vec<&'static Kernel>> {
        for name in &self.kernel {
            find(name)?;
        }
        let mut kernels = MANIFEST.to_vec();
        if !self.kernel.is_empty() {
            kernels.retain(|kernel| self.kernel.iter().any(|name| name == kernel.name));
        }
        Ok(kernels)
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
                        "NVRTC at {} does not support sm_{number}",
                        nvrtc.path.display()
                    ),
                    format!("choose from {:?}", nvrtc.architectures),
                ));
            }
        }
        Ok(self.architectures.clone())
    }
}

/// One kernel in one specialisation, and its resources on each architecture.
struct Row {
    kernel: &'static Kernel,
    constants: String,
    /// Dynamic shared memory of the launch.
    dynamic_bytes: u32,
    found: Vec<Option<Resources>>,
}

/// Compiles every module of `kernels` for every architecture that can run it.
fn compile(nvrtc: &Nvrtc, architectures: &[i32], kernels: &[&'static Kernel]) -> Result<Vec<Row>> {
    let mut modules = modules();
    modules.extend(candidate_modules());
    modules.retain(|module| kernels.iter().any(|kernel| kernel.source == module.source));
    modules.sort();
    modules.dedup();
    let jobs: Vec<(&Module, i32)> = modules
        .iter()
        .flat_map(|module| architectures.iter().map(move |&number| (module, number)))
        .collect();
    let cache = Cache::of_user();
    if let Some(notice) = cache.probe() {
        eprintln!("{notice}");
    }
    let possible = jobs
        .iter()
        .filter(|(module, number)| module.target(*number).is_some());
    let progress = Mutex::new(Progress::new("compiling", possible.count() as u64));
    let compiled = jobs
        .par_iter()
        .map(|&(module, number)| {
            let Some(target) = module.target(number) else {
                return Ok(Vec::new());
            };
            let compiled = nvrtc.build(&cache, module, &target)?;
            let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
            progress.advance(1, format_args!("{} for {target}", module.source));
            // The compiler warns when it serialises the wgmma instructions of a warpgroup, which costs most of their
            // speed.
            if compiled.log.contains("serialized") {
                return Err(Error::check_failed(format!(
                    "{}: wgmma instructions of a warpgroup are serialized on {target}",
                    module.source
                )));
            }
            Ok(resources(&compiled.log))
        })
        .collect::<Result<Vec<_>>>()?;
    let progress = progress.into_inner();
    progress.unwrap_or_else(PoisonError::into_inner).finish("");

    let mut rows = Vec::new();
    for &kernel in kernels {
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

/// The list of kernels as plain text.
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

/// The list of kernels and their resources as a Markdown page.
fn page(nvrtc: &Nvrtc, architectures: &[i32], kernels: &[&Kernel], rows: &[Row]) -> String {
    let [major, minor] = nvrtc.version;
    let mut page = format!(
        "# Kernels\n\n\
         Written by `cosmogan kernels --compile --table docs/kernels.md`, with NVRTC of CUDA {major}.{minor}.\n\n\
         ## List\n\n\
         | kernel | file | tier | computes | ladder |\n| --- | --- | --- | --- | --- |\n"
    );
    for kernel in kernels {
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
        "\n## Resources\n\n\
         Registers per thread, bytes of shared memory per block, and bytes spilled, if any. A specialisation is what\n\
         is fixed at compile time: operands, tile, stages, window and stride (if none is named: any). The defaults and\n\
         every candidate of `cosmogan tune` (tuning.md) are listed. Hopper kernels are compiled for sm_90a and start\n\
         with 168 registers per thread; the consumer warpgroups raise theirs to 232. NVRTC 12.4 spills in six of them\n\
         ([Using a GPU](gpu.md)).\n\n\
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
