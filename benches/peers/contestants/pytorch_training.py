"""PyTorch's training step on a CPU: a straightforward implementation, and three faster variants.

Every variant computes only what a step needs (pytorch_model.py). All use the fused Adam.
"""

import argparse
import json
import time

import numpy as np
import torch

import network
import pytorch_model
import worker

BETAS = (0.5, 0.999)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--variant", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    for file in ("generator", "discriminator", "maps", "latents"):
        parser.add_argument(f"--{file}", required=True)
    arguments = parser.parse_args()
    answers = worker.separated_answers()
    torch.set_num_threads(arguments.threads)
    torch.set_num_interop_threads(1)

    mirrored = arguments.variant != "eager"
    networks = []
    for kind, path in zip(pytorch_model.KINDS, (arguments.generator, arguments.discriminator)):
        config, tensors = network.read(path)
        networks.append(pytorch_model.fill(kind(config, mirrored), config, tensors))
    maps = torch.from_numpy(np.load(arguments.maps)).view(-1, 1, config["output_size"], config["output_size"])
    latents = torch.from_numpy(np.load(arguments.latents)).view(len(maps), -1)
    if mirrored:
        maps = maps.flip(2, 3).to(memory_format=torch.channels_last)
        networks = [model.to(memory_format=torch.channels_last) for model in networks]
    optimisers = [torch.optim.Adam(model.parameters(), arguments.rate, BETAS, fused=True) for model in networks]
    compute = pytorch_model.gradients
    if arguments.variant == "compile":
        import torch._dynamo.config as dynamo

        # Compiles both backward passes together with the forward passes, without gradients that are not needed.
        dynamo.trace_autograd_ops = True
        compute = torch.compile(pytorch_model.gradients, dynamic=False, fullgraph=True)

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.variant == "bf16"):
            losses, *found = compute(*networks, maps, latents)
        for model, of_model, optimiser in zip(networks, reversed(found), optimisers):
            for parameter, gradient in zip(model.parameters(), of_model):
                parameter.grad = gradient
            optimiser.step()
        return losses.tolist()

    def work(rounds):
        seconds, losses = [], []
        for _ in range(rounds):
            started = time.perf_counter()
            losses.append(step())
            seconds.append(time.perf_counter() - started)
        return {"seconds": seconds, "losses": losses}

    print(json.dumps({"version": torch.__version__}), file=answers)
    worker.answer_rounds(answers, work)


main()
