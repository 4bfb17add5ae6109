//! Memory of a generator in long use, and its peak in use by many threads at once.
//!
//! In a separate file, and in one test, since memory is that of the whole process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot prepare has failed")]

#[path = "support/peak.rs"]
mod peak;

use std::path::Path;
use std::sync::Barrier;
use std::thread;

use cosmogan::Generator;
use peak::{peak, resident};

const THREADS: usize = 1000;

#[test]
fn memory_is_bounded() {
    stays_flat();
    let weights =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("generator/weights/generator.safetensors");
    a_thousand_threads_take_no_more_than_cores(&Generator::load(weights).unwrap());
}

/// 20,000 maps; a million with `COSMOGAN_CAMPAIGN=long` (docs/reliability.md).
fn stays_flat() {
    let weights =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../oracle/golden/four_generator0.safetensors");
    let generator = Generator::load(weights).unwrap();
    let long = std::env::var_os("COSMOGAN_CAMPAIGN").is_some_and(|value| value == "long");
    let calls = if long { 100_000 } else { 2_000 };
    // The first calls bring the workspaces and stacks of all threads.
    generator.sample(1000, 0).unwrap();
    let before = resident();
    for seed in 0..calls {
        generator.sample(10, seed).unwrap();
    }
    let after = resident();
    println!("{before} KiB before {} maps, {after} KiB after", 10 * calls);
    assert!(
        after <= before + 1024,
        "{before} KiB before, {after} KiB after"
    );
}

fn a_thousand_threads_take_no_more_than_cores(generator: &Generator) {
    let expected = generator.sample(1, 3).unwrap();
    let [ready, start] = [(); 2].map(|()| Barrier::new(THREADS + 1));
    let before = thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                // Written here so that it is resident before the measurement starts.
                let mut map = vec![f32::NAN; expected.len()];
                ready.wait();
                start.wait();
                for _ in 0..2 {
                    generator.sample_into(0, 3, &mut map).unwrap();
                    assert_eq!(map, expected);
                }
            });
        }
        ready.wait();
        // All threads have been started, with their stacks and maps; none has called the generator yet.
        let before = peak();
        start.wait();
        before
    });
    let grown = peak() - before;
    println!("{grown} MiB beyond {before}");
    // If all of them generated at once, it would be more than 250 MiB even on two cores.
    assert!(grown < 64, "{grown} MiB");
}
