//! Search for the fastest tile configuration of a GEMM among those that compute it correctly.

use std::sync::Arc;

use cosmogan_engine::profile::Profiled;
use cosmogan_kernels::tuning::{Problem, TileConfig, TileConfigs};

use super::subject::Subject;
use crate::error::{Error, Result};
use crate::profile::{median, noise};

/// Warm-up passes, which are not timed.
const WARM_UP: usize = 2;
/// Smallest relative gain that counts, whatever the noise.
const LEAST: f64 = 0.02;
/// Smallest gain that counts, in combined standard deviations of both times.
const DEVIATIONS: f64 = 3.0;

/// Settings of a search.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Timed passes per candidate.
    pub repeats: usize,
    /// Elements of each candidate's result that are compared with the oracle.
    pub sample: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            repeats: 15,
            sample: 400,
        }
    }
}

/// Median time and its relative standard deviation.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Timed {
    seconds: f64,
    noise: f64,
}

impl Timed {
    /// Whether this is faster beyond noise.
    fn beats(self, other: Self) -> bool {
        let scatter = (self.noise * self.seconds).hypot(other.noise * other.seconds);
        let gain = other.seconds - self.seconds;
        gain > DEVIATIONS * scatter && gain > LEAST * other.seconds
    }
}

/// Result of a search.
#[derive(Clone, Debug)]
pub struct Found {
    /// The fastest tile configuration, or the default.
    pub tile_config: TileConfig,
    /// Its median time.
    pub seconds: f64,
    /// Relative standard deviation of its time.
    pub noise: f64,
    /// Median time of the default.
    pub default_seconds: f64,
    /// Number of timed candidates, including the default.
    pub timed: usize,
    /// Rejected candidates, and why.
    pub refused: Vec<(TileConfig, String)>,
}

/// A search in progress.
struct Search<'a> {
    problem: Problem,
    device: &'a Profiled,
    settings: Settings,
    stop: &'a dyn Fn() -> bool,
    subject: Subject,
    /// The result of the default.
    reference: Vec<f32>,
    timed: usize,
    refused: Vec<(TileConfig, String)>,
}

