"""Starts contestants, each in a process of its own bound to some cores, and asks them for rounds."""

import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import threading
import time

# Longest that a contestant may take to its first map, or for its rounds.
PATIENCE_SECONDS = 240
HERE = pathlib.Path(__file__).resolve().parent


class Failure(Exception):
    """Why a contestant cannot take part."""


def confined(threads):
    """Arguments of Popen with which a process gets `threads` cores and is told so in every known way."""
    cores = sorted(os.sched_getaffinity(0))[:threads]
    settings = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NPROC")}
    settings["TORCHINDUCTOR_COMPILE_THREADS"] = str(threads)
    if threads == 1:
        settings["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    return {"env": {**os.environ, **settings}, "preexec_fn": lambda: os.sched_setaffinity(0, cores)}


def last_words(log):
    """The end of what a process wrote to standard error."""
    log.seek(0)
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines()]
    return " / ".join([line for line in lines if line.strip("^ ~")][-3:]) or "it said nothing"


class Peer:
    """A framework's process, which lives until closed."""

    def __init__(self, contestant, threads, batch, files):
        self.peak_bytes = None
        self.log = tempfile.TemporaryFile()
        maps = files["folder"] / "maps.npy"
        command = [contestant["python"], "-B", HERE / contestant["file"], "--variant", contestant["variant"]]
        command += ["--threads", str(threads), "--batch", str(batch), "--weights", files["weights"]]
        command += ["--onnx", files[contestant.get("onnx", "deconv")], "--latents", files["latents"], "--maps", maps]
        started = time.monotonic()
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            bufsize=1,
            **confined(threads),
        )
        try:
            answer = self.answer()
        except Failure:
            self.close()
            raise
        self.first_map_seconds = answer["ready"] - started
        self.version = answer["version"]
        self.maps = maps

    def answer(self):
        impatience = threading.Timer(PATIENCE_SECONDS, self.process.kill)
        impatience.start()
        line = self.process.stdout.readline()
        late = not impatience.is_alive()
        impatience.cancel()
        if not line:
            self.process.wait()
            reason = f"no answer within {PATIENCE_SECONDS} s" if late else last_words(self.log)
            raise Failure(reason)
        return json.loads(line)

    def rounds(self, count):
        """Seconds of each of `count` rounds."""
        try:
            self.process.stdin.write(json.dumps({"rounds": count}) + "\n")
        except BrokenPipeError:
            raise Failure(last_words(self.log)) from None
        answer = self.answer()
        self.peak_bytes = answer["peak_bytes"]
        return answer["seconds"]

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Ours:
    """Our program, which starts anew for each turn."""

    version = None

    def __init__(self, binary, threads, batch, files):
        self.maps = files["folder"] / "maps.npy"
        self.threads = threads
        self.command = [binary, files["weights"], files["latents"], "--batch", str(batch), "--threads", str(threads)]
        self.peak_bytes, self.firsts = 0, []
        self.run(1, "--out", self.maps)
        # Writing maps and finding the file on disk count in neither.
        self.peak_bytes, self.firsts = 0, []

    def run(self, count, *more):
        command = [*map(str, [*self.command, "--rounds", count, *more])]
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
