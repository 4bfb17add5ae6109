#!/usr/bin/env python3
"""Checks and measures a prebuilt `cosmogan` on a machine with an NVIDIA GPU, which needs neither Rust nor a network.

    python3 benches/gpu-check.py --binary target/release/cosmogan --stages doctor,hopper,tiers
    python3 benches/gpu-check.py --device simt --preset tiny        # a rehearsal without a GPU
    python3 benches/gpu-check.py --summarise benches/results/gpu-check

Every run adds a line to results.jsonl in --out; --help lists the stages. docs/gpu-day.md is the checklist.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from gpu_check.main import main  # noqa: E402

if __name__ == "__main__":
    raise SystemExit(main())
