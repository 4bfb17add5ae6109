#!/usr/bin/env python3
"""Effect of reduced precision on training and on maps, emulated on a CPU, with the same data and seeds as in f32.

    python3 benches/precision.py

Simulates maps, trains the preset `tiny` with each seed in each precision, compares maps of each averaged generator with
held-out ones (`cosmogan evaluate`), prints tables and writes benches/results/precision.json. Existing files in the
folder are reused, so that an interrupted experiment continues. 40 runs of 2,000 steps take about half an hour on two
cores. Needs only Python's standard library.

For every quantity the tables compare two distances: that between the runs of one seed in the precision and in f32, and
that between runs in f32 with different seeds. Training is chaotic: any rounding leads to another trajectory, so that
two runs of one seed end up as far apart as two seeds. If the precision is harmless, they are not farther apart, and not
biased in one direction. `one-bit` is the control: f32 again, with the last bit of one pixel of one map changed.
"""

import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "peers"))
import workshop  # noqa: E402

MAPS, HELD_OUT, PIXELS, SIDE_DEGREES = 4000, 1000, 64, 0.866
# Precision and maps of each kind of run; all are compared with the first, the baseline.
RUNS = {
    "f32": ("f32", "maps.npy"),
    "one-bit": ("f32", "one-bit.npy"),
    "bf16": ("bf16", "maps.npy"),
    "tf32": ("tf32", "maps.npy"),
}
BASELINE, *OTHERS = RUNS
# Ends of the windows of steps over which losses are averaged: short while trajectories still agree, long later.
WINDOW_ENDS = [10, 50, 100, 200, 500, 1000, 1500, 2000]
# Edges of the multipole bands over which spectra are averaged.
BANDS = [500, 1500, 4000, 13500]
# Two-sided 95 % limits of Student's t, by degrees of freedom from 1.
STUDENT = [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13]


class Experiment:
    """A folder of results, and the program that computes those that are missing."""

    def __init__(self, arguments):
        self.folder = arguments.folder
        self.steps = arguments.steps
        self.binary = str(arguments.binary.resolve())
        self.environment = {**os.environ, "RAYON_NUM_THREADS": str(arguments.threads)}
        self.folder.mkdir(parents=True, exist_ok=True)

    def cosmogan(self, *command):
        done = subprocess.run([self.binary, *map(str, command)], cwd=self.folder, env=self.environment, stdout=subprocess.DEVNULL)
        if done.returncode != 0:
            sys.exit(f"precision: `cosmogan {' '.join(map(str, command))}` failed in {self.folder}; see its line above")

    def data(self):
        for name, maps, seed in [("maps.npy", MAPS, 1), ("held-out.npy", HELD_OUT, 2)]:
            if not (self.folder / name).exists():
                size = ["--maps", maps, "--pixels", PIXELS, "--side-degrees", SIDE_DEGREES]
                self.cosmogan("simulate", *size, "--seed", seed, "--out", name)
        if not (self.folder / "one-bit.npy").exists():
            maps = bytearray((self.folder / "maps.npy").read_bytes())
            # The first pixel follows the magic number, the version and the header, lowest byte first.
            maps[10 + int.from_bytes(maps[8:10], "little")] ^= 1
            (self.folder / "one-bit.npy").write_bytes(maps)

    def run(self, kind, seed):
        """Completes a run if necessary, and returns its log."""
        precision, maps = RUNS[kind]
        run = self.folder / f"{kind}-{seed}"
        device = ["--device", "cpu", "--precision", precision]
        resume = ["--resume"] if (run / "checkpoint.safetensors").exists() else []
        length = ["--preset", "tiny", "--steps", self.steps, "--seed", seed]
        self.cosmogan("train", *device, "--data", maps, *length, *resume, "--out", run.name)
        return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]

    def report(self, kind, seed, precision):
        """Evaluates maps of a run's averaged generator, generated in a precision; returns the metrics."""
        name = f"report-{kind}-{seed}-in-{precision}"
        metrics = self.folder / name / "metrics.json"
        if not metrics.exists():
            device = ["--device", "cpu", "--precision", precision]
            # Few resamples, because p-values are not used.
            maps = ["--real", "held-out.npy", "--side-degrees", SIDE_DEGREES, "--resamples", 10]
            weights = f"{kind}-{seed}/average.safetensors"
            self.cosmogan("evaluate", *device, *maps, "--weights", weights, "--out", name)
        return json.loads(metrics.read_text())


def losses(log):
    """Mean losses of the discriminator (real plus generated) and of the generator over each window of steps."""
    quantities, first = {}, 0
    for last in [end for end in WINDOW_ENDS if end <= len(log)]:
        lines = log[first:last]
        steps = f"steps {first + 1} to {last}"
        quantities[f"D loss, {steps}"] = statistics.fmean(line["d_loss_real"] + line["d_loss_fake"] for line in lines)
        quantities[f"G loss, {steps}"] = statistics.fmean(line["g_loss"] for line in lines)
        first = last
    return quantities


