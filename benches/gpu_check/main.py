"""All stages, one after the other; a stage that fails costs itself alone."""

import os
import platform
import shutil
import signal
import subprocess
import sys

from . import correct, measure, options, peer, plan, summary
from .check import Check, OutOfBudget
from .journal import Journal

RUN = {
    **{name: getattr(correct, name) for name in ("doctor", "hopper", "tiers", "sanitize", "verify", "golden")},
    **{name: getattr(measure, name) for name in ("train", "generate", "profile", "ncu", "tune")},
    "peer": peer.peer,
}


def main(arguments=None):
    chosen = options.parse(arguments)
    if chosen.summarise:
        made = summary.summarise(chosen.summarise)
        print(summary.table(made))
        return 1 if made["failures"] else 0
    # So that the run in progress is ended and has its row when somebody else's time limit is over.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    log = Journal(chosen.out, one_log=chosen.comes_back)
    check = Check(chosen, log)
    log.add("start", "arguments", commit=commit(chosen), arguments=vars(chosen), machine=machine(), passed=None)
    try:
        run_stages(check)
    finally:
        made = summary.summarise(chosen.out)
        print(summary.table(made))
        print(f"{chosen.out}: {made['rows']} rows, {len(made['failures'])} failures", flush=True)
    return 1 if made["failures"] else 0


def run_stages(check):
    stages = check.options.stages
    print(plan.table(stages, check.options))
    # The first stage runs whatever its estimate says; a run of it is stopped when the budget is over.
    rest = keep(check, stages, at_least=1)
    while rest:
        stage, *rest = rest
        try:
            RUN[stage](check)
        except OutOfBudget:
            check.skip(stage, "rest", "dropped: the budget is spent")
        except Exception as error:
            check.judged(stage, "stage", None, f"{type(error).__name__}: {error}")
        rest = keep(check, rest)


def keep(check, stages, at_least=0):
    """The stages that still fit; the others get a row."""
    kept, dropped = plan.fitting(stages, check.options, check.left(), at_least)
    for stage in dropped:
        seconds = plan.estimate(stage, check.options)
        check.skip(stage, "stage", f"dropped: about {seconds:.0f} s, {check.left():.0f} s left for all stages")
    return kept


def commit(chosen):
    """The commit of the working tree, unless it is given; a machine may have neither tree nor git."""
    if chosen.commit:
        return chosen.commit
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        return done.stdout.strip() or "unknown"
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def machine():
    tools = {tool: shutil.which(tool) for tool in ("nvidia-smi", "compute-sanitizer", "ncu", "nvdisasm")}
    found = {"kernel": platform.release(), "machine": platform.machine(), "python": platform.python_version()}
    found["nvrtc"] = os.environ.get("COSMOGAN_NVRTC")
    return found | {"cores": os.cpu_count(), "tools": tools}
