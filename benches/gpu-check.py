#!/usr/bin/env python3
"""Checks and measures a prebuilt `cosmogan` on a machine with an NVIDIA GPU, which needs neither Rust nor a network.

    cargo build --release                      # where Rust is
    python3 benches/gpu-check.py --binary target/release/cosmogan --out benches/results/gpu-check.json

Every part runs even if others fail, and the JSON says what failed and how. Only Python's standard library is used;
PyTorch, compute-sanitizer and ncu are used where they are there. Parts, in this order:

  doctor      what is on the machine
  verify      golden training steps, and every operator at the paper's shapes, in each precision
  train       steps of the preset in each precision; the first losses beside the CPU's; milliseconds per step
  generate    maps from latents to a file; time to the first map with an empty and with a filled cache of kernels
  roofline    every kernel of a training step and of a batch of maps beside the limits of the GPU, by `cosmogan profile`
  peer        the same two in PyTorch (peers/torch_gpu.py), where it is installed, and how many times as fast ours are
  kernels     time of every kernel of a training step and of a batch of maps, by ncu
  sanitize    memcheck, racecheck and initcheck over small cases
  tune        only where --parts names it: searches how to cut each product, for the parts after it; takes minutes
"""

import argparse
import csv
import datetime
import io
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

PRECISIONS = ["f32", "tf32", "bf16"]
PARTS = ["doctor", "verify", "train", "generate", "roofline", "peer", "kernels", "sanitize"]

# Largest difference from PyTorch's maps in f32, in standard deviations, at which the network is the same.
SAME_MAPS = 1e-4


