"""What every contestant's process does: one map or batch at once, then rounds on request, one JSON line for each.

Its arguments name the variant, threads, batch, and files; its cores and thread variables are set before it starts.
"""

import argparse
import json
import os
import pathlib
import sys
import time


def peak_bytes():
    """Most memory this process ever held; what getrusage tells would include the process that started this one."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the system does not tell the peak of resident memory")


def serve(prepare):
    """Answers for `prepare(arguments)`, which returns the framework's version and a function.

    The function takes latents (B, z) in f32 and returns maps (B, S, S) in f32, both as NumPy arrays.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--variant", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    for file in ("weights", "onnx", "latents", "maps"):
        parser.add_argument(f"--{file}", required=True)
    arguments = parser.parse_args()

    # Frameworks may print; our answers go where standard output went, and theirs to standard error.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    import numpy as np

    version, generate = prepare(arguments)
    latents = np.load(arguments.latents)[: arguments.batch]
    maps = generate(latents)
    ready = time.monotonic()
    np.save(arguments.maps, np.asarray(maps, np.float32).reshape(len(latents), *maps.shape[-2:]))
    print(json.dumps({"ready": ready, "version": version}), file=answers)
    for line in sys.stdin:
        seconds = []
        for _ in range(json.loads(line)["rounds"]):
            started = time.perf_counter()
            generate(latents)
            seconds.append(time.perf_counter() - started)
        print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes()}), file=answers)
