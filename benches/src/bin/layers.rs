//! Time of each hidden layer of the paper's generator by the direct algorithm and by Winograd (minimal) filtering, with
//! every instruction set of the CPU. Writes `benches/results/generator-layers.json`.
//!
//! Whole passes are timed alternately: with all layers by Winograd, and with one layer by the direct algorithm. The
//! difference of their medians is the time that Winograd saves in that layer.
#![allow(clippy::unwrap_used, reason = "a bench that cannot prepare has failed")]

use std::path::Path;
use std::time::Instant;

use cosmogan_engine::inference::{Description, InstructionSet, Layer, Method, Stack};

const LATENT: usize = 64;
const COARSE: usize = 16;
const CHANNELS: [usize; 4] = [512, 256, 128, 64];
const TAPS: usize = 25;
/// Passes of each kind for one map; divided by the number of maps for several.
const ROUNDS: usize = 24;

/// Random values between ±1/√`terms`, as little-endian bytes.
fn weights(count: usize, terms: usize) -> Vec<[u8; 4]> {
    let mut state = 1_u64;
    let scale = 1.0 / (terms as f32).sqrt();
    let mut next = || {
        // The linear congruential generator of Knuth's MMIX.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / 8_388_608.0 - 1.0) * scale
    };
    (0..count).map(|_| next().to_le_bytes()).collect()
}

fn layer(weight: &[[u8; 4]], outputs: usize, shifts: usize) -> Layer<'_> {
    Layer {
        weight,
        scale: vec![1.0; outputs],
        shift: vec![0.01; shifts],
    }
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn main() {
    let features = CHANNELS[0] * COARSE * COARSE;
    let linear = weights(features * LATENT, LATENT);
    let hidden: Vec<_> = CHANNELS
        .windows(2)
        .map(|pair| weights(pair[0] * pair[1] * TAPS, pair[0] * 6))
        .collect();
    let last = weights(CHANNELS[3] * TAPS, CHANNELS[3] * 6);
    let description = Description {
        latent: LATENT,
        coarse: COARSE,
        channels: CHANNELS.to_vec(),
        linear: layer(&linear, CHANNELS[0], features),
        hidden: (hidden.iter().zip(&CHANNELS[1..]))
            .map(|(weight, &outputs)| layer(weight, outputs, outputs))
            .collect(),
        last: layer(&last, 1, 1),
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let latents: Vec<f32> = (0..8 * LATENT).map(|i| (i as f32).sin()).collect();
    let mut results = Vec::new();
    println!(
        "| instructions | threads | maps | all Winograd, ms | direct 512→256 | 256→128 | 128→64 |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    for set in InstructionSet::available() {
        let direct = std::iter::once(None).chain(CHANNELS[..3].iter().copied().map(Some));
        let stacks: Vec<Stack> = direct
            .map(|direct| {
                let method = |inputs, _| match direct == Some(inputs) {
                    true => Method::Direct,
                    false => Method::Winograd,
                };
                Stack::pack(&description, set, threads, method)
            })
            .collect();
        for threads in [1, threads] {
            for count in [1, 8] {
                let mut maps = vec![0.0; count * stacks[0].size().pow(2)];
                let mut seconds = vec![Vec::new(); stacks.len()];
                for _ in 0..ROUNDS / count + 1 {
                    for (stack, seconds) in stacks.iter().zip(&mut seconds) {
                        // Warm-up: the caches hold the weights of the previous stack.
                        stack.run(&latents[..count * LATENT], &mut maps, threads);
                        let started = Instant::now();
                        stack.run(&latents[..count * LATENT], &mut maps, threads);
                        seconds.push(started.elapsed().as_secs_f64());
                    }
                }
                let passes: Vec<f64> = seconds.into_iter().map(median).collect();
                let [winograd, rest @ ..] = &passes[..] else {
                    unreachable!("there are four stacks")
                };
                let saved: Vec<f64> = rest.iter().map(|direct| direct - winograd).collect();
                print!(
                    "| {} | {threads} | {count} | {:.2} |",
                    set.name(),
                    1e3 * winograd
                );
                let columns = saved.iter().map(|saved| format!(" {:+.2} |", 1e3 * saved));
                println!("{}", columns.collect::<String>());
                results.push(serde_json::json!({
                    "instructions": set.name(),
                    "threads": threads,
                    "maps": count,
                    "all_minimal_seconds": winograd,
                    "slower_with_one_layer_direct_seconds": {
                        "512→256": saved[0], "256→128": saved[1], "128→64": saved[2],
                    },
                }));
            }
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/generator-layers.json");
    let result = serde_json::json!({
        "what": "medians of a pass of the paper's generator with all hidden layers by minimal filtering, and how much \
                 longer it takes with one of them by the direct method",
        "rows": results,
    });
    std::fs::write(path, serde_json::to_string_pretty(&result).unwrap() + "\n").unwrap();
}
