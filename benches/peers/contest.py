"""What contests share: who can take part, taking turns, and results as medians and tables."""

import pathlib
import statistics
import subprocess
import sys
import time

import workshop

# So that threads of the last contestant, which spin for a while, have gone to sleep.
PAUSE_SECONDS = 0.1


def complain(text):
    print(f"!!! {text}", file=sys.stderr, flush=True)


def installed_bytes(python):
    """What the packages of an environment take on disk, but for those that install packages."""
    total = 0
    for folder in pathlib.Path(python).parent.parent.glob("lib/python*/site-packages"):
        for path in folder.rglob("*"):
            package = path.relative_to(folder).parts[0]
            if path.is_file() and not package.startswith(("pip", "setuptools", "pkg_resources", "_distutils_hack")):
                total += path.lstat().st_size
    return total


def installed(name, peer):
    """How a peer's process is started, and what it takes on disk: a Python program, or one that is built here."""
    if "project" in peer:
        binary = workshop.build_project(f"{name}-generator", workshop.CONTESTANTS / peer["project"])
        return {"command": [binary], "installed_bytes": binary.stat().st_size}
    python = workshop.environment(peer["environment"], peer["steps"])
    command = [python, "-B", workshop.CONTESTANTS / peer["file"]]
    return {"command": command, "installed_bytes": installed_bytes(python)}


def able(peers, names, ours, binary, failures):
    """All that can take part, by name, the peers first and `ours` last; what cannot goes into `failures`."""
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
        complain(f"OUR PROGRAM DOES NOT TAKE PART: {failures[ours]}")
    return found


def in_turns(names, turns):
    """Everyone's name in each turn; each turn begins with another, and pauses lie between."""
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
    """What was installed, and what it calls itself."""
    return {
        "python": sys.version.split()[0],
        **{peer.get("environment", name): peer.get("steps", []) for name, peer in peers.items() if name in names},
        **{name: contestant["version"] for name, contestant in contestants.items() if "version" in contestant},
    }
