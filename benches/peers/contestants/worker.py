"""The main loop of every contestant in Python: generates one batch, then runs rounds on request.

It answers each request with a line of JSON. Its arguments name the variant, threads, batch and files; its cores and
thread variables are set before it starts.
"""

import argparse
import json
import os
import pathlib
import sys
import time


def peak_bytes():
    """Peak resident memory of this process; getrusage would include the parent process."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the system does not report the peak of resident memory")


def separated_answers():
    """Returns the original standard output, for answers, and redirects all other output to standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return answers


def answer_rounds(answers, work):
    """Answers each request with a line: the result of `work(rounds)`, and the peak of memory."""
    for line in sys.stdin:
        said = work(json.loads(line)["rounds"])
        print(json.dumps({**said, "peak_bytes": peak_bytes()}), file=answers)


def serve(prepare):
    """Serves requests with the result of `prepare(arguments)`: the framework's version and a function.

    The function takes latents (B, z) in f32 and returns maps (B, S, S) in f32, both as NumPy arrays.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--variant", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    for file in ("weights", "folded", "onnx", "latents", "maps"):
        parser.add_argument(f"--{file}", required=True)
    arguments = parser.parse_args()

    answers = separated_answers()

    import numpy as np

    version, generate = prepare(arguments)
    latents = np.load(arguments.latents)[: arguments.batch]
    maps = generate(latents)
    print(json.dumps({"version": version}), file=answers)
    np.save(arguments.maps, np.asarray(maps, np.float32).reshape(len(latents), *maps.shape[-2:]))
    print(json.dumps({"written": arguments.maps}), file=answers)

    def work(rounds):
        seconds = []
        for _ in range(rounds):
            started = time.perf_counter()
            generate(latents)
            seconds.append(time.perf_counter() - started)
        return {"seconds": seconds}

    answer_rounds(answers, work)
