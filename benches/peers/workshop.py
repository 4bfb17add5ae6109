"""Shared code of the scripts in this folder: virtual environments, builds of our binaries, description of the machine."""

import json
import os
import pathlib
import platform
import subprocess
import sys
import venv

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benches" / "results"
CONTESTANTS = ROOT / "benches" / "peers" / "contestants"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "cosmogan-peers"

# Environments of the comparisons of networks: name and installation steps of their own, and PyTorch's.
NUMPY, SAFETENSORS = "numpy==2.4.6", "safetensors==0.8.0"
NETWORKS = ("generators", [[NUMPY, SAFETENSORS, "onnx==1.23.2"]])
TORCH = {
    "environment": "torch-2.15.0",
    "steps": [["torch==2.15.0", NUMPY, SAFETENSORS]],
    "variants": {
        "eager": {"kind": "f32"},
        "channels_last": {"kind": "f32"},
        "compile": {"kind": "f32"},
        "bf16": {"kind": "bf16"},
    },
}


def environment(name, steps):
    """The Python of a virtual environment in the user's cache, created on first use by one `pip install` per step."""
    folder = CACHE / name
    python = folder / "bin" / "python"
    ready = folder / "ready"
    wanted = json.dumps(steps)
    if not ready.exists() or ready.read_text() != wanted:
        print(f"installing {name} into {folder}", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        for step in steps:
            command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *step]
            if subprocess.run(command).returncode != 0:
                sys.exit(f"{name} cannot be installed: `pip install {' '.join(step)}` failed; see its output above")
        ready.write_text(wanted)
    return python


def run_inside(name, steps):
    """Restarts the calling script in `environment(name, steps)`, unless it already runs there."""
    python = environment(name, steps)
    if pathlib.Path(sys.prefix).resolve() != python.parent.parent.resolve():
        os.execv(python, [str(python), *sys.argv])


def build(package, *binaries):
    """Builds binaries of the workspace and returns their paths."""
    targets = [flag for binary in binaries for flag in ("--bin", binary)]
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", package, *targets], cwd=ROOT, check=True)
    return [ROOT / "target" / "release" / binary for binary in binaries]


def build_project(name, folder):
    """Builds the binary `name` of a Cargo project outside the workspace, for this CPU."""
    target = CACHE / f"{name}-target"
    print(f"building {name} in {target}", file=sys.stderr)
    settings = {**os.environ, "RUSTFLAGS": "-C target-cpu=native"}
    manifest = folder / "Cargo.toml"
    command = ["cargo", "build", "--release", "--quiet", "--manifest-path", manifest, "--target-dir", target]
    subprocess.run(command, env=settings, check=True)
    return target / "release" / name


def machine():
    """The CPU, its cores and the operating system, as the system reports them."""
    model = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {"processor": model, "cores": len(os.sched_getaffinity(0)), "system": platform.platform(terse=True)}


def commit():
    """The measured commit, marked `-dirty` if the working tree differs from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()


def write(name, result):
    """Writes a result as indented JSON."""
    path = RESULTS / name
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written: {path.relative_to(ROOT)}")
