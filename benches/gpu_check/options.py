"""The command line, and the sizes of all runs."""

import argparse
import os
import pathlib
import tempfile

from .plan import STAGES

PRECISIONS = ["f32", "tf32", "bf16"]

# Where a flag of that name is not given. The kernel executor (`simt`) is some thousand times slower than a GPU.
SIZES = {
    "cuda": {
        "preset": "paper",
        "batch": 64,
        "loss_steps": 5,
        "steps": 200,
        "cpu_steps": 3,
        "random": 50,
        "maps": 1024,
        "at_once": 256,
        "repeats": 10,
        "cap_scale": 1.0,
    },
    "simt": {
        "preset": "tiny",
        "batch": 2,
        "loss_steps": 2,
        "steps": 0,
        "cpu_steps": 2,
        "random": 1,
        "maps": 2,
        "at_once": 2,
        "repeats": 1,
        "cap_scale": 8.0,
    },
}
HELP = {
    "preset": "paper, small or tiny",
    "batch": "maps of a training step",
    "loss_steps": "steps whose losses are compared with the CPU's",
    "steps": "steps that are timed; 0 for no timing",
    "cpu_steps": "steps on the CPU",
    "random": "random cases of each operator",
    "maps": "maps to generate",
    "at_once": "maps of a batch of the generator",
    "repeats": "passes that profile times",
    "cap_scale": "factor for the time limits of all runs",
}
# Pixels and degrees of a side.
MAPS = {"paper": (256, 0.866), "small": (128, 0.433), "tiny": (64, 0.2165)}


def stages(text):
    chosen = text.split(",")
    if unknown := [name for name in chosen if name not in STAGES]:
        raise argparse.ArgumentTypeError(f"no stage {', '.join(unknown)}; there are {', '.join(STAGES)}")
    return chosen


def parser():
    out = os.environ.get("OUT")
    parser = argparse.ArgumentParser(
        description="Check and measure a prebuilt cosmogan on a machine with a GPU; see docs/gpu-day.md"
    )
    parser.add_argument("--binary", default="target/release/cosmogan")
    parser.add_argument("--golden", default="oracle/golden")
    parser.add_argument("--out", default=os.path.join(out, "gpu-check") if out else "benches/results/gpu-check")
    parser.add_argument("--work", help="folder for maps, weights and caches [default: OUT/work, outside of $OUT]")
    parser.add_argument("--stages", default=list(STAGES), type=stages, help=f"default: {','.join(STAGES)}")
    parser.add_argument("--budget", default=540, type=float, help="seconds for all stages [default: 540]")
    parser.add_argument("--longest", default=300, type=float, help="seconds that no run may exceed [default: 300]")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precisions", default=PRECISIONS, type=lambda text: text.split(","))
    parser.add_argument("--python", default="python3", help="the Python that has PyTorch")
    parser.add_argument("--variants", help="PyTorch variants, separated by commas [default: all]")
    parser.add_argument("--commit", help="the commit of the binary [default: git's, if there is git]")
    parser.add_argument("--summarise", metavar="DIR", help="only make DIR/summary.json from DIR/**/results.jsonl")
    for name, value in SIZES["cuda"].items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), help=HELP[name])
    return parser


def parse(arguments=None):
    options = parser().parse_args(arguments)
    sizes = SIZES["simt" if options.device.startswith("simt") else "cuda"]
    for name, value in sizes.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.preset not in MAPS:
        parser().error(f"--preset: {options.preset}; there are {', '.join(MAPS)}")
    options.out = pathlib.Path(options.out).resolve()
    # Few files come back from $OUT on the lent machine, and none in deep folders: see docs/gpu-day.md.
    options.comes_back = bool(os.environ.get("OUT")) and options.out.is_relative_to(
        pathlib.Path(os.environ["OUT"]).resolve()
    )
    if options.work:
        options.work = pathlib.Path(options.work).resolve()
    elif options.comes_back:
        options.work = pathlib.Path(tempfile.gettempdir()) / "gpu-check-work"
    else:
        options.work = options.out / "work"
    options.binary = pathlib.Path(options.binary).resolve()
    return options
