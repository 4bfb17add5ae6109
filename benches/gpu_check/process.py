"""One run of a program, bounded in time, that leaves no process behind."""

import os
import pathlib
import signal
import subprocess
import time
import uuid
from dataclasses import dataclass

# Between SIGTERM and SIGKILL.
GRACE = 2.0
# A process in a system call of the driver may outlive SIGKILL; it is not waited for any longer.
LAST_WAIT = 5.0
# Bytes of an output that are read from each of its ends.
MOST_BYTES = 8 << 20
# Variable that marks everything a run started, in whichever process group it is.
MARK = "GPU_CHECK_RUN"


@dataclass
class Ended:
    status: int | None = None
    signal: str | None = None
    timed_out: bool = False
    seconds: float = 0.0
    error: str | None = None
    stdout: str = ""
    stderr: str = ""


def run(command, cap, folder, environment=None):
    """Runs `command` for at most `cap` seconds. Never raises for what the program does."""
    mark = uuid.uuid4().hex
    outputs = [pathlib.Path(folder) / f"{mark}.{name}" for name in ("stdout", "stderr")]
    ended, started = Ended(), time.monotonic()
    try:
        # Files and not pipes: a process that survives its parent would keep a pipe open.
        with outputs[0].open("wb") as stdout, outputs[1].open("wb") as stderr:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env={**os.environ, **(environment or {}), MARK: mark},
                start_new_session=True,
            )
    except OSError as error:
        ended.error = f"{command[0]}: {error.strerror or error}"
        return ended
    try:
        try:
            code = process.wait(max(cap, 0.05))
        except subprocess.TimeoutExpired:
            ended.timed_out = True
            send(process.pid, mark, signal.SIGTERM)
            code = wait(process, GRACE)
    finally:
        # Also after a normal end, and when this script itself is stopped.
        end_all(process.pid, mark)
    if code is None:
        code = wait(process, LAST_WAIT)
    ended.seconds = time.monotonic() - started
    ended.stdout, ended.stderr = map(take, outputs)
    if code is not None and code < 0:
        ended.signal = signal_name(-code)
    else:
        ended.status = code
    ended.error = problem(ended, cap)
    return ended


def take(path):
    """Reads an output and removes its file."""
    with path.open("rb") as file:
        data = file.read(MOST_BYTES)
        left = path.stat().st_size - len(data)
        if left > MOST_BYTES:
            file.seek(-MOST_BYTES, os.SEEK_END)
            data += b"\n[bytes left out]\n"
        data += file.read(MOST_BYTES)
    path.unlink()
    return data.decode(errors="replace")


def wait(process, seconds):
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def send(group, mark, number):
    """Signals the process group, and every process that carries the mark in its environment."""
    try:
        os.killpg(group, number)
    except OSError:
        pass  # The group is gone.
    for pid in marked(mark):
        try:
            os.kill(pid, number)
        except OSError:
            pass


def end_all(group, mark):
    """Kills everything that a run started, and waits until it is gone: a busy machine takes its time, and may fork meanwhile."""
    last = time.monotonic() + LAST_WAIT
    while True:
        send(group, mark, signal.SIGKILL)
        if next(marked(mark), None) is None or time.monotonic() > last:
            return
        time.sleep(0.01)


def marked(mark):
    wanted = f"{MARK}={mark}".encode()
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (entry / "environ").read_bytes():
                yield int(entry.name)
        except OSError:
            continue  # It ended meanwhile, or belongs to another user.


def signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def problem(ended, cap):
    """One line on why a run failed; None if it did not."""
    lines = [line.strip() for line in (ended.stderr or ended.stdout).splitlines() if line.strip()]
    last = lines[-1][:500] if lines else "no output"
    if ended.timed_out:
        return f"timed out after {cap:.0f} s: {last}"
    if ended.signal:
        return f"died of {ended.signal}: {last}"
    if ended.status is None:
        return f"did not end after SIGKILL: {last}"
    return f"exit status {ended.status}: {last}" if ended.status else None
