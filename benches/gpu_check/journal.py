"""results.jsonl, one line for each run, and the output of each run."""

import datetime
import json
import os
import pathlib
import re

# First and last lines of an output that are kept, and characters of a line.
KEPT_LINES, KEPT_CHARACTERS = 200, 1000


class Journal:
    """Appends to files in `folder`. With `one_log` all output goes to logs.txt, else each run has a file in logs/."""

    def __init__(self, folder, one_log):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self.folder / "results.jsonl"
        self.one_log = one_log
        # Numbers go on where an earlier call stopped.
        self.number = max((row.get("number", 0) for row in read(self.path)[0]), default=0)
        end_last_line(self.path)

    def add(self, stage, name, ended=None, **fields):
        """Writes the row of a run, or of something that was not run. Returns the row."""
        self.number += 1
        row = {"number": self.number, "stage": stage, "name": name, "started": now(), **fields}
        if ended is not None:
            row["log"] = self.keep_output(stage, name, row, ended)
        append(self.path, json.dumps(row, ensure_ascii=False, default=str) + "\n")
        return row

    def keep_output(self, stage, name, row, ended):
        plain = re.sub(r"[^A-Za-z0-9]+", "-", f"{stage}-{name}").strip("-")
        title = f"{self.number:03}-{plain}"
        text = f"==== {title}\n{' '.join(row.get('command') or [])}\n{row.get('error') or 'no error'}\n"
        for kind in ("stdout", "stderr"):
            text += f"---- {kind}\n{shortened(getattr(ended, kind))}\n"
        try:
            if self.one_log:
                append(self.folder / "logs.txt", text)
                return f"logs.txt: {title}"
            (self.folder / "logs").mkdir(exist_ok=True)
            append(self.folder / "logs" / f"{title}.txt", text)
            return f"logs/{title}.txt"
        except OSError as error:
            return f"not written: {error}"


def shortened(text):
    lines = [line[:KEPT_CHARACTERS] for line in text.splitlines()]
    left_out = len(lines) - 2 * KEPT_LINES
    if left_out > 0:
        lines[KEPT_LINES:-KEPT_LINES] = [f"[{left_out} lines left out]"]
    return "\n".join(lines)


def append(path, text):
    """On disk when this returns: the machine may be gone a moment later."""
    with open(path, "a", encoding="utf-8", errors="replace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def end_last_line(path):
    """Ends a line that an earlier call was killed in, so that the next row is a line of its own."""
    data = path.read_bytes() if path.exists() else b""
    if data and not data.endswith(b"\n"):
        append(path, "\n")


def read(path):
    """All rows of a file, and how many of its lines are broken."""
    rows, broken = [], 0
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return [], 0
    for line in filter(str.strip, lines):
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("not an object")
            rows.append(row)
        except ValueError:
            broken += 1
    return rows, broken


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
