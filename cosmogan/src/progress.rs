//! Progress of long jobs: a bar with an ETA on a terminal, plain lines elsewhere.

use std::fmt::Display;
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Plain lines come at most this often, so that a log file stays readable.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Shows how far one job of known length has come.
#[derive(Debug)]
pub struct Progress {
    job: String,
    total: u64,
    done: u64,
    started: Instant,
    last_line: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A job of `total` units, described by a verb: `simulating`, `training`.
    pub fn new(job: impl Into<String>, total: u64) -> Self {
        let job = job.into();
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "{prefix:>12} [{bar:32}] {pos}/{len}  {elapsed} elapsed, {eta} left  {msg}",
            )
            .expect("the template is a constant that parses")
            .progress_chars("=> ");
            let bar = ProgressBar::new(total).with_style(style);
            bar.set_prefix(job.clone());
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        let now = Instant::now();
        Self {
            job,
            total,
            done: 0,
            started: now,
            last_line: now,
            bar,
        }
    }

    /// Starts at `done` units, for work resumed: the ETA counts only what this process does.
    pub fn starting_at(mut self, done: u64) -> Self {
        self.done = done;
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.reset_eta();
        }
        self
    }

    /// Counts `units` more, with a short remark on the state of affairs.
    pub fn advance(&mut self, units: u64, remark: impl Display) {
        self.done += units;
        match &self.bar {
            Some(bar) => {
                bar.inc(units);
                bar.set_message(remark.to_string());
            }
            None if self.last_line.elapsed() >= LINE_INTERVAL => {
                self.last_line = Instant::now();
                eprintln!("{} {}/{}  {remark}", self.job, self.done, self.total);
            }
            None => {}
        }
    }

    /// Ends the job with one plain line that says how long it took.
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
}
