//! The fastest way to cut a product, among those that compute it rightly.

use std::sync::Arc;

use cosmogan_engine::profile::Profiled;
use cosmogan_kernels::tuning::{Choice, Choices, Origin, Problem};

use super::subject::Subject;
use crate::error::{Error, Result};
use crate::profile::{median, noise};

/// Passes before the first that counts.
const WARM_UP: usize = 2;
/// What is faster by less than this share is left alone, whatever the noise says.
const LEAST: f64 = 0.02;
/// Standard deviations of both times that make a difference.
const DEVIATIONS: f64 = 3.0;

/// How thorough a search is.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Passes that are timed of every candidate.
    pub repeats: usize,
    /// Elements of every candidate's result that are compared with the oracle.
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

/// Seconds, and their scatter as a share.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Timed {
    seconds: f64,
    noise: f64,
}

impl Timed {
    /// Whether this is faster by more than noise explains.
    fn beats(self, other: Self) -> bool {
        let scatter = (self.noise * self.seconds).hypot(other.noise * other.seconds);
        let gain = other.seconds - self.seconds;
        gain > DEVIATIONS * scatter && gain > LEAST * other.seconds
    }
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The fastest, or the default.
    pub choice: Choice,
    /// What it takes.
    pub seconds: f64,
    /// Its scatter, as a share.
    pub noise: f64,
    /// What the default takes.
    pub default_seconds: f64,
    /// Candidates that were timed, the default among them.
    pub timed: usize,
    /// Candidates that were not timed, and why.
    pub refused: Vec<(Choice, String)>,
}

/// A search under way.
struct Search<'a> {
    problem: Problem,
    device: &'a Profiled,
    settings: Settings,
    stop: &'a dyn Fn() -> bool,
    subject: Subject,
    /// What the default computes.
    reference: Vec<f32>,
    timed: usize,
    refused: Vec<(Choice, String)>,
}

/// Times every candidate for `problem` that computes it within the oracle's bounds, and with the bits of the default where no
/// sum changes its order. Tiles are tried first, then orders of the best one, then slices. What is returned has beaten the
/// default twice, by more than noise, or is the default; nothing is returned where `stop` says, before the first and before
/// every other candidate, that nobody waits for it any more.
///
/// # Errors
/// Where the device fails, or the default is wrong.
pub fn search(
    problem: &Problem,
    device: &Profiled,
    settings: Settings,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Found>> {
    if stop() {
        return Ok(None);
    }
    let default = problem.default_choice();
    let mut subject = Subject::new(problem, device, settings.sample)?;
    let (reference, error) = subject.check(&device.with_choices(only(problem, &default)?))?;
    if error > 1.0 {
        return Err(Error::CheckFailed(format!(
            "{} at {}: the default is off by {error} bounds, so that times mean nothing; run cosmogan verify, and report this as a bug",
            problem.product.name(),
            super::table::shape_text(&problem.shape)
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

    // The winner meets the default once more, on a device that is as warm for both.
    let of_default = search.time(&default)?;
    let (choice, time) = if best == default {
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
        choice,
        seconds: time.seconds,
        noise: time.noise,
        default_seconds: of_default.seconds,
        timed: search.timed,
        refused: search.refused,
    }))
}

/// A table with nothing in it but one choice.
fn only(problem: &Problem, choice: &Choice) -> Result<Arc<Choices>> {
    let mut choices = Choices::default();
    choices
        .insert(*problem, *choice, Origin::Measured)
        .map_err(Error::CheckFailed)?;
    Ok(Arc::new(choices))
}

impl Search<'_> {
    /// The fastest choice by one turn of each candidate; nothing where the search is stopped.
    fn winner(&mut self, default: Choice) -> Result<Option<Choice>> {
        let problem = self.problem;
        let tiles = problem.tiles().into_iter().skip(1);
        let tiles = tiles.map(|tile| Choice { tile, ..default });
        let Some(best) = self.best(default, tiles)? else {
            return Ok(None);
        };
        let bands = problem.bands().into_iter().skip(1);
        let Some(best) = self.best(best, bands.map(|band| Choice { band, ..best }))? else {
            return Ok(None);
        };
        let splits = problem.splits().into_iter().skip(1);
        self.best(best, splits.map(|slices| Choice { slices, ..best }))
    }

    /// The fastest of `candidates` that are right, if it beats `incumbent`; `incumbent` otherwise; nothing where the search is
    /// stopped.
    fn best(
        &mut self,
        incumbent: Choice,
        candidates: impl Iterator<Item = Choice>,
    ) -> Result<Option<Choice>> {
        let mut fastest: Option<(Choice, Timed)> = None;
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
            Some((choice, time)) if time.beats(of_incumbent) => choice,
            _ => incumbent,
        }))
    }

    /// Why a candidate must not win, if there is a reason.
    fn verify(&mut self, candidate: &Choice) -> std::result::Result<(), String> {
        let choices = only(&self.problem, candidate).map_err(|error| error.to_string())?;
        let outcome = self.subject.check(&self.device.with_choices(choices));
        let (values, error) = outcome.map_err(|error| error.to_string())?;
        if error > 1.0 {
            return Err(format!("off by {error:.3} bounds"));
        }
        let default = self.problem.default_choice();
        let is_same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits();
        if self.problem.has_same_bits(candidate, &default)
            && !values.iter().zip(&self.reference).all(is_same)
        {
            return Err("other bits than the default's".to_owned());
        }
        Ok(())
    }

    /// Seconds of a choice by the device's clock; packing operands is not part of it, adding shares is.
    fn time(&mut self, choice: &Choice) -> Result<Timed> {
        let device = self.device.with_choices(only(&self.problem, choice)?);
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
        // A hair is not worth another kernel.
        assert!(!timed(0.99, 0.0).beats(timed(1.0, 0.0)));
        assert!(!timed(1.0, 0.0).beats(timed(1.0, 0.0)));
    }
}
