"""The generator as a PyTorch module.

    python3 pytorch_generator.py WEIGHTS.safetensors MAPS.npy          # 16 maps from weights of this program

Needs torch, safetensors and numpy.

A 5×5 transposed convolution of stride 2 doubles an image of n pixels to 2n + 3 values, of which 2n are kept. This program,
like TensorFlow's "SAME", drops one at the beginning and two at the end. The usual module in PyTorch,
`ConvTranspose2d(..., 5, stride=2, padding=2, output_padding=1)`, drops two at the beginning and one at the end: the mirror
image. Both have the same names and shapes, so either loads the other's weights without complaint and makes other maps.
`cosmogan import --padding 2` mirrors the weights of the usual module for this one.
"""

import sys

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn


class Generator(nn.Module):
    """Latents [N, z_dim] to maps [N, 1, S, S] in (-1, 1)."""

    def __init__(self, tensors):
        super().__init__()
        features, z_dim = tensors["fc.weight"].shape
        self.fc = nn.Linear(z_dim, features)
        self.layers = sum(name.startswith("deconv") and name.endswith("weight") for name in tensors)
        self.channels = tensors["bn0.weight"].numel()
        self.bn0 = nn.BatchNorm2d(self.channels)
        for layer in range(1, self.layers + 1):
            inputs, outputs = tensors[f"deconv{layer}.weight"].shape[:2]
            self.add_module(f"deconv{layer}", nn.ConvTranspose2d(inputs, outputs, 5, stride=2, padding=1))
            if layer < self.layers:
                self.add_module(f"bn{layer}", nn.BatchNorm2d(outputs))
        self.load_state_dict(tensors)

    def forward(self, latents):
        values = self.fc(latents)
        side = int((values.shape[1] // self.channels) ** 0.5)
        values = torch.relu(self.bn0(values.view(-1, self.channels, side, side)))
        for layer in range(1, self.layers + 1):
            # With padding=1, one value too many is left at the end.
            values = getattr(self, f"deconv{layer}")(values)[:, :, :-1, :-1]
            if layer < self.layers:
                values = torch.relu(getattr(self, f"bn{layer}")(values))
        return torch.tanh(values)


def main(arguments):
    model = Generator(load_file(arguments[0])).eval()
    with torch.no_grad():
        maps = model(torch.randn(16, model.fc.in_features))
    np.save(arguments[1], maps[:, 0].numpy())


if __name__ == "__main__":
    main(sys.argv[1:])
