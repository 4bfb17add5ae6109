//! A child process that is killed together with everything it started.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// Interval at which processes and their files are polled.
pub(super) const POLL: Duration = Duration::from_millis(10);

/// Time that a killed process may take to end. One that a driver does not let go may never end.
const KILLING: Duration = Duration::from_secs(10);

/// A child process in a process group of its own. Dropped, the group is killed.
#[derive(Debug)]
pub(super) struct Group {
    child: Child,
    ended: bool,
}

impl Group {
    pub(super) fn spawn(command: &mut Command) -> io::Result<Self> {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        let child = command.spawn()?;
        Ok(Self {
            child,
            ended: false,
        })
    }

    /// The status of a process that has ended.
    pub(super) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        self.ended |= status.is_some();
        Ok(status)
    }

    /// Kills the group, unless its process has ended.
    pub(super) fn kill(&mut self) {
        if self.ended {
            return;
        }
        #[cfg(unix)]
        kill_group(self.child.id());
        let _ = self.child.kill();
        let killed = Instant::now();
        while killed.elapsed() < KILLING && matches!(self.try_wait(), Ok(None)) {
            thread::sleep(POLL);
        }
        self.ended = true;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(unix)]
fn kill_group(leader: u32) {
    use nix::sys::signal::{Signal, killpg};
    use nix::unistd::Pid;
    // A group that is gone needs no signal.
    let _ = killpg(Pid::from_raw(leader.cast_signed()), Signal::SIGKILL);
}

/// The signal that ended a process.
pub(super) fn signal(status: ExitStatus) -> Option<String> {
    #[cfg(unix)]
    {
        use nix::sys::signal::Signal;
        let number = std::os::unix::process::ExitStatusExt::signal(&status)?;
        let name = Signal::try_from(number).map_or("unknown", Signal::as_str);
        Some(format!("killed by signal {number} ({name})"))
    }
    #[cfg(not(unix))]
    {
        let _ = status;
        None
    }
}

/// Kills this process and its group when the parent ends, however it ends: the parent holds the other end of stdin.
pub fn end_with_parent() {
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        #[cfg(unix)]
        kill_group(std::process::id());
        // Without a group of its own.
        std::process::exit(1);
    });
}
