"""summary.json and the printed table, from results.jsonl alone."""

import json
import os
import pathlib

from . import journal


def collected(folder):
    """All rows under a folder, and how many lines are broken."""
    rows, broken = [], 0
    for path in sorted(pathlib.Path(folder).rglob("results.jsonl")):
        found, more = journal.read(path)
        rows += found
        broken += more
    return rows, broken


def summarise(folder):
    """Writes summary.json, and returns it."""
    rows, broken = collected(folder)
    stages, failures, skipped, figures = {}, [], [], {}
    for row in rows:
        stage, name = str(row.get("stage")), str(row.get("name"))
        entry = stages.setdefault(stage, {"passed": 0, "failed": 0, "skipped": 0, "seconds": 0.0})
        seconds = row.get("seconds")
        entry["seconds"] += seconds if isinstance(seconds, (int, float)) else 0.0
        if row.get("skipped"):
            entry["skipped"] += 1
            skipped.append(f"{stage} {name}: {row['skipped']}")
        elif row.get("passed") is not None:
            entry["passed" if row["passed"] is True else "failed"] += 1
            if row["passed"] is not True:
                failures.append(f"{stage} {name}: {row.get('error')}")
        try:
            if figure := figure_of(stage, row):
                figures[f"{stage} {name}"] = figure
        except Exception as error:  # A row of another form must not cost the summary.
            figures[f"{stage} {name}"] = {"unreadable": f"{type(error).__name__}: {error}"}
    start = next((row for row in rows if row.get("stage") == "start"), {})
    summary = {
        "commit": start.get("commit"),
        "machine": start.get("machine"),
        "rows": len(rows),
        "broken_lines": broken,
        "stages": stages,
        "failures": failures,
        "skipped": skipped,
        "figures": figures,
    }
    path = pathlib.Path(folder) / "summary.json"
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return summary


def figure_of(stage, row):
    """The figures of a row that the summary repeats."""
    result = row.get("result")
    if not result:
        return None
    if stage == "train":
        kept = ("milliseconds_per_step", "relative_differences", "recorded")
        return {key: result[key] for key in kept if key in result}
    if stage == "generate":
        return {"seconds": row["seconds"]}
    if stage == "peer" and "host_clock_seconds" in result:
        return result
    if "rows" in result:
        kept = ("seconds", "device_seconds", "recorded", "batch", "floor_seconds", "hopper_lack")
        return {key: result.get(key) for key in kept} | {"spills": spills(result["rows"])}
    if stage == "ncu":
        return {"milliseconds": result["milliseconds"]}
    return None


def spills(rows):
    found = {}
    for row in rows:
        kernel = row.get("kernel") or {}
        spilled = (kernel.get("resources") or {}).get("spill_bytes")
        if spilled:
            found[f"{kernel.get('name')} {kernel.get('specialisation')}"] = spilled
    return found


def table(summary):
    lines = [f"{'stage':<10}{'passed':>7}{'failed':>7}{'skipped':>8}{'seconds':>9}"]
    for stage, entry in summary["stages"].items():
        counts = f"{entry['passed']:>7}{entry['failed']:>7}{entry['skipped']:>8}"
        lines.append(f"{stage:<10}{counts}{entry['seconds']:>9.1f}")
    for name, figure in summary["figures"].items():
        lines.append(f"{name}: {json.dumps(figure, ensure_ascii=False)[:300]}")
    lines += [f"skipped {line[:300]}" for line in summary["skipped"]]
    lines += [f"FAILED {line[:300]}" for line in summary["failures"]]
    if summary["broken_lines"]:
        lines.append(f"{summary['broken_lines']} broken lines of results.jsonl were left out")
    return "\n".join(lines)
