"""State that all stages share: how programs are run, and the files that one stage needs from another."""

import json
import re
import shutil
import time

from . import journal, process
from .options import MAPS
from .plan import CAPS, DEFAULT_CAP

CASE = re.compile(r"^(conv2d|conv_transpose2d|linear) .*seed=\d+$")
# Cases in a row that may time out before the others of their group are left out.
MOST_TIMEOUTS = 3
SYNC = {"COSMOGAN_SYNC": "1"}


class StageFailed(Exception):
    """Something that the rest of the stage needs is missing."""


class OutOfBudget(Exception):
    """The time of this call is over."""


class Check:
    def __init__(self, options, log):
        self.options, self.log, self.work = options, log, options.work
        self.work.mkdir(parents=True, exist_ok=True)
        self.deadline = time.monotonic() + options.budget
        self.lists = {}

    def left(self):
        return self.deadline - time.monotonic()

    def run(self, stage, name, command, *, program=None, prefix=(), cap=None, environment=None, **reading):
        """Runs `program`, by default cosmogan, and writes its row. `reading` is for `outcome`. Returns the row."""
        cap = min((cap or CAPS.get(stage, DEFAULT_CAP)) * self.options.cap_scale, self.options.longest)
        left = self.left()
        if left < 1:
            raise OutOfBudget
        whole = [str(part) for part in [*prefix, *(program or [self.options.binary]), *command]]
        fields = {"started": journal.now(), "command": whole, "environment": environment or {}, "cap": cap}
        # A run that the budget cut short did not hang.
        fields["cut_by_budget"] = left < cap
        if file := reading.get("file"):
            file.unlink(missing_ok=True)
        print(f"{stage:<9} {name} ...", end=" ", flush=True)
        everywhere = {"COSMOGAN_CACHE": str(self.work / "cache")}
        try:
            ended = process.run(whole, min(cap, left), self.work, {**everywhere, **(environment or {})})
        except BaseException as error:
            stopped = f"gpu-check was stopped: {type(error).__name__}: {error}"
            self.log.add(stage, name, **fields, error=stopped, passed=False)
            raise
        result, error, passed = outcome(ended, **reading)
        print(f"{ended.seconds:.1f} s, {'passed' if passed else error}", flush=True)
        for field in ("status", "signal", "timed_out", "seconds"):
            fields[field] = getattr(ended, field)
        return self.log.add(stage, name, ended, **fields, result=result, error=error, passed=passed)

    def judged(self, stage, name, result, error):
        """Writes the row of a comparison."""
        print(f"{stage:<9} {name}: {error or 'passed'}", flush=True)
        return self.log.add(stage, name, result=result, error=error, passed=error is None)

    def skip(self, stage, name, reason):
        print(f"{stage:<9} {name}: skipped: {reason}", flush=True)
        return self.log.add(stage, name, skipped=reason, passed=None)

    def device(self, precision):
        flags = ["--device", self.options.device]
        return flags if precision == "f32" else [*flags, "--precision", precision]

    def on_gpu(self):
        return self.options.device.startswith("cuda")

    def fast_precisions(self):
        """Precisions of Hopper kernels, bf16 first."""
        return [precision for precision in ("bf16", "tf32") if precision in self.options.precisions]

    # ---- Verification.

    def verify(self, stage, name, flags, read=None, **how):
        file = self.work / "verify.json"
        return self.run(stage, name, ["verify", *flags, "--json", file], file=file, read=read or checks, **how)

    def cases(self, stage, chosen):
        """The case lines of a list inside the program."""
        if chosen not in self.lists:
            row = self.run(stage, f"list-{chosen}", ["verify", "--set", chosen, "--list"], read=case_lines)
            if not row["passed"]:
                raise StageFailed(f"no list of the {chosen} cases")
            self.lists[chosen] = row["result"]
        return self.lists[chosen]

    def alone(self, stage, name, flags, lines, environments, **how):
        """Each case in a process of its own: in the first environment and, while it fails, in the next ones."""
        timeouts = 0
        for at, line in enumerate(lines):
            for environment in environments:
                suffix = "-sync" if environment == SYNC else ""
                row = self.verify(
                    *(stage, f"{name}{suffix} {line}", [*flags, "--case", line]), environment=environment, **how
                )
                if row["passed"]:
                    break
            timeouts = timeouts + 1 if row["timed_out"] else 0
            if timeouts == MOST_TIMEOUTS and at + 1 < len(lines):
                self.skip(stage, name, f"{timeouts} cases in a row timed out; left out: {'; '.join(lines[at + 1 :])}")
                return

    def together(self, stage, name, flags, chosen, environment, **how):
        """All cases of a list in one process; if it fails, each that did not pass alone."""
        lines = self.cases(stage, chosen)
        row = self.verify(stage, name, [*flags, "--set", chosen], **how)
        if not row["passed"]:
            passed = (row["result"] or {}).get("passed", [])
            rest = [line for line in lines if not any(subject.startswith(line) for subject in passed)]
            self.alone(stage, name, flags, rest, [environment], **how)
        return row

    # ---- Files that are found in the work folder, or made.

    def maps(self, stage, count):
        preset = self.options.preset
        path = self.work / f"maps-{preset}-{count}.npy"
        if not path.exists():
            pixels, side = MAPS[preset]
            part = path.with_name("part.npy")
            command = ["simulate", "--maps", count, "--pixels", pixels, "--side-degrees", side, "--seed", 1]
            if not self.run(stage, f"make-maps-{count}", [*command, "--out", part])["passed"]:
                raise StageFailed("no training maps")
            part.replace(path)
        return path

    def networks(self, stage):
        """The folder of both networks after a small step on the CPU, so that no fault of the GPU is in them."""
        folder = self.work / f"networks-{self.options.preset}"
        if not folder.exists():
            part = self.work / "networks.part"
            shutil.rmtree(part, ignore_errors=True)
            command = ["train", "--data", self.maps(stage, 8), "--out", part, "--preset", self.options.preset]
            command += ["--batch", 2, "--steps", 1, "--seed", 1, "--device", "cpu"]
            if not self.run(stage, "make-networks", command)["passed"]:
                raise StageFailed("no networks")
            part.replace(folder)
        return folder

    def profile(self, stage, subject, precision, again=False):
        """The profile of a subject as JSON; None if there is none."""
        options = self.options
        batch = options.batch if subject == "step" else options.at_once
        kept = self.work / f"profile-{subject}-{precision}-{options.preset}-{batch}.json"
        if again or not kept.exists():
            kept.unlink(missing_ok=True)
            part = self.work / "profile.part.json"
            # Operators are checked by the stage `verify`: at this batch the oracle would take minutes.
            command = ["profile", subject, *self.device(precision), "--preset", options.preset, "--batch", batch]
            command += ["--repeats", options.repeats, "--no-verify", "--json", part]
            if not self.run(stage, f"{subject}-{precision}", command, file=part, read=profiled)["passed"]:
                return None
            part.replace(kept)
        return json.loads(kept.read_text())


