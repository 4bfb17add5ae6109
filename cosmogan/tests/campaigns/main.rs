//! Campaigns against accidents and damaged files: short ones with all tests, long ones by
//! `COSMOGAN_CAMPAIGN=long cargo test --release --test campaigns -- --nocapture` (docs/reliability.md).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot prepare its files has failed"
)]

mod kills;
mod limits;
mod mutants;
mod readers;
#[path = "../support/mod.rs"]
mod support;

/// Chooses between the length for every test run and that of `COSMOGAN_CAMPAIGN=long`.
fn length<T>(short: T, long: T) -> T {
    match std::env::var_os("COSMOGAN_CAMPAIGN").is_some_and(|value| value == "long") {
        true => long,
        false => short,
    }
}

/// A sequence of numbers that only depends on its seed.
struct Dice(u64);

impl Dice {
    /// A number below `bound`, which is not 0 (SplitMix64; its bias does not matter here).
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % bound as u64) as usize
    }
}