class Check:
    """One run of the program after the other, with a common deadline."""

    def __init__(self, arguments, folder):
        self.arguments = arguments
        self.folder = pathlib.Path(folder)
        self.binary = str(pathlib.Path(arguments.binary).resolve())
        self.deadline = time.monotonic() + arguments.budget
        self.failures = []
        # Of what `cosmogan profile` measured, by subject and precision.
        self.seconds_per_map = {}

    def run(self, *command, prefix=(), environment=None, may_fail=False):
        """Runs the program, behind `prefix` if given; returns its output and how long it took."""
        left = self.deadline - time.monotonic()
        if left < 5:
            raise TimeoutError("the budget is spent")
        whole = [*prefix, self.binary, *map(str, command)]
        started = time.monotonic()
        done = subprocess.run(
            whole,
            capture_output=True,
            text=True,
            timeout=left,
            env={**os.environ, **(environment or {})},
        )
        seconds = time.monotonic() - started
        if done.returncode != 0 and not may_fail:
            lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
            raise RuntimeError(f"{' '.join(map(str, command))}: exit status {done.returncode}: {lines[-1]}")
        return done, seconds

    def device(self, precision):
        flags = ["--device", self.arguments.device]
        return flags if precision == "f32" else [*flags, "--precision", precision]

    def each_precision(self, part):
        """`part` for every precision; what fails is noted, and the others go on."""
        results = {}
        for precision in self.arguments.precisions:
            try:
                results[precision] = part(precision)
            except (RuntimeError, OSError, ValueError, TimeoutError, subprocess.TimeoutExpired) as error:
                results[precision] = {"failed": str(error)}
                self.failures.append(f"{part.__name__} {precision}: {error}")
        return results

    # ---- The parts.

    def doctor(self):
        done, _ = self.run("doctor")
        result = {"report": done.stdout.splitlines()}
        if shutil.which("nvidia-smi"):
            query = "name,driver_version,memory.total,clocks.max.sm,clocks.sm,power.limit"
            smi = subprocess.run(
                ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"], capture_output=True, text=True
            )
            result["nvidia-smi"] = dict(zip(query.split(","), map(str.strip, smi.stdout.split(","))))
        return result

    def verify(self):
        return {"golden": self.golden(), "operators": self.each_precision(self.operators)}

    def golden(self):
        table = self.folder / "golden.json"
        self.run(
            *["verify", *self.device("f32"), "--reference", self.arguments.golden, "--json", table],
            may_fail=True,
        )
        return self.checks("golden", table)

    def operators(self, precision):
        table = self.folder / f"verify-{precision}.json"
        self.run(
            *["verify", *self.device(precision), "--preset", self.arguments.preset, "--batch", 2],
            *["--random", self.arguments.random, "--json", table],
            may_fail=True,
        )
        return self.checks(f"operators {precision}", table)

    def checks(self, name, table):
        """The worst of a table of checks, and all that failed."""
        checks = json.loads(table.read_text())["checks"]
        failed = [check for check in checks if not check["passed"]]
        self.failures += [f"{name}: {check['subject']}" for check in failed]
        worst = sorted(checks, key=lambda check: -(check["error"] or 0) / check["limit"])[:10]
        return {"count": len(checks), "failed": failed, "worst": worst}

    def tune(self):
        return self.each_precision(self.tune_in)

    def tune_in(self, precision):
        """What a search says of each product; the table that it leaves is read by whatever runs later."""
        done, seconds = self.run(
            *["tune", *self.device(precision), "--preset", self.arguments.preset, "--batch", self.arguments.batch]
        )
        return {"seconds": seconds, "report": done.stdout.splitlines()}

    def train(self):
        maps = self.folder / "maps.npy"
        size, side = {"paper": (256, 0.866), "small": (128, 0.433), "tiny": (64, 0.2165)}[self.arguments.preset]
        count = 4 * self.arguments.batch
        self.run("simulate", "--maps", count, "--pixels", size, "--side-degrees", side, "--out", maps)
        self.maps = maps
        reference = self.steps("cpu", ["--device", "cpu"], self.arguments.cpu_steps)
        results = self.each_precision(self.train_in)
        for precision, result in results.items():
            if "losses" in result:
                result["first_losses_relative_to_cpu"] = relative(result["losses"], reference["losses"])
        return {"cpu": reference, **results}

    def train_in(self, precision):
        return self.steps(precision, self.device(precision), self.arguments.steps)

    def steps(self, name, device, steps):
        out = self.folder / f"run-{name}"
        _, seconds = self.run(
            *["train", "--data", self.maps, "--out", out, "--preset", self.arguments.preset],
            *["--batch", self.arguments.batch, "--steps", steps, "--seed", 1, *device],
        )
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        # The first steps compile kernels and fill the pools; checkpoints and previews make single steps long.
        rates = sorted(line["maps_per_second"] for line in lines[min(5, len(lines) - 1) :])
        return {
            "steps": len(lines),
            "seconds": seconds,
            "milliseconds_per_step_median": 1000 * self.arguments.batch / rates[len(rates) // 2],
            "losses": [[line["d_loss_real"], line["d_loss_fake"], line["g_loss"]] for line in lines[:5]],
            "last_losses": [lines[-1]["d_loss_real"], lines[-1]["d_loss_fake"], lines[-1]["g_loss"]],
        }

    def generate(self):
        self.weights = self.folder / f"run-{self.arguments.precisions[0]}" / "generator.safetensors"
        return self.each_precision(self.generate_in)

    def generate_in(self, precision):
        out = self.folder / "generated.npy"
        cache = {"COSMOGAN_CACHE": str(self.folder / f"cache-{precision}")}
        base = ["generate", "--weights", self.weights, "--out", out, *self.device(precision)]
        _, cold = self.run(*base, "--count", 1, environment=cache)
        _, warm = self.run(*base, "--count", 1, environment=cache)
        batch = min(256, self.arguments.maps)
        _, seconds = self.run(*base, "--count", self.arguments.maps, "--batch", batch, environment=cache)
        return {
            "first_map_seconds_empty_cache": cold,
            "first_map_seconds": warm,
            "maps": self.arguments.maps,
            "seconds_with_start_and_file": seconds,
        }

    def roofline(self):
        return self.each_precision(self.roofline_in)

    def roofline_in(self, precision):
        result = {}
        for subject, batch in [("step", self.arguments.batch), ("generator", min(256, self.arguments.maps))]:
            profile = self.folder / f"profile-{subject}-{precision}.json"
            # Operators were verified by the part of that name: at this batch it would take the oracle minutes.
            command = ["profile", subject, *self.device(precision), "--preset", self.arguments.preset]
            self.run(*command, "--batch", batch, "--no-verify", "--json", profile)
            result[subject] = json.loads(profile.read_text())
            if result[subject]["seconds"]:
                self.seconds_per_map[subject, precision] = result[subject]["seconds"] / batch
        return result

    def peer(self):
        script = pathlib.Path(__file__).resolve().parent / "peers" / "torch_gpu.py"
        python = self.arguments.python
        if subprocess.run([python, "-c", "import numpy, torch"], capture_output=True).returncode != 0:
            return {"skipped": f"{python} has no PyTorch, or no NumPy"}
        networks = ["--generator", self.weights, "--discriminator", self.weights.parent / "discriminator.safetensors"]
        latents, maps, out = (self.folder / name for name in ("latents.npy", "ours.npy", "peer.json"))
        self.script(python, script, *networks, "--latents", latents, "--maps", min(8, self.arguments.maps))
        self.run("generate", "--weights", self.weights, "--latents", latents, "--out", maps, *self.device("f32"))
        self.script(
            *[python, script, *networks, "--device", "cuda" if self.arguments.device.startswith("cuda") else "cpu"],
            *["--ours", maps, "--maps", self.arguments.maps, "--batch", self.arguments.batch, "--out", out],
            # Time for the variant that is being compiled when the budget ends.
            *["--budget", 0.6 * max(self.deadline - time.monotonic(), 0), *self.variants()],
        )
        result = json.loads(out.read_text())
        for subject, contest, maps in [
            ("step", result["training"], self.arguments.batch),
            ("generator", result["generation"], self.arguments.maps),
        ]:
            theirs = contest["variants"][contest["fastest"]]["seconds"]["median"] if contest["fastest"] else None
            contest["ours_times_as_fast"] = {
                precision: theirs / (seconds * maps)
                for (of, precision), seconds in self.seconds_per_map.items()
                if of == subject and theirs
            }
        difference = result["generation"]["variants"].get("eager f32", {}).get("difference_from_ours")
        # Written so that what is no number differs, too.
        if difference is None or not difference <= SAME_MAPS:
            self.failures.append(f"peer: maps differ from PyTorch's by {difference} standard deviations")
        return result

    def variants(self):
        return ["--variants", self.arguments.variants] if self.arguments.variants else []

    def script(self, *command):
        left = max(self.deadline - time.monotonic(), 1)
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=left)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["no output"]
            raise RuntimeError(f"{command[1].name}: exit status {done.returncode}: {lines[-1]}")

    def kernels(self):
        if not shutil.which("ncu"):
            return {"skipped": "ncu is not on the path"}
        return self.each_precision(self.kernels_in)

    def kernels_in(self, precision):
        out = self.folder / f"profiled-{precision}"
        step = ["train", "--data", self.maps, "--out", out, "--preset", self.arguments.preset]
        step += ["--batch", self.arguments.batch, "--steps", 1, "--seed", 1, *self.device(precision)]
        maps = ["generate", "--weights", self.weights, "--out", self.folder / "profiled.npy"]
        maps += ["--count", 256, "--batch", 256, *self.device(precision)]
        return {"first_step": self.profile(step), "256_maps": self.profile(maps)}

    def profile(self, command):
        metrics = "gpu__time_duration.sum"
        # Clocks as they are: what a user gets.
        prefix = ["ncu", "--csv", "--metrics", metrics, "--clock-control", "none", "--print-units", "base"]
        done, _ = self.run(*command, prefix=prefix)
        table = done.stdout[done.stdout.index('"ID"') :]
        kernels = {}
        for row in csv.DictReader(io.StringIO(table)):
            entry = kernels.setdefault(row["Kernel Name"], {"calls": 0, "milliseconds": 0.0})
            entry["calls"] += 1
            entry["milliseconds"] += float(row["Metric Value"].replace(",", "")) / 1e6
        total = sum(entry["milliseconds"] for entry in kernels.values())
        ordered = dict(sorted(kernels.items(), key=lambda item: -item[1]["milliseconds"]))
        return {"milliseconds": total, "kernels": ordered}

    def sanitize(self):
        if not shutil.which("compute-sanitizer"):
            return {"skipped": "compute-sanitizer is not on the path"}
        return {
            tool: self.each_precision(lambda precision, tool=tool: self.sanitize_with(tool, precision))
            for tool in ["memcheck", "racecheck", "initcheck"]
        }

    def sanitize_with(self, tool, precision):
        prefix = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "99"]
        # One random case of each operator, and the model's at its smallest preset.
        command = ["verify", *self.device(precision), "--preset", "tiny", "--batch", 1, "--random", 3]
        done, _ = self.run(*command, prefix=prefix, may_fail=True)
        summary = [line for line in done.stdout.splitlines() if "SUMMARY" in line]
        if done.returncode != 0:
            self.failures.append(f"{tool} {precision}: {summary or done.stderr.splitlines()[-1:]}")
        return {"summary": summary, "exit_status": done.returncode}


