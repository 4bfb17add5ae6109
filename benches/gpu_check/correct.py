"""Stages that check results."""

import re
import shutil

from .check import SYNC, checks

# initcheck is left out: it does not see what TMA and wgmma write.
TOOLS = ["memcheck", "racecheck", "synccheck"]


def doctor(check):
    check.run("doctor", "doctor", ["doctor"], read=lambda ended, _: (ended.stdout.splitlines(), None))
    query = "name,driver_version,compute_cap,memory.total,clocks.sm,clocks.max.sm,power.limit"
    found = lambda ended, _: (dict(zip(query.split(","), map(str.strip, ended.stdout.split(",")))), None)  # noqa: E731
    smi = [f"--query-gpu={query}", "--format=csv,noheader"]
    check.run("doctor", "nvidia-smi", smi, program=["nvidia-smi"], read=found, optional=True)


def hopper(check):
    """Each case alone, and once more with COSMOGAN_SYNC=1 if it fails, so that the message names the kernel."""
    lines = check.cases("hopper", "hopper")
    for precision in check.fast_precisions():
        check.alone("hopper", precision, check.device(precision), lines, [{}, SYNC])


def tiers(check):
    """The same cases on kernels without TMA and wgmma, and cases at the edges of tiles."""
    groups = [("hopper", precision, "tiled") for precision in reversed(check.options.precisions)]
    groups += [("hopper", "f32", "plain")] if "f32" in check.options.precisions else []
    groups += [("edges", precision, "auto") for precision in check.options.precisions]
    for chosen, precision, tier in groups:
        flags = [*check.device(precision), "--tier", tier]
        check.together("tiers", f"{chosen}-{precision}-{tier}", flags, chosen, SYNC)


def sanitize(check):
    if not shutil.which("compute-sanitizer"):
        check.skip("sanitize", "compute-sanitizer", "not on the path")
        return
    probe = [*check.device("f32"), "--case", check.cases("sanitize", "edges")[-1]]
    row = check.verify("sanitize", "probe", probe, prefix=sanitizer("memcheck"), read=sanitized)
    if (row["result"] or {}).get("unsupported"):
        check.skip("sanitize", "all others", "compute-sanitizer does not support this machine")
        return
    groups = [("hopper", precision) for precision in check.fast_precisions()]
    groups += [("edges", precision) for precision in check.options.precisions]
    for tool in TOOLS:
        for chosen, precision in groups:
            name = f"{tool}-{chosen}-{precision}"
            how = {"prefix": sanitizer(tool), "read": sanitized}
            check.together("sanitize", name, check.device(precision), chosen, {}, **how)


def sanitizer(tool):
    return ["compute-sanitizer", "--tool", tool, "--error-exitcode", "99"]


def sanitized(ended, file):
    """The tool's summary and, where the program got so far, its table."""
    text = ended.stdout + ended.stderr
    result = {"summary": [line for line in text.splitlines() if "SUMMARY" in line]}
    result["unsupported"] = "Device not supported" in text
    found = re.findall(r"SUMMARY: (\d+)", "\n".join(result["summary"]))
    problem = f"{' '.join(result['summary'])}" if any(map(int, found)) else None
    if not found:
        problem = "no summary of compute-sanitizer"
    try:
        table, failure = checks(ended, file)
    except (OSError, ValueError, KeyError, TypeError) as error:
        table, failure = {}, f"no table of checks: {error}"
    return result | table, problem or failure


def verify(check):
    """All operators at the shapes of the model, and random ones, in processes of 16 cases each."""
    options = check.options
    for precision in options.precisions:
        flags = [*check.device(precision), "--preset", options.preset, "--batch", 2, "--random", options.random]
        limit = max(round(60 * options.cap_scale), 1)
        check.verify("verify", precision, [*flags, "--isolate", 16, "--time-limit", limit])


def golden(check):
    check.verify("golden", "f32", [*check.device("f32"), "--reference", check.options.golden])
