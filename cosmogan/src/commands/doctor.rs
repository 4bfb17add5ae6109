//! `cosmogan doctor`: reports what this machine offers and what is missing.

use std::thread;

use clap::Args;
use cosmogan_engine::backend::Backend;
use cosmogan_engine::backend::cache::Cache;
use cosmogan_engine::backend::cpu::CpuBackend;
use cosmogan_engine::backend::cuda::nvrtc::{Nvrtc, candidates};
use cosmogan_engine::backend::cuda::{self, CudaDevice, CudaInventory};
use cosmogan_engine::backend::launch::KernelDevice;
use cosmogan_engine::backend::simt::SimtLauncher;
use cosmogan_kernels::Tier;

use crate::device::DeviceArguments;
use crate::error::Result;
use crate::help::examples;
use crate::tune::lookup::{describe, look_up};

/// Report the CPU, GPUs, driver and compiler of this machine, and what is missing
#[derive(Debug, Args)]
#[command(after_help = examples(&["cosmogan doctor"]))]
pub(super) struct DoctorArguments {}

impl DoctorArguments {
    pub(super) fn run(self) -> Result<()> {
        println!("cosmogan   {}", env!("CARGO_PKG_VERSION"));
        println!(
            "system     {} {}",
            std::env::consts::OS,
            std::env::consts::ARCH
        );
        let cores = thread::available_parallelism().map_or(1, usize::from);
        println!("cores      {cores}");
        println!("cpu        {}", CpuBackend::new().description());
        let inventory = cuda::inventory();
        let nvrtc = Nvrtc::find(inventory.as_ref().ok().map(|found| found.driver[0]));
        print_driver(&inventory, nvrtc.as_ref().ok());
        print_nvrtc(&nvrtc);
        print_cache();
        if let Ok(inventory) = &inventory {
            print_tuning(inventory);
        }
        match SimtLauncher::new(0) {
            Ok(launcher) => println!("simt       {}", launcher.description()),
            Err(error) => println!("simt       {error}"),
        }
        let auto = DeviceArguments::default().open_checked(false)?;
        println!("device     --device auto means {}", auto.description());
        Ok(())
    }
}

fn print_driver(inventory: &cosmogan_engine::Result<CudaInventory>, nvrtc: Option<&Nvrtc>) {
    match inventory {
        Ok(inventory) => {
            let [major, minor] = inventory.driver;
            println!("cuda       the driver supports CUDA {major}.{minor}");
            for device in &inventory.devices {
                println!(
                    "cuda:{}     {}, compute capability {}.{}, {} multiprocessors, {:.1} GiB",
                    device.number,
                    device.name,
                    device.capability / 10,
                    device.capability % 10,
                    device.multiprocessors,
                    device.memory as f64 / f64::from(1 << 30)
                );
                if let Some(nvrtc) = nvrtc {
                    println!("           {}", tiers(device, nvrtc));
                }
            }
        }
        Err(error) => println!("cuda       {error}"),
    }
}

/// The kernel tiers that a GPU runs, and why it does not run the next one.
fn tiers(device: &CudaDevice, nvrtc: &Nvrtc) -> String {
    let target = match nvrtc.target(device.capability) {
        Ok(target) => target,
        Err(error) => return format!("no kernels: {error}"),
    };
    let mut runs = "plain".to_owned();
    for (tier, name) in [(Tier::Tiled, "tiled"), (Tier::Hopper, "Hopper")] {
        if let Some(lack) = device.lack(tier, &target) {
            return format!("{runs} kernels; no {name} ones: {lack}");
        }
        runs = format!("{runs}, {name}");
    }
    format!("{runs} kernels")
}

fn print_nvrtc(found: &cosmogan_engine::Result<Nvrtc>) {
    match found {
        Ok(nvrtc) => {
            let architectures: Vec<_> = nvrtc
                .architectures
                .iter()
                .map(|number| format!("sm_{number}"))
                .collect();
            println!(
                "nvrtc      CUDA {}.{} at {}, compiles for {}",
                nvrtc.version[0],
                nvrtc.version[1],
                nvrtc.path.display(),
                architectures.join(" ")
            );
        }
        Err(error) => {
            println!("nvrtc      {error}; looked for");
            for path in candidates() {
                println!("             {}", path.display());
            }
        }
    }
}

/// Prints the origin of the tile configurations of each GPU.
fn print_tuning(inventory: &CudaInventory) {
    for device in &inventory.devices {
        let number = usize::try_from(device.number).ok();
        let Some(gpu) = number.and_then(|number| inventory.gpu(number)) else {
            continue;
        };
        let found = look_up(&gpu);
        println!(
            "tuning     cuda:{}: {}",
            device.number,
            describe(&found.tile_configs)
        );
        if let Some(notice) = found.notice {
            println!("             {notice}");
        }
    }
}

fn print_cache() {
    let cache = Cache::of_user();
    match (cache.probe(), cache.folder()) {
        (None, Some(folder)) => println!("cache      {}", folder.display()),
        (notice, _) => println!("cache      {}", notice.unwrap_or_default()),
    }
}
