"""One call of gpu-check with the fake program, for the tests."""

import json
import os
import pathlib
import subprocess
import sys
import time
import uuid

HERE = pathlib.Path(__file__).resolve().parent
SCRIPT = HERE.parent / "gpu-check.py"


class Call:
    """One call of gpu-check with the fake program."""

    def __init__(self, folder, *arguments, path=None, **environment):
        self.folder = pathlib.Path(folder)
        self.bin = self.folder / "bin"
        self.bin.mkdir(exist_ok=True)
        for name in ("cosmogan", "fake-python", "compute-sanitizer", "ncu", "nvidia-smi"):
            program = self.bin / name
            if not program.exists():
                # -I -S: without site packages it starts in a third of the time.
                program.write_text(f"#!{sys.executable} -IS\n" + (HERE / "fake_program.py").read_text())
                program.chmod(0o755)
        self.out = self.folder / "out"
        command = [sys.executable, SCRIPT, "--binary", self.bin / "cosmogan", "--python", self.bin / "fake-python"]
        command += ["--out", self.out, "--preset", "tiny", "--batch", 2, "--steps", 4, "--maps", 2, "--at-once", 2]
        command += ["--precisions", "bf16", "--budget", 5000, *arguments]
        self.mark = uuid.uuid4().hex
        ours = {"PATH": path or f"{self.bin}:{os.environ['PATH']}", "GPU_CHECK_TEST": self.mark}
        self.environment = {name: value for name, value in os.environ.items() if name != "OUT"} | ours | environment
        self.command = [str(part) for part in command]

    def run(self, limit=50):
        started = time.monotonic()
        done = subprocess.run(self.command, env=self.environment, capture_output=True, text=True, timeout=limit)
        self.seconds = time.monotonic() - started
        self.status, self.text = done.returncode, done.stdout + done.stderr
        return self

    def rows(self, stage=None):
        lines = (self.out / "results.jsonl").read_text().splitlines()
        return [row for row in map(json.loads, lines) if stage in (None, row["stage"])]

    def left_behind(self):
        wanted = f"GPU_CHECK_TEST={self.mark}".encode()
        found = []
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_text())
            except OSError:
                continue
        return found
