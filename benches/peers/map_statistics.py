"""Compares the speed of map statistics with LensTools 1.2, on one thread, interleaved, on the same maps.

    python3 benches/peers/map_statistics.py

LensTools is installed into its own virtual environment, which needs a C compiler and the headers of GSL and FFTW
(Debian: libgsl-dev libfftw3-dev). Writes benches/results/map-statistics.json.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import workshop

MAPS, PIXELS, SIDE_DEGREES = 16, 256, 0.866
TURNS, ROUNDS = 7, 3
MODES = 248

# Versions for which LensTools 1.2 was written; newer NumPy and SciPy lack functions that it calls.
workshop.run_inside(
    "lenstools-1.2",
    [
        ["numpy<2", "scipy<1.14", "setuptools<70", "wheel", "astropy", "matplotlib", "pandas", "emcee"],
        ["--no-build-isolation", "lenstools==1.2"],
    ],
)
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402

# NumPy removed these names after the release of LensTools 1.2.
for name, python_type in {"complex": complex, "float": float, "int": int, "bool": bool}.items():
    setattr(np, name, python_type)
import astropy.units as u  # noqa: E402
import lenstools  # noqa: E402


def peer(maps, l_edges, thresholds):
    """Measures LensTools' milliseconds per map, as medians of ROUNDS, in the form that our program prints."""
    jobs = {
        "power_spectrum": lambda kappa: kappa.powerSpectrum(l_edges),
        "minkowski": lambda kappa: kappa.minkowskiFunctionals(thresholds),
        "peaks": lambda kappa: kappa.peakCount(thresholds),
    }
    times = {}
    for name, job in jobs.items():
        rounds = []
        for _ in range(ROUNDS):
            # New objects each time, because LensTools caches gradients.
            fresh = [lenstools.ConvergenceMap(kappa, angle=SIDE_DEGREES * u.deg) for kappa in maps]
            started = time.perf_counter()
            for kappa in fresh:
                job(kappa)
            rounds.append((time.perf_counter() - started) * 1e3 / len(maps))
        times[name] = statistics.median(rounds)
    return times


def main():
    cosmogan = workshop.build("cosmogan", "cosmogan")[0]
    ours = workshop.build("cosmogan-benches", "statistics")[0]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "maps.npy")
        simulate = ["simulate", "--maps", MAPS, "--pixels", PIXELS, "--side-degrees", SIDE_DEGREES, "--seed", 1]
        subprocess.run([cosmogan, *map(str, simulate), "--out", path], check=True, capture_output=True)
        maps = [kappa.astype(np.float64) for kappa in np.load(path).squeeze()]
        fundamental = 360.0 / SIDE_DEGREES
        # The bins of our program: from the fundamental to the Nyquist mode, none narrower than half the fundamental.
        l_edges = np.linspace(fundamental, fundamental * PIXELS / 2, MODES + 1)
        thresholds = np.linspace(-0.03, 0.07, 20)
        turns = []
        for _ in range(TURNS):
            run = [ours, path, str(SIDE_DEGREES), str(ROUNDS)]
            mine = json.loads(subprocess.run(run, check=True, capture_output=True).stdout)
            turns.append({"lenstools": peer(maps, l_edges, thresholds), "cosmogan": mine})
    medians = {
        name: {key: statistics.median(turn[name][key] for turn in turns) for key in turns[0][name]}
        for name in turns[0]
    }
    ratios = [sum(turn["lenstools"].values()) / sum(turn["cosmogan"].values()) for turn in turns]
    result = {
        "what": f"milliseconds per map of {PIXELS} x {PIXELS} on one thread, f64: {MODES} modes, 19 thresholds",
        "versions": {"lenstools": "1.2", "numpy": np.__version__, "python": sys.version.split()[0]},
        "commit": workshop.commit(),
        "machine": workshop.machine(),
        "milliseconds": medians,
        "times_as_fast": {
            "all": statistics.median(ratios),
            "lowest": min(ratios),
            "highest": max(ratios),
            **{key: medians["lenstools"][key] / medians["cosmogan"][key] for key in medians["cosmogan"]},
        },
    }
    print(json.dumps(result["times_as_fast"], indent=2))
    workshop.write("map-statistics.json", result)


main()
