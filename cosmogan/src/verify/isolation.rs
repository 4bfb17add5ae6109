//! Cases in child processes: a hang or a crash costs the case that causes it, and no other.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use cosmogan_oracle::Case;
use tempfile::TempDir;

use super::process::{Group, POLL, signal};
use super::{Check, Outcome, Record};
use crate::device::DeviceArguments;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::progress::Progress;

/// Time that a process may take to close its device, after its last result.
const CLOSING: Duration = Duration::from_secs(10);

/// How cases are spread over processes.
#[derive(Clone, Copy, Debug)]
pub struct Isolation {
    /// Cases of each process.
    pub cases: usize,
    /// Time without a new result after which a process is killed.
    pub time_limit: Duration,
    /// The device that each process opens.
    pub device: DeviceArguments,
}

impl Isolation {
    /// Makes a row of each of `cases`. This process opens no device.
    ///
    /// # Errors
    /// Where no process can be started, the first one cannot open the device, the rows cannot be written, or the user
    /// interrupts.
    pub fn run(&self, cases: &[Case], record: &mut Record) -> Result<()> {
        interrupt::listen();
        let mut parent = Parent::new(self, record, cases.len())?;
        for group in cases.chunks(self.cases) {
            let mut rest = group;
            while !rest.is_empty() {
                rest = &rest[parent.run_child(rest)?..];
            }
        }
        parent.progress.finish("");
        Ok(())
    }
}

/// How a child process ended.
enum Ending {
    Exited(ExitStatus),
    TimedOut,
}

impl Ending {
    fn failed(&self) -> bool {
        !matches!(self, Self::Exited(status) if status.success())
    }
}

/// Starts the child processes and collects their rows.
struct Parent<'a> {
    isolation: &'a Isolation,
    record: &'a mut Record,
    progress: Progress,
    total: usize,
    program: PathBuf,
    folder: TempDir,
    /// Processes so far.
    children: usize,
    /// Lines of their stderr that were shown.
    shown: HashSet<String>,
}

impl<'a> Parent<'a> {
    fn new(isolation: &'a Isolation, record: &'a mut Record, total: usize) -> Result<Self> {
        let program = env::current_exe().map_err(|error| {
            Error::file(
                "cosmogan",
                error,
                "run the program by its path, or leave out --isolate",
            )
        })?;
        let folder = tempfile::tempdir().map_err(|error| {
            Error::file(
                env::temp_dir(),
                error,
                "set TMPDIR to a folder that you may write to",
            )
        })?;
        Ok(Self {
            isolation,
            record,
            progress: Progress::new("verifying", total as u64),
            total,
            program,
            folder,
            children: 0,
            shown: HashSet::new(),
        })
    }

    /// Runs `cases` in one process, up to one that ends it. Returns how many have a row, at least one.
    fn run_child(&mut self, cases: &[Case]) -> Result<usize> {
        self.children += 1;
        let file = |name: &str| self.folder.path().join(format!("{}.{name}", self.children));
        let (json, errors) = (file("json"), file("stderr"));
        let mut results = Results::new(json);
        let mut child = self.spawn(cases, &results.path, &errors)?;
        let mut latest = Instant::now();
        let ending = loop {
            if results.take(self.record, &mut self.progress)? {
                latest = Instant::now();
            }
            let status = child
                .try_wait()
                .map_err(|error| Error::file(&self.program, error, "leave out --isolate"))?;
            if let Some(status) = status {
                break Ending::Exited(status);
            }
            if interrupt::requested() {
                child.kill();
                let checked = self.record.outcome().checks.len();
                return Err(Error::interrupted(format!(
                    "{checked} of {} cases were checked",
                    self.total
                )));
            }
            let limit = self.isolation.time_limit;
            let limit = if results.complete {
                limit.min(CLOSING)
            } else {
                limit
            };
            if latest.elapsed() >= limit {
                child.kill();
                break Ending::TimedOut;
            }
            thread::sleep(POLL);
        };
        // Rows written after the last poll.
        results.take(self.record, &mut self.progress)?;
        let rows = results.rows;
        let mut lines = stderr_of(&errors);
        if rows == cases.len() || (results.complete && rows > 0) {
            // All rows are there, or the last of them lost the device.
            self.show(lines);
            if ending.failed() {
                let last = &cases[rows - 1];
                eprintln!(
                    "`{last}`: after the result, {}",
                    self.describe(&ending, None)
                );
            }
            return Ok(rows);
        }
        let last_line = match ending {
            Ending::Exited(status) if signal(status).is_none() => lines.pop(),
            _ => None,
        };
        self.show(lines);
        let failure = self.describe(&ending, last_line);
        if let Ending::Exited(status) = ending
            && status.code().is_some_and(|code| code != 0)
            && self.record.outcome().device.is_none()
        {
            return Err(refusal(&failure, status));
        }
        self.record.push(Check::failed(cases[rows], failure))?;
        self.progress.advance(1, cases[rows]);
        Ok(rows + 1)
    }

