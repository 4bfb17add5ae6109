"""The paper's generator and its training step in PyTorch on a GPU, on the same weights, latents and maps as ours.

    python3 benches/peers/torch_gpu.py --generator G.safetensors --discriminator D.safetensors [--ours MAPS.npy]
        [--maps 1024] [--batch 64] [--turns 5] [--variants 'eager f32,graphs bf16'] [--budget SECONDS] [--out FILE.json]

`benches/gpu-check.py` runs it on the machine and in the run in which it measures our program, and puts the ratio into
its output. Nothing is installed: it needs PyTorch with CUDA, and NumPy. With --device cpu the script can be tried
without a GPU, as it was; CUDA graphs then fail, and nothing is worth measuring.

Every variant takes part in both contests unless it fails, or unless the budget was spent before its turn to be
prepared (compiling takes most of it), which is reported:

* eager is the network as one writes it, in f32 with tf32 off: what a user gets who changes nothing.
* tf32 and bf16 have channels last, maps mirrored so that no row or column is dropped, and autocast for bf16.
* the compiled ones are torch.compile of that; graphs adds CUDA graphs: to the generator by mode reduce-overhead, while
  a training step is one graph with Adam in it.

Latents are those that NumPy's default_rng(1) draws in f32; --latents writes them. --ours names the maps that our
program made of the first of them, and every variant's are compared with these.

Times are device events around one piece of work from latents to f32 maps in device memory, or around a step with Adam
and without reading losses back; variants go in turns, medians over all turns are reported with the lowest and highest.
"""

import argparse
import json
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


def seconds(work, device):
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


def contest(make, rounds, judge, arguments):
    """Medians of all variants, which go in turns, and what `judge` says of what came of the third piece of work."""
    able, results, failures, started = {}, {}, {}, time.monotonic()
    for name in arguments.variants:
        variant = VARIANTS[name]
        if time.monotonic() - started > arguments.budget / 2:
            failures[name] = "the budget was spent before"
            continue
        settle(variant)
        try:
            work = make(variant, arguments)
            # Compiles, and chooses convolutions.
            for _ in range(3):
                result = work().float().cpu().numpy()
        except Exception as error:  # One variant's failure must not cost the others.
            failures[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            continue
        able[name] = (variant, work)
        results[name] = {"turns": [], **judge(result)}
    for _ in range(arguments.turns):
        for name, (variant, work) in able.items():
            settle(variant)
            # The first one after the others finds caches full of their memory.
            seconds(work, arguments.device)
            taken = [seconds(work, arguments.device) for _ in range(rounds)]
            results[name]["turns"].append(statistics.median(taken))
    for result in results.values():
        turns = result.pop("turns")
        result["seconds"] = {"median": statistics.median(turns), "lowest": min(turns), "highest": max(turns)}
    fastest = min(results, key=lambda name: results[name]["seconds"]["median"], default=None)
    return {"fastest": fastest, "variants": results, "failures": failures}


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
    parser.add_argument("--out", default="-", help="a file for the JSON; printed by default")
    arguments = parser.parse_args()
    if unknown := set(arguments.variants) - set(VARIANTS):
        parser.error(f"no such variants: {', '.join(sorted(unknown))}; there are {', '.join(VARIANTS)}")
    if arguments.latents:
        np.save(arguments.latents, drawn(arguments.maps, read(arguments.generator)[0]["z_dim"]))
        return
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch_gpu: PyTorch finds no GPU here; run this on the machine that has one")
    result = {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu",
        "maps": arguments.maps,
        "batch": arguments.batch,
        "generation": contest(generation, 3, beside_ours(arguments), arguments),
        "training": contest(training, 20, lambda losses: {"losses": losses.tolist()}, arguments),
    }
    text = json.dumps(result, indent=1) + "\n"
    if arguments.out == "-":
        print(text, end="")
    else:
        pathlib.Path(arguments.out).write_text(text)


if __name__ == "__main__":
    main()
