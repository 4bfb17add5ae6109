"""PyTorch: a straightforward implementation of the network, and three faster variants."""

import numpy as np
import torch
from torch import nn

import network
import worker


class AsWritten(nn.Module):
    """Straightforward implementation, contiguous, with batch normalisation layers."""

    def __init__(self, config, tensors):
        super().__init__()
        self.side, self.layers = config["output_size"] >> config["layers"], config["layers"]
        self.fc = nn.Linear(config["z_dim"], tensors["fc.bias"].size)
        self.bn0 = nn.BatchNorm2d(network.channels(config, 0), eps=network.EPSILON)
        for layer in range(1, self.layers + 1):
            inputs, outputs = network.channels(config, layer - 1), network.channels(config, layer)
            self.add_module(f"deconv{layer}", nn.ConvTranspose2d(inputs, outputs, 5, stride=2, padding=1))
            if layer < self.layers:
                self.add_module(f"bn{layer}", nn.BatchNorm2d(outputs, eps=network.EPSILON))
        # Not strict: the weights lack only num_batches_tracked.
        self.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()}, strict=False)

    def forward(self, latents):
        values = self.fc(latents).view(len(latents), -1, self.side, self.side)
        values = torch.relu(self.bn0(values))
        for layer in range(1, self.layers + 1):
            values = self.get_submodule(f"deconv{layer}")(values)[:, :, :-1, :-1]
            if layer < self.layers:
                values = torch.relu(self.get_submodule(f"bn{layer}")(values))
        return torch.tanh(values)


class Rearranged(nn.Module):
    """Batch normalisations folded, channels last, the last layer in phases, the others mirrored.

    Mirrored layers need no cropping after the convolution, and a single channel is faster in phases.
    """

    def __init__(self, config, tensors):
        super().__init__()
        self.layers, self.side = config["layers"], config["output_size"] >> config["layers"]
        first, *between, last = network.folded(config, tensors)
        weight, bias = (torch.from_numpy(part).view(-1, self.side, self.side, part[0].size) for part in first)
        weight, bias = weight.flip(1, 2), bias.flip(1, 2)
        self.fc = nn.Linear(config["z_dim"], bias.numel())
        self.fc.weight.copy_(weight.reshape(bias.numel(), -1))
        self.fc.bias.copy_(bias.flatten())
        for layer, (weight, bias) in enumerate(between, 1):
            deconv = nn.ConvTranspose2d(*weight.shape[:2], 5, stride=2, padding=2, output_padding=1)
            deconv.weight.copy_(torch.from_numpy(weight).flip(2, 3))
            deconv.bias.copy_(torch.from_numpy(bias))
            self.add_module(f"deconv{layer}", deconv)
        weight, bias = last
        inputs, outputs = weight.shape[:2]
        phases = network.of_phases(weight).reshape(3, 3, inputs, 2, 2, outputs)
        phases = phases[::-1, ::-1, :, ::-1, ::-1].transpose(5, 3, 4, 2, 0, 1).reshape(4 * outputs, inputs, 3, 3)
        self.phases = nn.Conv2d(inputs, 4 * outputs, 3, padding=1)
        self.phases.weight.copy_(torch.from_numpy(np.ascontiguousarray(phases)))
        self.phases.bias.copy_(torch.from_numpy(bias).repeat_interleave(4))
        self.to(memory_format=torch.channels_last)

    def forward(self, latents):
        values = torch.relu(self.fc(latents)).view(len(latents), -1, self.side, self.side)
        values = values.contiguous(memory_format=torch.channels_last)
        for layer in range(1, self.layers):
            values = torch.relu(self.get_submodule(f"deconv{layer}")(values))
        return torch.pixel_shuffle(torch.tanh(self.phases(values)), 2).flip(2, 3)


def prepare(arguments):
    torch.set_num_threads(arguments.threads)
    torch.set_num_interop_threads(1)
    torch.set_grad_enabled(False)
    config, tensors = network.read(arguments.weights)
    kind = torch.bfloat16 if arguments.variant == "bf16" else torch.float32
    model = (AsWritten if arguments.variant == "eager" else Rearranged)(config, tensors).eval().to(kind)
    if arguments.variant == "compile":
        import torch._inductor.config as inductor

        inductor.freezing = True
        model = torch.compile(model, dynamic=False)

    def generate(latents: np.ndarray) -> np.ndarray:
        return model(torch.from_numpy(latents).to(kind))[:, 0].float().contiguous().numpy()

    return torch.__version__, generate


worker.serve(prepare)
