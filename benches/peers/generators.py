"""Compares the paper's generator in other frameworks and in our program, on the CPU, with equal weights and latents.

    python3 benches/peers/generators.py [--peers torch,onnxruntime,…] [--turns N] [--quick]

Each Python framework is installed from the default wheels of its registry into its own virtual environment; those in
Rust are built for this CPU. All are kept in the user's cache. PyTorch needs 6 GB of disk, because its wheels include
CUDA; torch.compile needs a C++ compiler. After installation, a full run takes more than ten minutes. It writes
benches/results/generators.json and draws generators.png; --quick, with one turn and no batches of 64, only prints.

For each number of threads and each batch size, all contestants start one after the other, each bound to that many
cores, and generate a first batch, which is compared with the first contestant's. Then each runs a few rounds in each
turn while the others wait. A round goes from latents to maps, both in main memory. Memory is the peak resident memory
of a process with one batch size. The time to the first map counts from the start of the process, at batch 1; it is
measured again for the preset `tiny`, where `cosmogan generate` is timed from start to end as well.

Each framework runs the network in the form that proved fastest in it, which is more than most users would do:

* torch eager is a straightforward implementation. The other variants fold batch normalisations into the layers, are
  mirrored (contestants/network.py), keep channels last and compute the last layer as a convolution for the four phases
  of its output. compile is torch.compile with freezing; its cache is empty only for its first map with one thread.
* onnxruntime and openvino read models with batch normalisations folded; that of openvino has the last layer in phases
  for f32, and all layers for bf16 (contestants/open_vino.py).
* jax uses XLA's convolution with dilated inputs. In phases it was 1.2 to 1.5 times as fast for batches, but slower for
  single maps, and never near the fastest.
* candle's transposed convolution is a naive loop; all layers in phases are faster for single maps and for batches.
* burn uses its CPU backend flex with AVX-512 and its transposed convolutions, whose last row and column are cropped; in
  phases it was slower.
* tract reads the model with the last layer in phases; all layers in phases were slower.
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
import network  # noqa: E402
import numpy as np  # noqa: E402
import onnx_model  # noqa: E402
import process  # noqa: E402
from contest import complain, summary  # noqa: E402

OURS, SEED = "cosmogan", 1
# The command of a user, which also writes the map to a file.
PROGRAM = "cosmogan generate"
STARTS = 5
THREADS = (1, 2)
# Warm-up rounds and counted rounds per turn, by batch size. In the first 0.2 s after a pause, Linux may leave two
# threads on one core, and the first round of our program, which is started again for each turn, maps its memory.
UNCOUNTED = {1: 10, 8: 1, 64: 1}
COUNTED = {1: 10, 8: 2, 64: 1}
# Largest difference from the first contestant's maps in f32, in their standard deviations, for the same network.
TOLERANCE = 1e-4
PEERS = {
    "torch": {**workshop.TORCH, "file": "pytorch.py"},
    "onnxruntime": {
        "environment": "onnxruntime-1.32.0",
        "steps": [["onnxruntime==1.32.0", workshop.NUMPY]],
        "file": "onnx_runtime.py",
        "variants": {"f32": {"kind": "f32", "onnx": "deconv"}},
    },
    "openvino": {
        "environment": "openvino-2026.4.1",
        "steps": [["openvino==2026.4.1", workshop.NUMPY]],
        "file": "open_vino.py",
        "variants": {
            "f32": {"kind": "f32", "onnx": "last_in_phases"},
            "bf16": {"kind": "bf16", "onnx": "all_in_phases"},
        },
    },
    "jax": {
        "environment": "jax-0.10.2",
        "steps": [["jax[cpu]==0.10.2", workshop.NUMPY, workshop.SAFETENSORS]],
        "file": "jax_xla.py",
        "variants": {"f32": {"kind": "f32"}},
    },
    "candle": {"project": "candle", "variants": {"all_in_phases": {"kind": "f32"}}},
    "burn": {"project": "burn", "variants": {"deconv": {"kind": "f32"}}},
    "tract": {"project": "tract", "variants": {"f32": {"kind": "f32", "onnx": "last_in_phases"}}},
}


def start(contestant, threads, batch, files):
    kind = process.Peer if "variant" in contestant else process.Ours
    return kind(contestant, threads, batch, files)


def prepare(folder, config, count):
    """Writes the files that contestants read: weights in every form, and latents."""
    files = {"folder": folder, "weights": folder / "generator.safetensors", "folded": folder / "folded.safetensors"}
    files["latents"] = folder / "latents.npy"
    tensors = network.random_weights(config, SEED)
    network.write(files["weights"], config, tensors)
    network.write(files["folded"], config, network.in_two_forms(config, tensors))
    latents = np.random.default_rng(SEED).standard_normal((count, config["z_dim"]))
    np.save(files["latents"], latents.astype(np.float32))
    layers = range(1, config["layers"] + 1)
    for name, phases in {"deconv": (), "last_in_phases": layers[-1:], "all_in_phases": layers}.items():
        files[name] = folder / f"{name}.onnx"
        onnx_model.write(files[name], config, tensors, phases)
    return files


def cell(able, threads, batch, turns, files, failures):
    """Measures all contestants with one number of threads and one batch size."""
    running, results, reference = {}, {}, None

    def drop(name, reason):
        failures[f"{name}, {threads} threads, batch {batch}"] = str(reason)
        complain(f"{name}, {threads} threads, batch {batch}: {reason}")
        results.pop(name, None)
        if name in running:
            running.pop(name).close()

    for name, contestant in able.items():
        try:
            running[name] = start(contestant, threads, batch, files)
        except process.Failure as reason:
            drop(name, reason)
            continue
        maps = np.load(running[name].maps).squeeze().reshape(batch, -1)
        if reference is None and contestant["kind"] == "f32":
            reference = maps
        difference = float(np.abs(maps - reference).max() / reference.std()) if reference is not None else None
        results[name] = {"kind": contestant["kind"], "difference": difference, "turns": []}
        time.sleep(contest.PAUSE_SECONDS)
    for name in contest.in_turns(running, turns):
        # Dropped in an earlier turn.
        if name not in running:
            continue
        try:
            seconds = running[name].rounds(UNCOUNTED[batch] + COUNTED[batch])[UNCOUNTED[batch] :]
        except process.Failure as reason:
            drop(name, reason)
            continue
        results[name]["turns"].append(batch / statistics.median(seconds))
    for name, contestant in running.items():
        contestant.close()
        results[name]["peak_bytes"] = contestant.peak_bytes
        if batch == 1:
            results[name]["first_map_seconds"] = contestant.first_map_seconds
        if contestant.version:
            able[name]["version"] = contestant.version
    return {"threads": threads, "batch": batch, "contestants": results, "ours": against(results)}


def first_maps(able, failures):
    """Measures the time from process start to the first map of the preset `tiny`, on all threads, interleaved."""
    found, threads = {}, min(max(THREADS), len(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory() as folder:
        files = prepare(pathlib.Path(folder), network.TINY, 1)
        for name in contest.in_turns(able, STARTS):
            try:
                contestant = start(able[name], threads, 1, files)
                # Our program is started again, because its first run reads the program from disk.
                if name == OURS:
                    contestant.rounds(1)
                found.setdefault(name, []).append(contestant.first_map_seconds)
                contestant.close()
            except process.Failure as reason:
                failures[f"{name}, first map of tiny"] = str(reason)
                complain(f"{name}, first map of tiny: {reason}")
        program = workshop.build("cosmogan", "cosmogan")[0]
        command = [program, "generate", "--weights", files["weights"], "--count", "1", "--device", "cpu"]
        command += ["--out", pathlib.Path(folder) / "one.npy"]
        for _ in range(STARTS):
            started = time.monotonic()
            subprocess.run(command, check=True, capture_output=True, **process.confined(threads))
            found.setdefault(PROGRAM, []).append(time.monotonic() - started)
    return {name: summary(seconds) for name, seconds in found.items()}


def against(results):
    """Speed of ours relative to the fastest peer in f32 and in bf16, turn by turn; replaces turns by medians."""
    rates = {name: result.pop("turns") for name, result in results.items()}
    for name, result in results.items():
        result["maps_per_second"] = summary(rates[name])
    found = {}
    for kind in ("f32", "bf16"):
        fastest = contest.fastest_peer(results, rates, kind, OURS)
        if fastest:
            found[f"fastest_{kind}"] = fastest
            if OURS in rates:
                ratios = [mine / theirs for mine, theirs in zip(rates[OURS], rates[fastest])]
                found[f"times_as_fast_as_{kind}"] = summary(ratios)
    return found


def table(able, cells, tiny):
    """Formats the measurements and the ratios as a Markdown table."""
    columns = [(one["threads"], one["batch"]) for one in cells]
    heads = [f"{batch} on {threads}" for threads, batch in columns]
    most = max(one["threads"] for one in cells)
    batches = " / ".join(str(one["batch"]) for one in cells if one["threads"] == most)
    title = ["maps/s, batch on threads:", *heads, f"peak MB, batch {batches} on {most}", "first map, s", "of tiny"]
    rows = [[*title, "difference", "installed MB"], ["---"] + ["---:"] * (len(heads) + 5)]
    for name, contestant in able.items():
        found = [one["contestants"].get(name) for one in cells]
        rates = [f"{one['maps_per_second']['median']:.1f}" if one else "–" for one in found]
        widest = [one for one, (threads, _) in zip(found, columns) if threads == most]
        peaks = " / ".join(f"{one['peak_bytes'] / 1e6:.0f}" if one else "–" for one in widest)
        firsts = " / ".join(f"{one['first_map_seconds']:.2f}" for one in found if one and "first_map_seconds" in one)
        differences = [one["difference"] for one in found if one and one["difference"] is not None]
        difference = f"{max(differences):.1e}" if differences else "–"
        of_tiny = f"{tiny[name]['median']:.3f}" if name in tiny else "–"
        size = f"{contestant['installed_bytes'] / 1e6:.1f}"
        rows.append([name, *rates, peaks, firsts or "–", of_tiny, difference, size])
    if PROGRAM in tiny:
        rows.append([PROGRAM, *[""] * (len(heads) + 2), f"{tiny[PROGRAM]['median']:.3f}", "", ""])
    for kind in ("f32", "bf16"):
        cells_of_kind = []
        for one in cells:
            ratio = one["ours"].get(f"times_as_fast_as_{kind}")
            times = f"{ratio['median']:.2f}" if ratio else "–"
            cells_of_kind.append(f"{times} ({one['ours'].get(f'fastest_{kind}', 'none')})")
        rows.append([f"{OURS} / fastest {kind}", *cells_of_kind, *[""] * 5])
    return contest.markdown(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default=",".join(PEERS), help="frameworks, separated by commas")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one turn, no batches of 64, writes no results")
    arguments = parser.parse_args()
    names = [name for name in arguments.peers.split(",") if name]
    if unknown := set(names) - set(PEERS):
        parser.error(f"no such peers: {', '.join(sorted(unknown))}")
    if arguments.turns < 1:
        parser.error("--turns must be at least 1")
    turns, batches = (1, [1, 8]) if arguments.quick else (arguments.turns, list(COUNTED))

    failures, cells, started = {}, [], time.monotonic()
    able = contest.able(PEERS, names, OURS, "generator", failures)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")
        files = prepare(folder, network.PAPER, max(batches))
        for threads in THREADS:
            if threads > len(os.sched_getaffinity(0)):
                complain(f"no measurement on {threads} threads: there are fewer cores")
                continue
            for batch in batches:
                print(f"{time.monotonic() - started:.0f} s: {threads} threads, batch {batch}", file=sys.stderr)
                cells.append(cell(able, threads, batch, turns, files, failures))
        print(f"{time.monotonic() - started:.0f} s: first maps of tiny", file=sys.stderr)
        tiny = first_maps(able, failures)
    print(table(able, cells, tiny))
    differing = {
        f"{name}, {one['threads']} threads, batch {one['batch']}": found["difference"]
        for one in cells
        for name, found in one["contestants"].items()
        # Negated, so that NaN counts as different.
        if found["kind"] == "f32" and not found["difference"] <= TOLERANCE
    }
    result = {
        "what": "maps per second of the paper's generator, 256 x 256, random weights, on the CPU; difference: largest "
        "from the first contestant's maps, in their standard deviations; first_map_seconds from the process's start",
        "versions": contest.versions(PEERS, names, able),
        "commit": workshop.commit(),
        "machine": workshop.machine(),
        "turns": turns,
        "rounds_per_turn": {str(batch): COUNTED[batch] for batch in batches},
        "installed_bytes": {name: contestant["installed_bytes"] for name, contestant in able.items()},
        "cells": cells,
        "first_map_of_tiny_seconds": tiny,
        "failures": failures,
    }
    if not arguments.quick:
        workshop.write("generators.json", result)
        subprocess.run([sys.executable, workshop.ROOT / "benches" / "peers" / "plot.py"])
    if failures:
        complain(f"not measured, for the reasons above: {'; '.join(failures)}")
    if differing:
        sys.exit(f"not the same network within {TOLERANCE} standard deviations: {json.dumps(differing, indent=2)}")


main()
