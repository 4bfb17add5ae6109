//! Clock rates before and after a profile.

use cosmogan_engine::profile::Profiled;
use cosmogan_engine::profile::ceiling::{chain_rate, reported_clock};

use super::record::Conditions;

impl Conditions {
    /// The current clock rates of the GPU or the CPU.
    pub(super) fn now(when: &str, device: &Profiled) -> Self {
        let (clocks, chain_rate) = match device.instruments() {
            Some(instruments) => {
                let clocks = instruments.clocks().into_iter();
                let clocks = clocks.map(|(name, clock)| (name.to_owned(), clock));
                (clocks.collect(), None)
            }
            None => {
                let clock = reported_clock();
                let clocks = clock.map(|clock| ("as the system reports it".to_owned(), clock));
                (clocks.into_iter().collect(), Some(chain_rate()))
            }
        };
        Self {
            when: when.to_owned(),
            clocks,
            chain_rate,
        }
    }

    /// One line on the clock rates before and after.
    pub(super) fn describe(before: &Self, after: &Self, on_gpu: bool) -> String {
        let mut parts: Vec<String> = before
            .clocks
            .iter()
            .zip(&after.clocks)
            .map(|((name, before), (_, after))| {
                let megahertz = |clock: &f64| format!("{:.0} MHz", clock / 1e6);
                if before == after {
                    format!("{} {name}", megahertz(before))
                } else {
                    format!(
                        "{} before and {} after, {name}",
                        megahertz(before),
                        megahertz(after)
                    )
                }
            })
            .collect();
        if let (Some(before), Some(after)) = (before.chain_rate, after.chain_rate) {
            let change = 100.0 * (after / before - 1.0);
            parts.push(format!(
                "a chain of dependent operations runs {:.1} % {} after the profile than before",
                change.abs(),
                if change < 0.0 { "slower" } else { "faster" }
            ));
        }
        if on_gpu {
            parts.push(
                "current clocks and throttling are not read, which would need NVML: see nvidia-smi -q -d CLOCK,PERFORMANCE"
                    .to_owned(),
            );
        }
        format!("clocks: {}", parts.join("; "))
    }
}