def relative(found, expected):
    """The largest relative difference of the losses of each step."""
    return [
        max(abs(a - b) / max(abs(b), 1e-30) for a, b in zip(left, right)) for left, right in zip(found, expected)
    ]


def commit(binary):
    """The commit of the working tree, if this is one."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or f"unknown, binary of {time.ctime(os.path.getmtime(binary))}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/cosmogan")
    parser.add_argument("--golden", default="oracle/golden")
    parser.add_argument("--out", default="benches/results/gpu-check.json")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--preset", default="paper", choices=["paper", "small", "tiny"])
    parser.add_argument("--precisions", default=PRECISIONS, type=lambda text: text.split(","))
    parser.add_argument("--parts", default=PARTS, type=lambda text: text.split(","))
    parser.add_argument("--batch", default=64, type=int)
    parser.add_argument("--steps", default=200, type=int)
    parser.add_argument("--cpu-steps", default=3, type=int)
    parser.add_argument("--random", default=50, type=int)
    parser.add_argument("--maps", default=1024, type=int)
    parser.add_argument("--variants", help="of PyTorch, separated by commas; all by default")
    parser.add_argument("--python", default="python3", help="the Python that has PyTorch")
    parser.add_argument("--budget", default=540, type=float, help="seconds, all parts together")
    arguments = parser.parse_args()

    result = {
        "commit": commit(arguments.binary),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "arguments": {name: str(value) for name, value in vars(arguments).items()},
    }
    with tempfile.TemporaryDirectory() as folder:
        check = Check(arguments, folder)
        for part in arguments.parts:
            started = time.monotonic()
            try:
                result[part] = getattr(check, part)()
            except Exception as error:  # One part's failure is a result, and must not cost the others.
                result[part] = {"failed": f"{type(error).__name__}: {error}"}
                check.failures.append(f"{part}: {error}")
            print(f"{part}: {time.monotonic() - started:.0f} s", flush=True)
            # What is measured so far survives whatever happens next.
            result["failures"] = check.failures
            out = pathlib.Path(arguments.out)
            out.parent.mkdir(parents=True, exist_ok=True)
            temporary = out.with_suffix(".part")
            temporary.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
            temporary.replace(out)
    for failure in check.failures:
        print("FAILED", failure)
    print(f"{arguments.out}: {len(check.failures)} failures")
    return 1 if check.failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
