//! Criterion benchmarks of every operator of the paper's model, of a training step, and of the measured peaks.
//!
//! `cargo bench -p cosmogan-benches --bench operators`. For convolutions, elements per second are operations per
//! second.
#![allow(missing_docs, reason = "criterion's macros create undocumented items")]

use std::env;

use cosmogan_benches::memory_bound;
use cosmogan_benches::operator::paper;
use cosmogan_benches::step::Step;
use cosmogan_engine::profile::ceiling::{Copy, MatrixProduct};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Maps in a batch: `COSMOGAN_BENCH_BATCH`, or 4.
fn batch() -> usize {
    env::var("COSMOGAN_BENCH_BATCH")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(4)
}

fn ceilings(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ceiling");
    group.sample_size(10);
    let mut product = MatrixProduct::new(1024, 1024, 1024);
    group.throughput(Throughput::Elements(product.operations() as u64));
    group.bench_function("matrix product", |bencher| bencher.iter(|| product.run()));
    let mut copy = Copy::new();
    group.throughput(Throughput::Bytes(copy.bytes() as u64));
    group.bench_function("copy", |bencher| bencher.iter(|| copy.run()));
    group.finish();
}

fn convolutions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("convolution");
    group.sample_size(10);
    for mut operator in paper(batch()) {
        group.throughput(Throughput::Elements(operator.operations() as u64));
        let name = format!("{} {:?}", operator.name, operator.product);
        group.bench_function(name, |bencher| bencher.iter(|| operator.run()));
    }
    group.finish();
}

/// Throughput in bytes that must be moved at least, for comparison with the copy.
fn memory_bound_operators(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memory-bound");
    group.sample_size(10);
    for mut operator in memory_bound::paper(batch()) {
        group.throughput(Throughput::Bytes(operator.bytes as u64));
        let name = operator.name.clone();
        group.bench_function(name, |bencher| bencher.iter(|| operator.run()));
    }
    group.finish();
}

fn step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("training step");
    group.sample_size(10);
    let batch = batch();
    let mut step = Step::new(batch);
    group.throughput(Throughput::Elements(batch as u64));
    group.bench_function(format!("paper, batch {batch}"), |bencher| {
        bencher.iter(|| step.run());
    });
    group.finish();
}

criterion_group!(all, ceilings, convolutions, memory_bound_operators, step);
criterion_main!(all);
