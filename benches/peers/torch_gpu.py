"""The paper's generator and its training step in PyTorch on a GPU, on the same weights, latents and maps as ours.

    python3 benches/peers/torch_gpu.py --generator G.safetensors --discriminator D.safetensors [--ours MAPS.npy]
        [--maps 1024] [--batch 64] [--turns 5] [--variants 'eager f32,graphs bf16'] [--budget SECONDS]
        [--out FILE.jsonl]

`benches/gpu-check.py` runs it on the machine on which it measures our program, and computes the ratios. Nothing is
installed: it needs PyTorch with CUDA, and NumPy. With --device cpu the script can be tried without a GPU; CUDA graphs
then fail, and the times mean nothing.

Every variant takes part in both contests (`generation`, `training`) unless it fails, or unless the budget was spent
before it was prepared (compiling takes most of it). Both cases have a row that says so:

* eager is the network as one writes it, in f32 with tf32 off: the default of a user.
* tf32 and bf16 have channels last, maps mirrored so that no row or column is dropped, and autocast for bf16.
* the compiled ones are torch.compile of that; graphs adds CUDA graphs: to the generator by mode reduce-overhead, while
  a training step is one graph with Adam in it.

Latents are those that NumPy's default_rng(1) draws in f32; --latents writes them. --ours names the maps that our
program made of the first of them; the maps of every variant are compared with these.

One line of JSON for each variant is on disk as soon as the variant ends. Its `seconds` hold two times:

* `without_copy`: device events around the work alone, from latents in device memory to f32 maps in device memory, or
  around a step with Adam;
* `with_copy`: device events around the work and a non-blocking copy of its result (the maps; the three losses of a
  step) to pinned memory of the host.

Each is the median over all turns, with the lowest and the highest turn; `maps` is the number of maps of one piece of
work.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "contestants"))

import numpy as np  # noqa: E402
import pytorch_model as model  # noqa: E402
import torch  # noqa: E402

# The most promising first, should time be short.
VARIANTS = {
    "eager f32": {},
    "bf16": {"bf16": True, "tf32": True, "mirrored": True},
    "graphs bf16": {"bf16": True, "tf32": True, "mirrored": True, "mode": "reduce-overhead"},
    "graphs tf32": {"tf32": True, "mirrored": True, "mode": "reduce-overhead"},
    "compiled bf16": {"bf16": True, "tf32": True, "mirrored": True, "mode": "default"},
    "tf32": {"tf32": True, "mirrored": True},
    "compiled tf32": {"tf32": True, "mirrored": True, "mode": "default"},
}
RATE, BETAS = 2e-4, (0.5, 0.999)
SEED = 1


def read(path):
    """The configuration and the tensors of a weight file. The machine may have PyTorch and nothing else."""
    data = pathlib.Path(path).read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    config = json.loads(header.pop("__metadata__")["cosmogan.config"])
    tensors = {}
    for name, entry in header.items():
        first, last = (start + at for at in entry["data_offsets"])
        tensors[name] = np.frombuffer(data[first:last], np.float32).reshape(entry["shape"]).copy()
    return config, tensors


def prepared(build, path, variant, device, **more):
    """A network of one file on the device, laid out as the variant has it."""
    config, tensors = read(path)
    mirrored = variant.get("mirrored", False)
    network = model.fill(build(config, mirrored, **more), config, tensors).to(device)
    return network.to(memory_format=torch.channels_last) if mirrored else network


def drawn(count, width):
    return np.random.default_rng(SEED).standard_normal((count, width), np.float32)


def settle(variant):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = variant.get("tf32", False)
    torch.backends.cudnn.benchmark = True


def autocast(variant, device):
    return torch.autocast(device, torch.bfloat16, enabled=variant.get("bf16", False))


def generation(variant, arguments):
    """A function that makes all maps, in batches, into memory of the device."""
    generator = prepared(model.Generator, arguments.generator, variant, arguments.device, all_biases=True).eval()
    latents = torch.from_numpy(drawn(arguments.maps, generator.fc.in_features)).to(arguments.device)
    forward = torch.compile(generator, mode=variant["mode"], dynamic=False) if "mode" in variant else generator
    size = generator.side << generator.layers
    maps = torch.empty(arguments.maps, 1, size, size, device=arguments.device)

    def work():
        with torch.no_grad(), autocast(variant, arguments.device):
            for first in range(0, arguments.maps, arguments.generated_at_once):
                last = min(first + arguments.generated_at_once, arguments.maps)
                made = forward(latents[first:last])
                maps[first:last] = made.flip(2, 3) if generator.mirrored else made
        return maps

    return work


def training(variant, arguments):
    """A function that takes one training step."""
    networks = [
        prepared(build, path, variant, arguments.device)
        for build, path in zip(model.KINDS, (arguments.generator, arguments.discriminator))
    ]
    size = networks[0].side << networks[0].layers
    draw = torch.Generator().manual_seed(SEED)
    maps = torch.randn(arguments.batch, 1, size, size, generator=draw).mul_(0.02).to(arguments.device)
    latents = torch.randn(arguments.batch, networks[0].fc.in_features, generator=draw).to(arguments.device)
    if networks[0].mirrored:
        maps = maps.flip(2, 3).to(memory_format=torch.channels_last)
    graphs = variant.get("mode") == "reduce-overhead"
    optimisers = [
        torch.optim.Adam(network.parameters(), RATE, BETAS, fused=True, capturable=graphs) for network in networks
    ]
    compute = model.gradients
    if "mode" in variant:
        import torch._dynamo.config as dynamo

        # So that both backward passes are compiled with the forward passes, and without what nobody asks for.
        dynamo.trace_autograd_ops = True
        # A graph of the whole step is captured below; inner ones would be copies in it.
        compute = torch.compile(model.gradients, dynamic=False, fullgraph=True)

    def step():
        with autocast(variant, arguments.device):
            losses, *found = compute(*networks, maps, latents)
        for network, of_network, optimiser in zip(networks, reversed(found), optimisers):
            for parameter, gradient in zip(network.parameters(), of_network):
                parameter.grad = gradient
            optimiser.step()
        return losses

    if not graphs:
        return step
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        losses = step()

    def replay():
        graph.replay()
        return losses

    return replay


TIMED = {
    "without_copy": "device events around the work alone; results stay in device memory",
    "with_copy": "device events around the work and a non-blocking copy of its results to pinned host memory",
}
TIMED_ON_CPU = dict.fromkeys(TIMED, "the CPU's clock around the work; without a GPU the copy is one in host memory")


def seconds(work, device):
    """Seconds of one piece of work: by device events, or on the CPU by its clock."""
    if device == "cpu":
        started = time.perf_counter()
        work()
        return time.perf_counter() - started
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    work()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / 1000


def with_copy(work, result, device):
    """`work`, followed by a copy of its result to the host."""
    host = torch.empty(result.shape, dtype=result.dtype, pin_memory=device == "cuda")
    return lambda: host.copy_(work(), non_blocking=True)


def measured(work, rounds, arguments):
    """Median, lowest and highest turn of each kind of time; a turn is the median of its rounds."""
    result = work()
    pieces = {"without_copy": work, "with_copy": with_copy(work, result, arguments.device)}
    turns = {kind: [] for kind in pieces}
    for _ in range(arguments.turns):
        for kind, piece in pieces.items():
            # The first round after another kind is not counted.
            seconds(piece, arguments.device)
            taken = [seconds(piece, arguments.device) for _ in range(rounds)]
            turns[kind].append(statistics.median(taken))
    return {
        kind: {"median": statistics.median(taken), "lowest": min(taken), "highest": max(taken)}
        for kind, taken in turns.items()
    }


def contest(name, make, rounds, maps, judge, arguments):
    """Measures the variants one after the other, and writes the row of each as it ends."""
    started = time.monotonic()
    for variant in arguments.variants:
        row = {"contest": name, "variant": variant, "maps": maps, "torch": torch.__version__}
        row["device"] = torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu"
        if time.monotonic() - started > arguments.budget / 2:
            write(arguments.out, {**row, "skipped": "the budget was spent before"})
            continue
        settle(VARIANTS[variant])
        try:
            work = make(VARIANTS[variant], arguments)
            # Compiles, and chooses convolutions.
            for _ in range(3):
                result = work().float().cpu().numpy()
            row |= judge(result)
            row["seconds"] = measured(work, rounds, arguments)
            row["timed"] = TIMED if arguments.device == "cuda" else TIMED_ON_CPU
        except Exception as error:  # One variant's failure must not cost the others.
            row["failed"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        write(arguments.out, row)
        # Its memory is for the next one.
        work = result = None
        torch.compiler.reset()
        if arguments.device == "cuda":
            torch.cuda.empty_cache()


def write(path, row):
    """Appends one line, which is on disk when this returns."""
    line = json.dumps(row) + "\n"
    if path == "-":
        print(line, end="", flush=True)
        return
    with open(path, "a", encoding="utf-8") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def beside_ours(arguments):
    """Compares maps with ours: the largest difference in standard deviations of ours."""
    if not arguments.ours:
        return lambda maps: {}
    ours = np.load(arguments.ours)

    def judge(maps):
        difference = np.abs(maps[: len(ours)].reshape(ours.shape) - ours).max()
        return {"difference_from_ours": float(difference / ours.std())}

    return judge


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generator", required=True)
    parser.add_argument("--discriminator", required=True)
    parser.add_argument("--maps", type=int, default=1024)
    parser.add_argument("--generated-at-once", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--variants", default=list(VARIANTS), type=lambda text: text.split(","))
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds, half of them for each contest")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--ours", help="a file of maps that our program made of the first latents")
    parser.add_argument("--latents", help="a file for the latents; nothing else is done then")
    parser.add_argument("--out", default="-", help="a file to append the rows to; printed by default")
    arguments = parser.parse_args()
    if unknown := set(arguments.variants) - set(VARIANTS):
        parser.error(f"no such variants: {', '.join(sorted(unknown))}; there are {', '.join(VARIANTS)}")
    if arguments.latents:
        np.save(arguments.latents, drawn(arguments.maps, read(arguments.generator)[0]["z_dim"]))
        return
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch_gpu: PyTorch finds no GPU here; run this on the machine that has one")
    losses = lambda found: {"losses": found.tolist()}  # noqa: E731
    contest("generation", generation, 3, arguments.maps, beside_ours(arguments), arguments)
    contest("training", training, 20, arguments.batch, losses, arguments)


if __name__ == "__main__":
    main()
