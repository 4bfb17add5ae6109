"""A stand-in for cosmogan, compute-sanitizer, ncu, nvidia-smi and PyTorch, for the tests.

It is called by one of these names. FAKE_VERIFY, FAKE_TRAIN and so on choose how a subcommand misbehaves: `sleep`,
`stubborn` (ignores SIGTERM), `signal`, `exit1`, `garbage`, `nothing` (writes no file), `half` (writes half a file),
`types` (JSON of another form), `child` (leaves a process that holds its outputs open), `session` (leaves one in a
session of its own), `wrong` (a check fails, losses differ).
"""

# Only modules that load fast: the tests start it a thousand times.
import os
import sys

# FAKE_SHORT leaves one case in each list.
SHORT = bool(os.environ.get("FAKE_SHORT"))
HOPPER = ["conv2d n=2 h=16 w=16 c=64 k=128 seed=21", "linear rows=300 inputs=129 outputs=264 seed=26"]
EDGES = ["conv2d n=1 h=31 w=27 c=37 k=70 seed=1", "linear rows=5 inputs=3001 outputs=1 seed=8"]


def flag(name, otherwise=None):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else otherwise


def misbehave(kind):
    """What has to happen before anything is written. Returns how to write."""
    mode = os.environ.get(f"FAKE_{kind.upper()}", "")
    only = os.environ.get("FAKE_ONLY")
    if only and only not in " ".join(sys.argv):
        return ""
    if mode in ("sleep", "stubborn"):
        import signal
        import time

        if mode == "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(300)
    if mode == "signal":
        os.kill(os.getpid(), 11)
    if mode == "exit1":
        sys.exit("cosmogan: error 700; say why")
    if mode == "garbage":
        sys.stdout.buffer.write(b"\xff\x00 garbage \n" * 1000)
        sys.exit(0)
    if mode in ("child", "session"):
        if os.fork() == 0:
            if mode == "session":
                os.setsid()
            os.execvp("sleep", ["sleep", "300"])
    return mode


def write(path, text, mode):
    if mode != "nothing":
        with open(path, "w") as file:
            file.write(text[: len(text) // 2] if mode == "half" else text)


def dumps(data):
    """JSON of data without characters that need escaping."""
    return repr(data).replace("'", '"').replace("True", "true").replace("False", "false").replace("None", "null")


def document(path, data, mode):
    write(path, dumps(["something else"] if mode == "types" else data), mode)


def verify():
    lists = {"hopper": HOPPER[SHORT:], "edges": EDGES[SHORT:]}
    if "--list" in sys.argv:
        misbehave("list")
        print("\n".join(lists[flag("--set")]))
        return
    mode = misbehave("verify")
    lines = [flag("--case")] if "--case" in sys.argv else lists.get(flag("--set"), HOPPER + EDGES)
    rows = [{"subject": line, "detail": "y[0]", "error": 0.5, "limit": 1.0, "passed": True} for line in lines]
    if mode == "wrong":
        rows[-1] |= {"error": None, "passed": False, "failure": "CUDA error 700 in conv_dgrad_hopper"}
    passed = mode != "wrong"
    data = {"version": "0", "device": "fake", "passed": passed, "complete": True, "checks": rows}
    document(flag("--json"), data, mode)
    if not passed:
        sys.exit("cosmogan: 1 check failed; see the table")


def train():
    mode = "" if flag("--device") == "cpu" else misbehave("train")
    out = flag("--out")
    os.mkdir(out)
    steps, every = int(flag("--steps")), int(flag("--log-every", "1"))
    loss = 0.5 if mode != "wrong" or flag("--graphs") == "on" else 0.6
    row = {"d_loss_real": loss, "d_loss_fake": loss, "g_loss": loss, "maps_per_second": 100.0, "recorded": True}
    lines = [{"step": step, **row} for step in range(every, steps + 1, every)]
    lines = ["[]"] * len(lines) if mode == "types" else map(dumps, lines)
    write(f"{out}/log.jsonl", "\n".join(lines) + "\n", mode)
    for name in ("generator", "discriminator"):
        write(f"{out}/{name}.safetensors", "weights", "")


def generate():
    mode = misbehave("generate")
    count = int(flag("--count", "8"))
    write(flag("--out"), "x" * (4 * count * 64**2 + 128), mode)


def profile():
    mode = misbehave("profile")
    kernel = {"name": "k", "specialisation": "bf16", "resources": {"spill_bytes": 8}}
    data = {"rows": [{"kernel": kernel}], "seconds": 0.004, "batch": int(flag("--batch")), "recorded": True}
    data["device_seconds"] = {"without_copy": 0.002, "with_copy": None}
    document(flag("--json"), data, mode)


def tune():
    mode = misbehave("tune")
    cache = os.environ["COSMOGAN_CACHE"]
    os.makedirs(cache, exist_ok=True)
    write(f"{cache}/tuning-fake-sm_90.json", dumps({"tilings": []}), mode)


def doctor():
    misbehave("doctor")
    print("fake")


def simulate():
    misbehave("simulate")
    write(flag("--out"), "maps", "")


def tool():
    """compute-sanitizer and ncu: options, then a program, which follows the first argument that is a path."""
    name = os.path.basename(sys.argv[0])
    at = next(index for index, part in enumerate(sys.argv[1:], 1) if "/" in part)
    mode = misbehave("ncu" if name == "ncu" else "sanitizer")
    if mode == "unsupported":
        print("========= Error: Device not supported.")
        sys.exit(1)
    # Negative for a signal.
    code = os.spawnv(os.P_WAIT, sys.argv[at], sys.argv[at:])
    if name == "ncu":
        if mode not in ("nothing", "half"):
            print('"ID","Kernel Name","Metric Value"\n"0","k","1,000"')
        elif mode == "half":
            print('"ID","Kern')
    elif mode != "nothing":
        print(f"========= ERROR SUMMARY: {3 if mode == 'wrong' else 0} errors")
    sys.exit(99 if mode == "wrong" else 1 if code < 0 else code)


def torch():
    if "-c" in sys.argv:
        return
    if "--latents" in sys.argv:
        write(flag("--latents"), "latents", "")
        return
    mode = misbehave("torch")
    times = {"without_copy": {"median": 0.01}, "with_copy": {"median": 0.02}}
    rows = [
        {"contest": contest, "variant": "eager f32", "maps": 2, "seconds": times, "difference_from_ours": 1e-6}
        for contest in ("generation", "training")
    ]
    rows = [["x"]] if mode == "types" else rows
    write(flag("--out"), "".join(dumps(row) + "\n" for row in rows), mode)


def main():
    name = os.path.basename(sys.argv[0])
    if name in ("compute-sanitizer", "ncu"):
        tool()
    elif name == "fake-python":
        torch()
    elif name == "nvidia-smi":
        print("fake, 1, 9.0, 1, 1, 1, 1")
    else:
        globals()[sys.argv[1]]()


main()