def statistics_of(metrics):
    """Statistics of the generated maps, and their distances from the held-out maps."""
    generated = metrics["summary"]["generated"]
    pixels, distances = generated["pixels"], generated["distances"]
    quantities = {
        "mean κ": pixels["mean"],
        "σ of κ": pixels["sigma"],
        "skewness": pixels["skewness"],
        "KS distance of pixels": distances["pixel_ks"],
        "mean spectrum, |ratio − 1|": distances["spectrum_deviation"],
        "spectra, χ² distance": distances["spectrum_chi_squared"],
    }
    spectra = metrics["spectra"]
    by_name = {sample["name"]: sample["mean"] for sample in spectra["samples"]}
    for low, high in zip(BANDS, BANDS[1:]):
        ratios = [
            made / real
            for multipole, made, real in zip(spectra["multipoles"], by_name["generated"], by_name["real"])
            if low <= multipole < high
        ]
        quantities[f"power, ratio, ℓ {low} to {high}"] = statistics.fmean(ratios)
    return quantities


def compare(baseline, other):
    """Compares one quantity, with a value per seed, between the baseline and another kind of run."""
    differences = [b - a for a, b in zip(baseline, other)]
    spread = statistics.stdev(baseline)
    distance = math.sqrt(statistics.fmean(difference**2 for difference in differences))
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return {
        "baseline": {"mean": statistics.fmean(baseline), "spread": spread},
        "other": {"mean": statistics.fmean(other), "spread": statistics.stdev(other)},
        # RMS of the differences between runs of one seed, over that between runs of two seeds of the baseline.
        "distance_over_seeds": distance / (math.sqrt(2) * spread),
        # Mean difference, and the same in units of its standard error.
        "shift": statistics.fmean(differences),
        # In `one-bit`, nothing differs until the changed pixel is read.
        "shift_in_errors": statistics.fmean(differences) / error if error else 0.0,
        "values": {"baseline": baseline, "other": other},
    }


def table(title, rows, seeds):
    print(f"\n{title}\n{'':34}{'in f32':>22}{'other':>22}{'distance':>10}{'shift':>8}")
    for name, row in rows.items():
        columns = [f"{row[which]['mean']:.4g} ± {row[which]['spread']:.2g}" for which in ("baseline", "other")]
        print(f"{name:34}{columns[0]:>22}{columns[1]:>22}{row['distance_over_seeds']:10.2f}{row['shift_in_errors']:8.1f}")
    limit = STUDENT[seeds - 2]
    beyond = [name for name, row in rows.items() if abs(row["shift_in_errors"]) > limit]
    print(
        f"±: standard deviation over {seeds} seeds; distance: rms difference of runs of one seed over that of two seeds in f32;\n"
        f"shift: mean difference in standard errors; by chance, one row in twenty exceeds {limit}; here "
        f"{len(beyond)} of {len(rows)}{': ' + '; '.join(beyond) if beyond else ''}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = workshop.ROOT / "target"
    parser.add_argument("--binary", type=pathlib.Path, default=target / "release" / "cosmogan", help="the program, built by cargo build --release")
    parser.add_argument("--folder", type=pathlib.Path, default=target / "precision", help="for maps, runs and reports")
    parser.add_argument("--others", nargs="+", default=OTHERS, choices=OTHERS, help="kinds of runs that are compared with f32")
    parser.add_argument("--seeds", type=int, default=10, help="number of seeds, 2 to 16")
    parser.add_argument("--steps", type=int, default=2000, help="steps of every run")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads of the program; no effect on the result")
    arguments = parser.parse_args()
    if not arguments.binary.exists():
        sys.exit(f"precision: {arguments.binary} does not exist; build it by cargo build --release, or name it with --binary")
    if not 2 <= arguments.seeds <= len(STUDENT) + 1:
        sys.exit(f"precision: --seeds {arguments.seeds}: give 2 to {len(STUDENT) + 1}")
    experiment = Experiment(arguments)
    experiment.data()
    seeds = range(1, arguments.seeds + 1)
    quantities = {}
    for kind in [BASELINE, *arguments.others]:
        runs = []
        for seed in seeds:
            log = experiment.run(kind, seed)
            runs.append({**losses(log), **statistics_of(experiment.report(kind, seed, RUNS[kind][0]))})
            print(f"{kind}, seed {seed}: done", file=sys.stderr)
        quantities[kind] = runs
    result = {
        "what": "losses of training and statistics of generated maps in f32 and in other precisions, emulated on a CPU; "
        "one-bit: f32, the last bit of one pixel changed; distance_over_seeds: rms difference of runs of one seed over that of two "
        "seeds in f32; shift_in_errors: mean difference over its standard error",
        "preset": "tiny",
        "maps": [MAPS, HELD_OUT],
        "steps": arguments.steps,
        "seeds": arguments.seeds,
        "commit": workshop.commit(),
        "machine": workshop.machine(),
        "training": {},
        "inference": {},
    }
    by_seed = lambda runs: {name: [run[name] for run in runs] for name in runs[0]}  # noqa: E731
    baseline = by_seed(quantities[BASELINE])
    for kind in arguments.others:
        other = by_seed(quantities[kind])
        rows = {name: compare(baseline[name], other[name]) for name in baseline}
        table(f"training and maps: {kind}", rows, arguments.seeds)
        result["training"][kind] = rows
        precision = RUNS[kind][0]
        if precision == RUNS[BASELINE][0]:
            continue
        made = by_seed([statistics_of(experiment.report(BASELINE, seed, precision)) for seed in seeds])
        rows = {name: compare(baseline[name], made[name]) for name in made}
        table(f"training in f32, maps in {precision}", rows, arguments.seeds)
        result["inference"][precision] = rows
    workshop.write("precision.json", result)


main()
