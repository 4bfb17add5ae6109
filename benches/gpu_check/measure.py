"""Stages that measure time, and losses beside the CPU's."""

import csv
import io
import json
import math
import shutil
import statistics

from .check import StageFailed
from .options import MAPS

# Largest relative difference of the first step's losses from the CPU's in f32. Later steps are reported, not judged:
# Adam divides by the square root of small gradients, and what they differ by grows.
LOSS_LIMITS = {"f32": 1e-4, "tf32": 5e-3, "bf16": 5e-2}
NEVER = 10**9


def train(check):
    options = check.options
    reference = cpu_losses(check)
    for precision in options.precisions:
        losses = {}
        for graphs in ("on", "off"):
            name = f"losses-{precision}-{graphs}"
            flags = [*check.device(precision), "--graphs", graphs]
            row = steps(check, name, flags, options.loss_steps, 1, must_record=check.on_gpu() and graphs == "on")
            if row["result"]:
                losses[graphs] = row["result"]["losses"]
                compare(check, f"{name} beside cpu", losses[graphs], reference, LOSS_LIMITS.get(precision, 0.0))
        if len(losses) == 2:
            # The same kernels in the same order, so every bit is the same.
            compare(check, f"losses-{precision} on beside off", losses["on"], losses["off"], 0.0, NEVER)
    if options.steps:
        for precision in options.precisions:
            for graphs in ("on", "off"):
                flags = [*check.device(precision), "--graphs", graphs]
                steps(check, f"steps-{precision}-{graphs}", flags, options.steps, max(options.steps // 10, 1))


def cpu_losses(check):
    """Losses of the first steps on the CPU, which are kept."""
    options = check.options
    kept = check.work / f"cpu-{options.preset}-{options.batch}-{options.cpu_steps}-{crops(options)}.json"
    if not kept.exists():
        row = steps(check, "cpu", ["--device", "cpu"], options.cpu_steps, 1, cap=150)
        if not row["passed"]:
            raise StageFailed("no losses of the CPU")
        part = kept.with_name("cpu.part.json")
        part.write_text(json.dumps(row["result"]["losses"]))
        part.replace(kept)
    return json.loads(kept.read_text())


def crops(options):
    """Crops of each of the 4 × batch maps: so many that no epoch ends, as each end writes a checkpoint of 276 MB."""
    return max(options.steps, options.loss_steps, options.cpu_steps) // 4 + 1


def steps(check, name, flags, count, log_every, must_record=False, cap=None):
    options, out = check.options, check.work / "run"
    shutil.rmtree(out, ignore_errors=True)
    command = ["train", "--data", check.maps("train", 4 * options.batch), "--crops", crops(options), "--out", out]
    command += ["--preset", options.preset, "--batch", options.batch, "--steps", count, "--seed", 1]
    command += ["--log-every", log_every, "--preview-every", NEVER, *flags]

    def read(_ended, _file):
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        result = {"losses": [[line["d_loss_real"], line["d_loss_fake"], line["g_loss"]] for line in lines]}
        result["recorded"] = [line.get("recorded") for line in lines]
        # The first line holds compilation, and recording of the graph.
        rates = [line["maps_per_second"] for line in lines[1:] or lines]
        result["milliseconds_per_step"] = 1000 * options.batch / statistics.median(rates)
        if lines[-1]["step"] != count:
            return result, f"{lines[-1]['step']} steps of {count}"
        if not all(math.isfinite(loss) for losses in result["losses"] for loss in losses):
            return result, "losses are not finite"
        if must_record and True not in result["recorded"]:
            return result, "no step was recorded"
        return result, None

    row = check.run("train", name, command, read=read, cap=cap)
    # With its checkpoint of 276 MB.
    shutil.rmtree(out, ignore_errors=True)
    return row


def compare(check, name, found, expected, limit, judged=1):
    """Relative differences of losses, step by step; the first `judged` steps must be within `limit`."""
    differences = [
        max(abs(a - b) / max(abs(b), 1e-30) for a, b in zip(left, right)) for left, right in zip(found, expected)
    ]
    # Written so that NaN fails, and nothing to compare.
    good = bool(differences) and all(difference <= limit for difference in differences[:judged])
    error = None if good else f"losses differ by {max(differences[:judged], default='nothing to compare')}"
    check.judged("train", name, {"relative_differences": differences, "limit": limit}, error)


def generate(check):
    options = check.options
    weights = check.networks("generate") / "generator.safetensors"
    out = check.work / "generated.npy"
    for precision in options.precisions:
        cache = check.work / f"cache-{precision}"
        shutil.rmtree(cache, ignore_errors=True)
        base = ["generate", "--weights", weights, "--out", out, *check.device(precision)]
        for name, count in [("empty-cache", 1), ("first-map", 1), ("maps", options.maps)]:
            out.unlink(missing_ok=True)
            command = [*base, "--count", count, "--batch", min(options.at_once, count)]
            least = 4 * count * MAPS[options.preset][0] ** 2

            def read(_ended, _file, least=least):
                size = out.stat().st_size
                return {"bytes": size}, None if size >= least else f"{size} bytes of maps where {least} are due"

            environment = {"COSMOGAN_CACHE": str(cache)}
            check.run("generate", f"{name}-{precision}", command, environment=environment, read=read)
    out.unlink(missing_ok=True)


def profile(check):
    for precision in check.options.precisions:
        for subject in ("step", "generator"):
            check.profile("profile", subject, precision, again=True)


def ncu(check):
    """Time of every kernel. Counters of local memory are not read: `profile` reports spills."""
    if not shutil.which("ncu"):
        check.skip("ncu", "ncu", "not on the path")
        return
    options, out = check.options, check.work / "profiled"
    maps = check.maps("ncu", 4 * options.batch)
    weights = check.networks("ncu") / "generator.safetensors"
    # Clocks as they are: a user gets these. The card's settings must be left alone.
    prefix = ["ncu", "--csv", "--metrics", "gpu__time_duration.sum", "--clock-control", "none", "--print-units", "base"]
    for precision in options.precisions:
        shutil.rmtree(out, ignore_errors=True)
        step = ["train", "--data", maps, "--out", out, "--preset", options.preset, "--batch", options.batch]
        step += ["--steps", 1, "--seed", 1, "--preview-every", NEVER, "--graphs", "off", *check.device(precision)]
        check.run("ncu", f"step-{precision}", step, prefix=prefix, read=kernel_times)
        command = ["generate", "--weights", weights, "--out", check.work / "profiled.npy"]
        command += ["--count", options.at_once, "--batch", options.at_once, *check.device(precision)]
        check.run("ncu", f"generator-{precision}", command, prefix=prefix, read=kernel_times)
    shutil.rmtree(out, ignore_errors=True)


def kernel_times(ended, _file):
    """Calls and milliseconds of each kernel, from ncu's table."""
    kernels = {}
    for row in csv.DictReader(io.StringIO(ended.stdout[ended.stdout.index('"ID"') :])):
        entry = kernels.setdefault(row["Kernel Name"], {"calls": 0, "milliseconds": 0.0})
        entry["calls"] += 1
        entry["milliseconds"] += float(row["Metric Value"].replace(",", "")) / 1e6
    if not kernels:
        return None, "no kernels in ncu's table"
    ordered = dict(sorted(kernels.items(), key=lambda item: -item[1]["milliseconds"]))
    return {"milliseconds": sum(entry["milliseconds"] for entry in kernels.values()), "kernels": ordered}, None


def tune(check):
    """A search. The table that it leaves in the cache is kept whole, to be shipped."""
    options = check.options

    def read(ended, _file):
        tables = {path.name: json.loads(path.read_text()) for path in (check.work / "cache").glob("tuning-*.json")}
        return {"report": ended.stdout.splitlines(), "tables": tables}, None if tables else "no table of tilings"

    for precision in reversed(options.precisions):
        command = ["tune", *check.device(precision), "--preset", options.preset, "--batch", options.batch]
        check.run("tune", precision, command, read=read)