/// Finds the fastest tile configuration for `problem`.
///
/// A candidate is timed only if its result is within the oracle's bounds and, if no sum changes its order, has the same
/// bits as the default's. Tiles are tried first, then block orders of the best tile, then split-K slices. The result
/// has beaten the default twice, beyond noise, or is the default. `stop` is asked before every candidate; if it returns
/// true, the search ends and returns `None`.
///
/// # Errors
/// If the device fails, or the default computes a wrong result.
pub fn search(
    problem: &Problem,
    device: &Profiled,
    settings: Settings,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Found>> {
    if stop() {
        return Ok(None);
    }
    let default = problem.default_config();
    let mut subject = Subject::new(problem, device, settings.sample)?;
    let (reference, error) = subject.check(&device.with_tile_configs(only(problem, &default)?))?;
    if error > 1.0 {
        return Err(Error::check_failed(format!(
            "{} at {}: the default is off by {error} times its bound, so that times mean nothing; run cosmogan verify, and report this as a bug",
            problem.product.name(),
            super::problems::shape_text(&problem.shape)
        )));
    }
    let mut search = Search {
        problem: *problem,
        device,
        settings,
        stop,
        subject,
        reference,
        timed: 1,
        refused: Vec::new(),
    };
    let Some(best) = search.winner(default)? else {
        return Ok(None);
    };

    // Time the winner and the default again, one after the other, so that the device is equally warm for both.
    let of_default = search.time(&default)?;
    let (tile_config, time) = if best == default {
        (default, of_default)
    } else {
        let time = search.time(&best)?;
        if time.beats(of_default) {
            (best, time)
        } else {
            (default, of_default)
        }
    };
    Ok(Some(Found {
        tile_config,
        seconds: time.seconds,
        noise: time.noise,
        default_seconds: of_default.seconds,
        timed: search.timed,
        refused: search.refused,
    }))
}

/// Tile configurations with a single entry.
fn only(problem: &Problem, tile_config: &TileConfig) -> Result<Arc<TileConfigs>> {
    let mut tile_configs = TileConfigs::default();
    tile_configs
        .insert(*problem, *tile_config)
        .map_err(Error::check_failed)?;
    Ok(Arc::new(tile_configs))
}

impl Search<'_> {
    /// The fastest candidate by one measurement each; `None` if the search is stopped.
    fn winner(&mut self, default: TileConfig) -> Result<Option<TileConfig>> {
        let problem = self.problem;
        let tiles = problem.tiles().into_iter().skip(1);
        let tiles = tiles.map(|tile| TileConfig { tile, ..default });
        let Some(best) = self.best(default, tiles)? else {
            return Ok(None);
        };
        let bands = problem.bands().into_iter().skip(1);
        let Some(best) = self.best(best, bands.map(|band| TileConfig { band, ..best }))? else {
            return Ok(None);
        };
        let splits = problem.splits().into_iter().skip(1);
        self.best(best, splits.map(|slices| TileConfig { slices, ..best }))
    }

    /// The fastest of the correct `candidates` if it beats `incumbent`, else `incumbent`; `None` if the search is
    /// stopped.
    fn best(
        &mut self,
        incumbent: TileConfig,
        candidates: impl Iterator<Item = TileConfig>,
    ) -> Result<Option<TileConfig>> {
        let mut fastest: Option<(TileConfig, Timed)> = None;
        let mut tried = false;
        for candidate in candidates {
            if (self.stop)() {
                return Ok(None);
            }
            if let Err(reason) = self.verify(&candidate) {
                self.refused.push((candidate, reason));
                continue;
            }
            tried = true;
            let time = self.time(&candidate)?;
            self.timed += 1;
            if fastest.is_none_or(|(_, best)| time.seconds < best.seconds) {
                fastest = Some((candidate, time));
            }
        }
        if !tried {
            return Ok(Some(incumbent));
        }
        let of_incumbent = self.time(&incumbent)?;
        Ok(Some(match fastest {
            Some((tile_config, time)) if time.beats(of_incumbent) => tile_config,
            _ => incumbent,
        }))
    }

    /// Checks a candidate's result; the error says why it is rejected.
    fn verify(&mut self, candidate: &TileConfig) -> std::result::Result<(), String> {
        let tile_configs = only(&self.problem, candidate).map_err(|error| error.to_string())?;
        let outcome = self
            .subject
            .check(&self.device.with_tile_configs(tile_configs));
        let (values, error) = outcome.map_err(|error| error.to_string())?;
        if error > 1.0 {
            return Err(format!("its error is {error:.3} times its bound"));
        }
        let default = self.problem.default_config();
        let is_same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits();
        if self.problem.has_same_bits(candidate, &default)
            && !values.iter().zip(&self.reference).all(is_same)
        {
            return Err("its bits differ from the default's".to_owned());
        }
        Ok(())
    }

    /// Times a tile configuration by the device's clock, without packing of operands, with the addition of split-K slices.
    fn time(&mut self, tile_config: &TileConfig) -> Result<Timed> {
        let device = self
            .device
            .with_tile_configs(only(&self.problem, tile_config)?);
        let mut passes = Vec::new();
        for pass in 0..WARM_UP + self.settings.repeats {
            device.start();
            self.subject.run(&device)?;
            let samples = device.finish()?;
            let seconds = samples.iter().filter_map(|sample| {
                let launch = sample.launch.as_ref()?;
                (launch.kernel.source != "pack.cu").then_some(sample.seconds)?
            });
            let seconds: f64 = seconds.sum();
            if pass >= WARM_UP {
                passes.push(seconds);
            }
        }
        Ok(Timed {
            seconds: median(&passes),
            noise: noise(&passes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_counts_beyond_the_noise() {
        let timed = |seconds, noise| Timed { seconds, noise };
        assert!(timed(0.9, 0.01).beats(timed(1.0, 0.01)));
        assert!(!timed(0.9, 0.03).beats(timed(1.0, 0.03)));
        // A gain of 1 % does not count, even without noise.
        assert!(!timed(0.99, 0.0).beats(timed(1.0, 0.0)));
        assert!(!timed(1.0, 0.0).beats(timed(1.0, 0.0)));
    }
}
