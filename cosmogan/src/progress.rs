//! Progress of long jobs: a progress bar on a terminal, plain lines elsewhere, both with the remaining time.

use std::fmt::{self, Display};
use std::io::{IsTerminal, stderr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cosmogan_base::printable;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use crate::threads;

/// Minimum interval between plain lines, so that log files stay readable.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Progress display of one job of known length.
#[derive(Debug)]
pub struct Progress {
    job: String,
    total: u64,
    /// Units that were complete before this process started.
    before: u64,
    done: u64,
    started: Instant,
    last_line: Instant,
    bar: Option<ProgressBar>,
    /// Estimated end of the job, shared with the bar, which counts down to it.
    end: Arc<Mutex<Option<Instant>>>,
}

impl Progress {
    /// Starts a job of `total` units, described by a verb: `simulating`, `training`.
    pub fn new(job: impl Into<String>, total: u64) -> Self {
        let job = job.into();
        let end = Arc::new(Mutex::new(None));
        let bar = stderr().is_terminal().then(|| {
            let shared = Arc::clone(&end);
            let left = move |_: &ProgressState, text: &mut dyn fmt::Write| {
                let end = *shared.lock().unwrap_or_else(PoisonError::into_inner);
                let left = end.map(|end: Instant| end.saturating_duration_since(Instant::now()));
                // The display has no way to handle an error.
                let _ = write!(text, "{}", left.map(shown).unwrap_or_default());
            };
            let style = ProgressStyle::with_template(
                "{prefix:>12} [{bar:32}] {pos}/{len}  {elapsed} elapsed  {left}  {msg}",
            )
            .expect("the template is a constant that parses")
            .with_key("left", left)
            .progress_chars("=> ");
            let bar = ProgressBar::new(total).with_style(style);
            bar.set_prefix(job.clone());
            if threads::are_available() {
                bar.enable_steady_tick(Duration::from_millis(250));
            }
            bar
        });
        let now = Instant::now();
        Self {
            job,
            total,
            before: 0,
            done: 0,
            started: now,
            last_line: now,
            bar,
            end,
        }
    }

    /// Starts at `done` units, for a resumed job: the remaining time is estimated from the work of this process only.
    pub fn starting_at(mut self, done: u64) -> Self {
        (self.before, self.done) = (done, done);
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
        self
    }

    /// Adds `units` and shows a short remark.
    pub fn advance(&mut self, units: u64, remark: impl Display) {
        self.done += units;
        match &self.bar {
            Some(bar) => {
                let left = self.left(self.started.elapsed());
                let end = left.and_then(|left| Instant::now().checked_add(left));
                *self.end.lock().unwrap_or_else(PoisonError::into_inner) = end;
                bar.inc(units);
                bar.set_message(printable(&remark.to_string(), "").into_owned());
            }
            None if self.last_line.elapsed() >= LINE_INTERVAL => {
                self.last_line = Instant::now();
                eprintln!("{}", self.line(self.started.elapsed(), remark));
            }
            None => {}
        }
    }

    /// Ends the job with one line that gives the time it took.
    pub fn finish(self, remark: impl Display) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!(
            "{} {}/{} in {:.1} s  {remark}",
            self.job,
            self.done,
            self.total,
            self.started.elapsed().as_secs_f64()
        );
    }

    /// Plain line after `elapsed` of this process.
    fn line(&self, elapsed: Duration, remark: impl Display) -> String {
        let left = self.left(elapsed).map(shown).unwrap_or_default();
        let line = format!(
            "{} {}/{}  {left}  {remark}",
            self.job, self.done, self.total
        );
        line.trim_end().to_owned()
    }

    /// Remaining time at the mean rate of this process; `None` before its first unit.
    fn left(&self, elapsed: Duration) -> Option<Duration> {
        let here = self.done.saturating_sub(self.before);
        let left = self.total.saturating_sub(self.done);
        let seconds = elapsed.as_secs_f64() / here as f64 * left as f64;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// A remaining time, in the two largest units.
fn shown(left: Duration) -> String {
    let seconds = left.as_secs_f64().round() as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match seconds {
        86_400.. => format!("{days} d {hours} h left"),
        3_600.. => format!("{hours} h {minutes} min left"),
        60.. => format!("{minutes} min {} s left", seconds % 60),
        _ => format!("{seconds} s left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remaining_time_counts_only_work_of_this_process() {
        let mut progress = Progress::new("training", 4000).starting_at(1000);
        let elapsed = Duration::from_secs(100);
        assert_eq!(progress.left(elapsed), None);
        assert_eq!(progress.line(elapsed, ""), "training 1000/4000");
        progress.advance(500, "");
        // 500 steps took 100 s and 2,500 are left. Counting the 1,000 steps before gives 167 s.
        assert_eq!(progress.left(elapsed), Some(Duration::from_secs(500)));
        assert_eq!(
            progress.line(elapsed, "D loss 1.4"),
            "training 1500/4000  8 min 20 s left  D loss 1.4"
        );
        progress.advance(2500, "");
        assert_eq!(progress.left(elapsed), Some(Duration::ZERO));
    }

    #[test]
    fn times_are_shown_in_two_units() {
        for (seconds, expected) in [
            (0, "0 s left"),
            (59, "59 s left"),
            (60, "1 min 0 s left"),
            (2_100, "35 min 0 s left"),
            (14_400, "4 h 0 min left"),
            (100_000, "1 d 3 h left"),
        ] {
            assert_eq!(shown(Duration::from_secs(seconds)), expected);
        }
    }
}