def outcome(ended, file=None, read=None, optional=False):
    """Result, error and verdict of a run. `read` returns the first two, and is asked about a run that failed, too."""
    result, error = None, ended.error
    if read:
        try:
            result, problem = read(ended, file)
            error = "; ".join(filter(None, [error, problem])) or None
        except Exception as failure:  # Whatever a broken program wrote.
            error = error or f"no usable result: {type(failure).__name__}: {failure}"
    return result, error, None if error and optional else error is None


def checks(_ended, file):
    """The table that `cosmogan verify` wrote."""
    data = json.loads(file.read_text())
    failed = [check for check in data["checks"] if not check["passed"]]
    passed = [check for check in data["checks"] if check["passed"]]
    worst = sorted(passed, key=lambda check: (check["error"] or 0) / (check["limit"] or 1), reverse=True)[:10]
    result = {key: data.get(key) for key in ("version", "device", "complete")}
    result |= {"count": len(data["checks"]), "failed": failed, "worst": worst}
    result["passed"] = [check["subject"] for check in passed]
    if failed:
        first = failed[0]
        return result, f"{len(failed)} checks failed: {first['subject']}: {first.get('failure') or first['detail']}"
    if not (data["passed"] and data["complete"] and passed):
        return result, "not all checks were made"
    return result, None


def case_lines(ended, _file):
    lines = [line for line in ended.stdout.splitlines() if CASE.match(line)]
    return lines, None if lines else "no case lines in the output"


def profiled(_ended, file):
    data = json.loads(file.read_text())
    if not data["rows"]:
        raise ValueError("a profile without rows")
    return data, None
