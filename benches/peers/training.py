"""Compares a training step of the paper's networks in PyTorch and in our program, on the CPU, on the same inputs.

    python3 benches/peers/training.py [--batch 64] [--threads 2] [--turns N] [--variants eager,compile] [--quick]

Steps are simultaneous: D(real), G(z) and D(G(z)) run forward once, each with the statistics of its own batch; both
gradients are taken at the same parameters; then Adam updates both networks. All contestants start from the same
weights, which our program draws, and use the same simulated maps and latents in every step.

The first steps, which are not timed, give the losses that are compared: each loss must agree with that of PyTorch's
eager f32 within a relative TOLERANCE. The learning rate is small. With the paper's learning rate, on the same few maps,
the discriminator would become so confident by the second step that gradients of the generator become subnormal numbers,
with which CPUs compute slowly; the number of operations does not depend on the learning rate.

PyTorch's variants are in contestants/pytorch_training.py; bf16 is not compiled, because that gave losses of NaN from
the second step on. Its environment is that of generators.py and needs 6 GB of disk. A full run takes some minutes for
each contestant; it writes benches/results/training.json. --quick, with one turn and four maps, only prints.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import workshop

workshop.run_inside(*workshop.NETWORKS)
sys.path.insert(0, str(workshop.CONTESTANTS))

import contest  # noqa: E402
import numpy as np  # noqa: E402
import process  # noqa: E402
from contest import complain  # noqa: E402

OURS, SEED = "cosmogan", 1
PIXELS, SIDE_DEGREES, LATENT = 256, 0.866, 64
# Steps whose losses are compared, their learning rate, and the largest relative difference for equal training.
FIRST_STEPS, RATE, TOLERANCE = 3, 1e-6, 1e-4
# A step of 64 maps may take a minute, and its compilation several.
PATIENCE_SECONDS = 900
LOSSES = ("discriminator, real", "discriminator, generated", "generator")
PEERS = {"torch": {**workshop.TORCH, "file": "pytorch_training.py"}}


def prepare(folder, batch):
    """Writes the files that all contestants read: weights, maps, latents."""
    cosmogan = workshop.build("cosmogan", "cosmogan")[0]
    training = workshop.build("cosmogan-benches", "training")[0]
    files = {name: folder / f"{name}.safetensors" for name in ("generator", "discriminator")}
    files |= {name: folder / f"{name}.npy" for name in ("maps", "latents")}
    simulate = [cosmogan, "simulate", "--maps", batch, "--pixels", PIXELS, "--side-degrees", SIDE_DEGREES]
    simulate += ["--seed", SEED, "--out", files["maps"]]
    subprocess.run([training, "init", folder], check=True)
    subprocess.run([str(part) for part in simulate], check=True, capture_output=True)
    latents = np.random.default_rng(SEED).standard_normal((batch, LATENT))
    np.save(files["latents"], latents.astype(np.float32))
    return files


def start(contestant, threads, files):
    """Starts a contestant's process."""
    order = ("generator", "discriminator", "maps", "latents")
    if "variant" in contestant:
        flags = [part for name in order for part in (f"--{name}", files[name])]
        flags += ["--variant", contestant["variant"], "--threads", threads, "--rate", RATE]
    else:
        flags = ["steps", *(files[name] for name in order), RATE]
    return process.Process([*contestant["command"], *flags], threads, PATIENCE_SECONDS)


def differences(losses, reference):
    """For each step, the largest relative difference of a loss from the reference."""
    losses, reference = np.array(losses), np.array(reference)
    return [float(step.max()) for step in np.abs(losses - reference) / np.abs(reference)]


def measure(able, threads, turns, files, failures):
    """Measures losses, times and memory of all contestants."""
    running, results, reference = {}, {}, None

    def drop(name, reason):
        failures[name] = str(reason)
        complain(f"{name}: {reason}")
        results.pop(name, None)
        if name in running:
            running.pop(name).close()

    for name, contestant in able.items():
        started = time.monotonic()
        try:
            running[name] = start(contestant, threads, files)
            losses = running[name].ask({"rounds": FIRST_STEPS})["losses"]
        except process.Failure as reason:
            drop(name, reason)
            continue
        contestant["version"] = running[name].version
        if not np.isfinite(losses).all():
            drop(name, f"losses of the first steps are not all finite: {losses}")
            continue
        if reference is None and contestant["kind"] == "f32":
            reference = losses
        results[name] = {
            "kind": contestant["kind"],
            "losses": losses,
            "differences": differences(losses, reference) if reference else None,
            "turns": [],
        }
        print(f"{name}: {FIRST_STEPS} steps after {time.monotonic() - started:.0f} s", file=sys.stderr)
    for name in contest.in_turns(running, turns):
        # Skips those dropped in an earlier turn.
        if name in running:
            try:
                results[name]["turns"] += running[name].ask({"rounds": 1})["seconds"]
            except process.Failure as reason:
                drop(name, reason)
    for name, contestant in running.items():
        contestant.close()
        results[name]["peak_bytes"] = contestant.peak_bytes
    return results