    fn spawn(&self, cases: &[Case], json: &Path, errors: &Path) -> Result<Group> {
        let cannot = |path: &Path, error| Error::file(path, error, "check the disk and the folder");
        let stderr = File::create(errors).map_err(|error| cannot(errors, error))?;
        let mut command = Command::new(&self.program);
        command
            .args(["verify", "--isolated", "--json"])
            .arg(json)
            .args(self.isolation.device.to_flags())
            .args(cases.iter().map(|case| format!("--case={case}")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(stderr);
        Group::spawn(&mut command).map_err(|error| cannot(&self.program, error))
    }

    /// Passes on the stderr of child processes, each line once.
    fn show(&mut self, lines: Vec<String>) {
        for line in lines {
            if !self.shown.contains(&line) {
                eprintln!("{line}");
                self.shown.insert(line);
            }
        }
    }

    fn describe(&self, ending: &Ending, last_line: Option<String>) -> String {
        match ending {
            Ending::TimedOut => {
                let seconds = self.isolation.time_limit.as_secs();
                format!("no result after {seconds} s, killed")
            }
            Ending::Exited(status) => signal(*status)
                .or(last_line)
                .unwrap_or_else(|| format!("the process ended early ({status})")),
        }
    }
}

/// The file that a child process writes.
struct Results {
    path: PathBuf,
    /// Its length when it was read: it grows by every row.
    length: u64,
    /// Rows that were taken over.
    rows: usize,
    complete: bool,
}

impl Results {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            length: 0,
            rows: 0,
            complete: false,
        }
    }

    /// Takes over new rows. Returns whether the file has changed.
    fn take(&mut self, record: &mut Record, progress: &mut Progress) -> Result<bool> {
        let length = fs::metadata(&self.path).map_or(0, |file| file.len());
        if length == self.length {
            return Ok(false);
        }
        self.length = length;
        let Some(outcome) = Outcome::read(&self.path) else {
            return Ok(false);
        };
        if record.outcome().device.is_none()
            && let Some(device) = outcome.device
        {
            record.set_device(device)?;
        }
        for check in outcome.checks.into_iter().skip(self.rows) {
            self.rows += 1;
            progress.advance(1, &check.subject);
            record.push(check)?;
        }
        self.complete = outcome.complete;
        Ok(true)
    }
}

/// The lines of a child process on stderr, without advice about backtraces.
fn stderr_of(path: &Path) -> Vec<String> {
    let text = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .map(|line| line.trim_start_matches("cosmogan: ").trim_end())
        .filter(|line| !line.is_empty() && !line.starts_with("note: "))
        .map(str::to_owned)
        .collect()
}

/// The error of a child process that cannot open the device.
fn refusal(line: &str, status: ExitStatus) -> Error {
    match line.split_once(": ") {
        Some((flag, message)) if status.code() == Some(2) => Error::refused(flag, message),
        _ => Error::check_failed(line.to_owned()),
    }
}
