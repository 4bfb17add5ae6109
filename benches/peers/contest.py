"""Shared code of the comparisons: preparing contestants, interleaving their runs, medians and tables."""

import pathlib
import statistics
import subprocess
import sys
import time

import workshop

# Pause between contestants, in which the spinning threads of the last one go to sleep.
PAUSE_SECONDS = 0.1


def complain(text):
    print(f"!!! {text}", file=sys.stderr, flush=True)


def installed_bytes(python):
    """Size on disk of an environment's packages, without pip and setuptools."""
    total = 0
    for folder in pathlib.Path(python).parent.parent.glob("lib/python*/site-packages"):
        for path in folder.rglob("*"):
            package = path.relative_to(folder).parts[0]
            if path.is_file() and not package.startswith(("pip", "setuptools", "pkg_resources", "_distutils_hack")):
                total += path.lstat().st_size
    return total


def installed(name, peer):
    """Installs or builds a peer; returns the command that starts it and its size on disk."""
    if "project" in peer:
        binary = workshop.build_project(f"{name}-generator", workshop.CONTESTANTS / peer["project"])
        return {"command": [binary], "installed_bytes": binary.stat().st_size}
    python = workshop.environment(peer["environment"], peer["steps"])
    command = [python, "-B", workshop.CONTESTANTS / peer["file"]]
    return {"command": command, "installed_bytes": installed_bytes(python)}


def able(peers, names, ours, binary, failures):
    """All contestants that can be prepared, by name, the peers first and `ours` last; adds the others to `failures`."""
    found = {}
    for name in names:
        try:
            common = installed(name, peers[name])
        except (SystemExit, subprocess.CalledProcessError, OSError) as reason:
            failures[name] = str(reason)
            complain(f"{name}: {reason}")
            continue
        for variant, more in peers[name]["variants"].items():
            found[f"{name} {variant}"] = {"variant": variant, **common, **more}
    try:
        built = workshop.build("cosmogan-benches", binary)[0]
        found[ours] = {"command": [built], "kind": "f32", "installed_bytes": built.stat().st_size}
    except (subprocess.CalledProcessError, OSError) as reason:
        failures[ours] = f"the binary `{binary}` of cosmogan-benches cannot be built: {reason}"
        complain(f"OUR PROGRAM IS NOT MEASURED: {failures[ours]}")
    return found


def in_turns(names, turns):
    """Yields each name once per turn, with pauses in between; each turn starts with another name."""
    names = list(names)
    for turn in range(turns):
        shift = turn * len(names) // turns
        for name in names[shift:] + names[:shift]:
            yield name
            time.sleep(PAUSE_SECONDS)


def summary(values):
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def fastest_peer(results, rates, kind, ours):
    """The peer of a kind with the highest median rate, if there is one."""
    peers = [name for name, result in results.items() if result["kind"] == kind and name != ours]
    return max(peers, key=lambda name: statistics.median(rates[name]), default=None)


def markdown(rows):
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def versions(peers, names, contestants):
    """The installed packages, and the versions that contestants report."""
    return {
        "python": sys.version.split()[0],
        **{peer.get("environment", name): peer.get("steps", []) for name, peer in peers.items() if name in names},
        **{name: contestant["version"] for name, contestant in contestants.items() if "version" in contestant},
    }