def against(results):
    """Adds the speed of ours relative to each peer, turn by turn."""
    if OURS not in results:
        return
    mine = results[OURS]["turns"]
    for name, result in results.items():
        if name != OURS:
            ratios = [theirs / own for theirs, own in zip(result["turns"], mine)]
            result["ours_times_as_fast"] = contest.summary(ratios)


def table(results, batch, threads):
    """Formats the measurements as a Markdown table."""
    first = f"differences of losses, steps 1 to {FIRST_STEPS}"
    rows = [[f"training step, batch {batch}, {threads} threads", "s/step", "maps/s", "peak MB", first, "ours / it"]]
    rows.append(["---"] + ["---:"] * 5)
    for name, result in results.items():
        seconds = statistics.median(result["turns"])
        unequal = result["differences"] or []
        ratio = result.get("ours_times_as_fast")
        rows.append(
            [
                name,
                f"{seconds:.2f}",
                f"{batch / seconds:.2f}",
                f"{result['peak_bytes'] / 1e6:.0f}",
                " / ".join(f"{value:.0e}" for value in unequal) or "–",
                f"{ratio['median']:.2f} ({ratio['lowest']:.2f} to {ratio['highest']:.2f})" if ratio else "",
            ]
        )
    return contest.markdown(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    variants = PEERS["torch"]["variants"]
    parser.add_argument("--batch", type=int, help="maps in a step [default: 64; with --quick 4]")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--variants", default=",".join(variants), help="PyTorch's variants, separated by commas")
    parser.add_argument("--quick", action="store_true", help="one turn, four maps, writes no results")
    arguments = parser.parse_args()
    chosen = [name for name in arguments.variants.split(",") if name]
    if unknown := set(chosen) - set(variants):
        parser.error(f"no such variants: {', '.join(sorted(unknown))}")
    batch = arguments.batch or (4 if arguments.quick else 64)
    turns = 1 if arguments.quick else arguments.turns
    if batch < 2 or turns < 1:
        parser.error("--batch must be at least 2, because batch normalisation needs two maps, and --turns at least 1")
    if arguments.threads > len(os.sched_getaffinity(0)):
        parser.error("--threads exceeds the number of cores")
    peers = {"torch": {**PEERS["torch"], "variants": {name: variants[name] for name in chosen}}}

    failures = {}
    able = contest.able(peers, peers, OURS, "training", failures)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")
        try:
            files = prepare(folder, batch)
        except (subprocess.CalledProcessError, OSError) as reason:
            sys.exit(f"weights and maps cannot be prepared: {reason}")
        results = measure(able, arguments.threads, turns, files, failures)
    against(results)
    print(table(results, batch, arguments.threads))
    differing = {
        name: result["differences"]
        for name, result in results.items()
        if result["kind"] == "f32" and max(result["differences"]) > TOLERANCE
    }
    for result in results.values():
        result["seconds_per_step"] = contest.summary(result["turns"])
    result = {
        "what": "seconds of one simultaneous training step of the paper's networks on the CPU; differences: for each of "
        f"the first {FIRST_STEPS} steps the largest relative one from the first contestant's losses ({', '.join(LOSSES)})",
        "batch": batch,
        "threads": arguments.threads,
        "adam_step_size": RATE,
        "versions": contest.versions(peers, peers, able),
        "commit": workshop.commit(),
        "machine": workshop.machine(),
        "turns": turns,
        "contestants": results,
        "failures": failures,
    }
    # Times of different computations are not comparable.
    if differing:
        sys.exit(f"not the same training within {TOLERANCE}: {json.dumps(differing, indent=2)}")
    if not arguments.quick:
        workshop.write("training.json", result)
    if failures:
        sys.exit(f"not measured, for the reasons above: {'; '.join(failures)}")


main()
