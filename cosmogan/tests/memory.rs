//! Memory of a generator that very many threads use at once. A file of its own: the peak is the whole process's.
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
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/generator.safetensors");
    let generator = Generator::load(weights).unwrap();
    let expected = generator.sample(1, 3).unwrap();
    let [ready, start] = [(); 2].map(|()| Barrier::new(THREADS + 1));
    let before = thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                // Written now, so that it counts as being there before.
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
        // All of them are there, with their stacks and their maps; none has called yet.
        let before = peak();
        start.wait();
        before
    });
    let grown = peak() - before;
    println!("{grown} MiB beyond {before}");
    // Were they all to work at once, it would be more than 250 even on two cores.
    assert!(grown < 64, "{grown} MiB");
}
