"""Runs contestants, each in its own process bound to some cores, and requests rounds from them."""

import json
import os
import statistics
import subprocess
import tempfile
import threading
import time

# Time limit for the first map and for each request, unless the comparison allows more.
PATIENCE_SECONDS = 240
THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "NPROC")


class Failure(Exception):
    """A contestant cannot be measured."""


def confined(threads):
    """Arguments of Popen that bind a process to `threads` cores and set all known thread variables."""
    cores = sorted(os.sched_getaffinity(0))[:threads]
    settings = {name: str(threads) for name in THREAD_SETTINGS}
    settings["TORCHINDUCTOR_COMPILE_THREADS"] = str(threads)
    if threads == 1:
        settings["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    return {"env": {**os.environ, **settings}, "preexec_fn": lambda: os.sched_setaffinity(0, cores)}


def last_words(log):
    """The last lines that a process wrote to standard error."""
    log.seek(0)
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines()]
    return " / ".join([line for line in lines if line.strip("^ ~")][-3:]) or "no message"


class Process:
    """A long-running process that reports its version when it is ready, then answers requests line by line."""

    def __init__(self, command, threads, patience=PATIENCE_SECONDS):
        self.peak_bytes, self.patience = None, patience
        self.log = tempfile.TemporaryFile()
        started = time.monotonic()
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            bufsize=1,
            **confined(threads),
        )
        try:
            self.version = self.answer()["version"]
        except Failure:
            self.close()
            raise
        self.ready_seconds = time.monotonic() - started

    def answer(self):
        impatience = threading.Timer(self.patience, self.process.kill)
        impatience.start()
        line = self.process.stdout.readline()
        late = not impatience.is_alive()
        impatience.cancel()
        if not line:
            self.process.wait()
            reason = f"no answer within {self.patience} s" if late else last_words(self.log)
            raise Failure(reason)
        return json.loads(line)

    def ask(self, request):
        """Sends a request and returns the answer."""
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
        except BrokenPipeError:
            raise Failure(last_words(self.log)) from None
        answer = self.answer()
        self.peak_bytes = answer["peak_bytes"]
        return answer

    def close(self):
        try:
            self.process.stdin.close()
            self.process.wait(timeout=10)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()


class Peer(Process):
    """A framework's generator, which is ready when it has generated its first batch."""

    def __init__(self, contestant, threads, batch, files):
        self.maps = files["folder"] / "maps.npy"
        command = [*contestant["command"], "--variant", contestant["variant"]]
        command += ["--threads", threads, "--batch", batch, "--weights", files["weights"], "--folded", files["folded"]]
        command += ["--onnx", files[contestant.get("onnx", "deconv")], "--latents", files["latents"]]
        super().__init__([*command, "--maps", self.maps], threads)
        self.first_map_seconds = self.ready_seconds
        # A second answer follows when the maps are written.
        try:
            self.answer()
        except Failure:
            self.close()
            raise

    def rounds(self, count):
        """Runs `count` rounds and returns the seconds of each."""
        return self.ask({"rounds": count})["seconds"]


class Ours:
    """Our program, which is started again for each turn."""

    version = None

    def __init__(self, contestant, threads, batch, files):
        self.maps = files["folder"] / "maps.npy"
        self.threads = threads
        self.command = [*contestant["command"], files["weights"], files["latents"]]
        self.command += ["--batch", batch, "--threads", threads]
        self.peak_bytes, self.firsts = 0, []
        self.run(1, "--out", self.maps)
        # The first run, which writes maps and reads the program from disk, is not counted.
        self.peak_bytes, self.firsts = 0, []

    def run(self, count, *more):
        # The program computes the time to the first map from the wall clock time of its start.
        command = [*map(str, [*self.command, "--rounds", count, *more, "--started", time.time()])]
        with tempfile.TemporaryFile() as log:
            try:
                output = subprocess.run(
                    command,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    check=True,
                    timeout=PATIENCE_SECONDS,
                    **confined(self.threads),
                ).stdout
            except subprocess.CalledProcessError:
                raise Failure(last_words(log)) from None
            except subprocess.TimeoutExpired:
                raise Failure(f"no answer within {PATIENCE_SECONDS} s") from None
        answer = json.loads(output)
        self.peak_bytes = max(self.peak_bytes, answer["peak_bytes"])
        self.firsts.append(answer["first_map_seconds"])
        return answer["seconds"]

    def rounds(self, count):
        return self.run(count)

    @property
    def first_map_seconds(self):
        return statistics.median(self.firsts)

    def close(self):
        pass
