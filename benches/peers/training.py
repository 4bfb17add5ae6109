"""One training step of the paper's networks in PyTorch and in our program, on the CPU, in turns, on the same inputs.

    python3 benches/peers/training.py [--batch 64] [--threads 2] [--turns N] [--variants eager,compile] [--quick]

A step is the simultaneous one: D(real), G(z) and D(G(z)) run forward once, each with the statistics of its own batch;
both gradients are taken at the same parameters; then Adam moves both networks. Everybody starts from the same weights,
which our program draws, and takes every step with the same simulated maps and the same latents.

The first steps of everybody, which are not counted, give the losses that are compared: each loss must agree with that
of PyTorch's eager f32 within TOLERANCE of itself. They are taken with a small step size of Adam. The paper's would have
the discriminator so sure of itself in the second step, on few maps seen again and again, that gradients of the
generator become too small for normal numbers, which processors compute slowly; the work is the same for both.

PyTorch's variants are in contestants/pytorch_training.py; bf16 is not compiled, for that gave losses that are no
numbers from the second step on. Its environment is that of generators.py and needs 6 GB of disk. A full run takes some
minutes for each contestant; it writes benches/results/training.json. --quick, with one turn and four maps, only prints.
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
# Steps whose losses are compared, the size of those steps, and the largest difference that is the same training.
FIRST_STEPS, RATE, TOLERANCE = 3, 1e-6, 1e-4
# A step of 64 maps may take a minute, and compiling one a few.
PATIENCE_SECONDS = 900
LOSSES = ("discriminator, real", "discriminator, generated", "generator")
PEERS = {"torch": {**workshop.TORCH, "file": "pytorch_training.py"}}


def prepare(folder, batch):
    """The files that all contestants read: weights, maps, latents."""
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
    """A contestant's process."""
    order = ("generator", "discriminator", "maps", "latents")
    if "variant" in contestant:
        flags = [part for name in order for part in (f"--{name}", files[name])]
        flags += ["--variant", contestant["variant"], "--threads", threads, "--rate", RATE]
    else:
        flags = ["steps", *(files[name] for name in order), RATE]
    return process.Process([*contestant["command"], *flags], threads, PATIENCE_SECONDS)


def differences(losses, reference):
    """For each step the largest difference of a loss from the reference's, as a part of it."""
    losses, reference = np.array(losses), np.array(reference)
    return [float(step.max()) for step in np.abs(losses - reference) / np.abs(reference)]


def measure(able, threads, turns, files, failures):
    """What each contestant says and takes, and how ours compares turn by turn."""
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
            drop(name, f"losses of the first steps are not all numbers: {losses}")
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
        # One that was dropped in an earlier turn has no more.
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
    """How many times as fast ours is as each peer, turn by turn."""
    if OURS not in results:
        return
    mine = results[OURS]["turns"]
    for name, result in results.items():
        if name != OURS:
            ratios = [theirs / own for theirs, own in zip(result["turns"], mine)]
            result["ours_times_as_fast"] = contest.summary(ratios)


def table(results, batch, threads):
    """The measurements as a Markdown table."""
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
        parser.error("there must be two maps, for batch normalisation compares them, and a turn")
    if arguments.threads > len(os.sched_getaffinity(0)):
        parser.error("there are not as many cores as threads")
    peers = {"torch": {**PEERS["torch"], "variants": {name: variants[name] for name in chosen}}}

    failures = {}
    able = contest.able(peers, peers, OURS, "training", failures)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")
        try:
            files = prepare(folder, batch)
        except (subprocess.CalledProcessError, OSError) as reason:
            sys.exit(f"weights and maps cannot be made: {reason}")
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
    # What is not the same training is no measurement.
    if differing:
        sys.exit(f"not the same training within {TOLERANCE}: {json.dumps(differing, indent=2)}")
    if not arguments.quick:
        workshop.write("training.json", result)
    if failures:
        sys.exit(f"did not take part, for reasons above: {'; '.join(failures)}")


main()
