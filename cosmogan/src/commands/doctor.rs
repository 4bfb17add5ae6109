//! `cosmogan doctor`: what is on this machine, and what is missing.

use std::thread;

use clap::Args;
use cosmogan_engine::backend::Backend;
use cosmogan_engine::backend::cpu::CpuBackend;

use crate::device::{CUDA_DRIVER, find_cuda_driver, library_folders};
use crate::error::Result;

/// Say what is on this machine, and what is missing
#[derive(Debug, Args)]
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
        match find_cuda_driver() {
            Some(path) => println!("cuda       driver at {}", path.display()),
            None => {
                println!("cuda       no driver: {CUDA_DRIVER} was not found in");
                for folder in library_folders() {
                    println!("             {}", folder.display());
                }
            }
        }
        println!("engine     computes on the cpu; this version has no CUDA engine yet");
        println!("device     --device auto means cpu");
        Ok(())
    }
}
