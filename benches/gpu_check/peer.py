"""Comparison with PyTorch: device events against device events, with the copy to the host or without on both sides."""

import json
import pathlib

SCRIPT = pathlib.Path(__file__).resolve().parent.parent / "peers" / "torch_gpu.py"
# Largest difference from PyTorch's maps in f32, in standard deviations, at which the networks are the same.
SAME_MAPS = 1e-4
KINDS = ("without_copy", "with_copy")


def peer(check):
    options = check.options
    python = [options.python]
    version = ["-c", "import numpy, torch; print(torch.__version__)"]
    read = lambda ended, _: (ended.stdout.strip(), None)  # noqa: E731
    if not check.run("peer", "has-pytorch", version, program=python, read=read, optional=True)["passed"]:
        check.skip("peer", "all others", f"{options.python} has no PyTorch, or no NumPy")
        return
    folder = check.networks("peer")
    weights = folder / "generator.safetensors"
    networks = [SCRIPT, "--generator", weights, "--discriminator", folder / "discriminator.safetensors"]
    latents, ours, out = (check.work / name for name in ("latents.npy", "ours.npy", "peer.jsonl"))
    for path in (latents, ours, out):
        path.unlink(missing_ok=True)
    draw = [*networks, "--latents", latents, "--maps", min(8, options.maps)]
    command = ["generate", "--weights", weights, "--latents", latents, "--out", ours, *check.device("f32")]
    made = check.run("peer", "latents", draw, program=python)["passed"] and check.run("peer", "ours", command)["passed"]

    contest = [*networks, "--device", "cuda" if check.on_gpu() else "cpu", "--maps", options.maps, "--out", out]
    contest += ["--generated-at-once", options.at_once, "--batch", options.batch]
    contest += ["--ours", ours] if made else []
    contest += ["--variants", options.variants] if options.variants else []
    # Time for the variant that is being compiled when the budget ends.
    contest += ["--budget", round(0.7 * min(check.left(), 240 * options.cap_scale), 1)]
    rows = check.run("peer", "pytorch", contest, program=python, file=out, read=variants)["result"] or []
    for subject, of_torch in (("generator", "generation"), ("step", "training")):
        for precision in options.precisions:
            profile = check.profile("peer", subject, precision)
            if profile:
                theirs = [row for row in rows if row["contest"] == of_torch and "seconds" in row]
                result = ratios(profile, theirs)
                lacks = check.on_gpu() and subject == "generator" and not result["without_copy"]
                error = "no device times on our side" if lacks else None
                check.judged("peer", f"{subject}-{precision}", result, error)
    if made:
        same_maps(check, rows)


def variants(_ended, file):
    """Rows of torch_gpu.py. Each is written as its variant ends, so those before a timeout are there."""
    rows = []
    for line in file.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue  # The line that it was stopped in.
    failures = [row["variant"] for row in rows if row.get("failed")]
    for contest in ("generation", "training"):
        if not any("seconds" in row for row in rows if row["contest"] == contest):
            return rows, f"no variant was timed in {contest}"
    return rows, f"failed variants: {', '.join(failures)}" if failures else None


def ratios(profile, theirs):
    """Our seconds of a map, or of a map in a step, and how many of them each variant of PyTorch takes."""
    ours = profile.get("device_seconds") or {}
    result = {"recorded": profile.get("recorded"), "host_clock_seconds": profile["seconds"], "batch": profile["batch"]}
    for kind in KINDS:
        if not ours.get(kind):
            result[kind] = None  # The device has no events, or the subject has no such time.
            continue
        per_map = ours[kind] / profile["batch"]
        found = {
            row["variant"]: row["seconds"][kind]["median"] / row["maps"] / per_map
            for row in theirs
            if (row["seconds"].get(kind) or {}).get("median")
        }
        result[kind] = {"our_seconds_per_map": per_map, "times_as_fast_as": found}
    return result


def same_maps(check, rows):
    found = [row for row in rows if row["variant"] == "eager f32" and row["contest"] == "generation"]
    difference = found[0].get("difference_from_ours") if found else None
    # Written so that NaN differs, too.
    same = difference is not None and difference <= SAME_MAPS
    error = None if same else f"maps differ from PyTorch's by {difference} standard deviations"
    check.judged("peer", "maps beside PyTorch's", {"difference": difference, "limit": SAME_MAPS}, error)
