//! The rate of each convolution of the paper's model as a share of this machine's GEMM rate, and one training step.
//!
//! `cargo bench -p cosmogan-benches --bench share`. Convolutions and GEMM are measured alternately in the same run.
//! Prints a table and writes `benches/results/share-cpu.json`.

use std::fs;
use std::path::Path;
use std::process::Command;

use cosmogan_benches::operator::paper;
use cosmogan_benches::step::Step;
use cosmogan_engine::backend::Backend;
use cosmogan_engine::backend::cpu::CpuBackend;
use cosmogan_engine::profile::ceiling::{Copy, MatrixProduct};
use serde::Serialize;

const BATCH: usize = 8;
const REPEATS: usize = 7;

#[derive(Serialize)]
struct Row {
    operator: String,
    product: String,
    gflops: f64,
    share_of_matrix_product: f64,
}

#[derive(Serialize)]
struct Results {
    device: String,
    processor: String,
    commit: String,
    batch: usize,
    repeats: usize,
    matrix_product_gflops: f64,
    copy_gigabytes_per_second: f64,
    convolutions: Vec<Row>,
    training_step_seconds: f64,
    training_step_maps_per_second: f64,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    // `cargo test --benches` starts this program as well, without --bench.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let mut product = MatrixProduct::new(1024, 1024, 1024);
    product.run();
    let mut rates = Vec::new();
    let mut rows = Vec::new();
    println!("{:92} {:>8} {:>7}", "convolution", "GFLOP/s", "share");
    for mut operator in paper(BATCH) {
        operator.run();
        let (mut mine, mut ceiling) = (Vec::new(), Vec::new());
        for _ in 0..REPEATS {
            ceiling.push(product.operations() / product.run());
            mine.push(operator.operations() / operator.run());
        }
        let (mine, ceiling) = (median(mine), median(ceiling));
        rates.push(ceiling);
        let name = format!("{} {:?}", operator.name, operator.product);
        println!(
            "{name:92} {:8.1} {:6.0}%",
            mine / 1e9,
            100.0 * mine / ceiling
        );
        rows.push(Row {
            operator: operator.name.clone(),
            product: format!("{:?}", operator.product).to_lowercase(),
            gflops: mine / 1e9,
            share_of_matrix_product: mine / ceiling,
        });
    }
    let mut copy = Copy::new();
    copy.run();
    let copied = median((0..REPEATS).map(|_| copy.bytes() / copy.run()).collect());
    let mut step = Step::new(BATCH);
    step.run();
    let seconds = median((0..3).map(|_| step.run()).collect());
    let results = Results {
        device: CpuBackend::new().description(),
        processor: processor(),
        commit: commit(),
        batch: BATCH,
        repeats: REPEATS,
        matrix_product_gflops: median(rates) / 1e9,
        copy_gigabytes_per_second: copied / 1e9,
        convolutions: rows,
        training_step_seconds: seconds,
        training_step_maps_per_second: BATCH as f64 / seconds,
    };
    println!(
        "GEMM {:.1} GFLOP/s, copy {:.1} GB/s, training step of {BATCH} maps {seconds:.2} s, on {}",
        results.matrix_product_gflops, results.copy_gigabytes_per_second, results.device
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/share-cpu.json");
    let mut json = serde_json::to_string_pretty(&results).expect("plain data has a JSON form");
    json.push('\n');
    match fs::write(&path, json) {
        Ok(()) => println!("written to {}", path.display()),
        Err(error) => println!("{}: {error}", path.display()),
    }
}

fn processor() -> String {
    let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = information.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let parts = ["model name", "cpu family", "model\t"].map(|name| field(name).unwrap_or_default());
    format!("{} (family {}, model {})", parts[0], parts[1], parts[2])
}

fn commit() -> String {
    let output = Command::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
