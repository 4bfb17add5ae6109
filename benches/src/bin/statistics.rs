//! Times the statistics of maps on one thread and prints milliseconds per map as JSON.
//!
//! `statistics MAPS.npy SIDE_DEGREES ROUNDS`. Run by `benches/peers/map_statistics.py`.
#![allow(clippy::unwrap_used, reason = "a bench that cannot prepare has failed")]

use std::path::Path;
use std::time::Instant;

use cosmogan::data::MapSet;
use cosmogan::stats::{Minkowski, Peaks, PowerSpectrum, Thresholds, linear_edges};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, maps, side, rounds] = &arguments[..] else {
        eprintln!("usage: statistics MAPS.npy SIDE_DEGREES ROUNDS");
        std::process::exit(2);
    };
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build_global()
        .unwrap();
    let (side, rounds): (f64, usize) = (side.parse().unwrap(), rounds.parse().unwrap());
    let maps = MapSet::read(Path::new(maps)).unwrap();
    let pixels = maps.width();
    let list: Vec<&[f32]> = maps.iter().collect();
    let power =
        PowerSpectrum::new(pixels, side, PowerSpectrum::default_edges(pixels, side)).unwrap();
    let edges = linear_edges(-0.03, 0.07, 20);
    let minkowski = Minkowski::new(edges.clone(), Thresholds::Absolute).unwrap();
    let peaks = Peaks::new(edges, Thresholds::Absolute).unwrap();

    let per_map = |job: &dyn Fn()| {
        let mut times: Vec<f64> = (0..rounds)
            .map(|_| {
                let started = Instant::now();
                job();
                started.elapsed().as_secs_f64() * 1e3 / list.len() as f64
            })
            .collect();
        times.sort_unstable_by(f64::total_cmp);
        times[rounds / 2]
    };
    let spectrum = per_map(&|| drop(power.measure_all(&list)));
    let functionals = per_map(&|| {
        for map in &list {
            std::hint::black_box(minkowski.measure(map, pixels));
        }
    });
    let counts = per_map(&|| {
        for map in &list {
            std::hint::black_box(peaks.measure(map, pixels));
        }
    });
    println!(
        "{{\"power_spectrum\": {spectrum}, \"minkowski\": {functionals}, \"peaks\": {counts}}}"
    );
}
