//! Peak memory of a generator used by many threads at once.
//!
//! In a separate file, since the peak is that of the whole process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot prepare has failed")]

#[path = "support/peak.rs"]
mod peak;

use std::path::Path;
use std::sync::Barrier;
use std::thread;

use cosmogan::Generator;
use peak::peak;

const THREADS: usize = 1000;

#[test]
fn a_thousand_threads_take_no_more_memory_than_cores_do() {
    let weights =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("generator/weights/generator.safetensors");
    let generator = Generator::load(weights).unwrap();
    let expected = generator.sample(1, 3).unwrap();
    let [ready, start] = [(); 2].map(|()| Barrier::new(THREADS + 1));
    let before = thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                // Written here so that it is resident before the measurement starts.
                let mut map = vec![f32::NAN; expected.len()];
                ready.wait();
                start.wait();
                for _ in 0..5 {
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
