"""Both networks in PyTorch, for training, and the gradients of a step.

D(G(z)) runs forward once and backward twice, once for the weights of D and once for those of G. Gradients are requested
explicitly, so that no others are computed. Biases per channel in front of a batch normalisation have no effect in
training and are left out.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import network

SLOPE = 0.2


class Generator(nn.Module):
    """The generator; `mirrored` generates mirrored maps, which need no cropping after a layer."""

    def __init__(self, config, mirrored, all_biases=False):
        super().__init__()
        self.side, self.layers, self.mirrored = config["output_size"] >> config["layers"], config["layers"], mirrored
        self.fc = nn.Linear(config["z_dim"], network.channels(config, 0) * self.side**2)
        self.bn0 = nn.BatchNorm2d(network.channels(config, 0), eps=network.EPSILON)
        padding = {"padding": 2, "output_padding": 1} if mirrored else {"padding": 1}
        for layer in range(1, self.layers + 1):
            inputs, outputs = network.channels(config, layer - 1), network.channels(config, layer)
            last = layer == self.layers
            extents = inputs, outputs, network.KERNEL, network.STRIDE
            deconv = nn.ConvTranspose2d(*extents, bias=last or all_biases, **padding)
            self.add_module(f"deconv{layer}", deconv)
            if not last:
                self.add_module(f"bn{layer}", nn.BatchNorm2d(outputs, eps=network.EPSILON))

    def forward(self, latents):
        values = self.fc(latents).view(len(latents), -1, self.side, self.side)
        values = functional.relu(self.bn0(values))
        for layer in range(1, self.layers + 1):
            values = self.get_submodule(f"deconv{layer}")(values)
            if not self.mirrored:
                values = values[:, :, :-1, :-1]
            if layer < self.layers:
                values = functional.relu(self.get_submodule(f"bn{layer}")(values))
        return torch.tanh(values)


class Discriminator(nn.Module):
    """The discriminator; `mirrored` reads mirrored maps, which need no separate padding before a layer."""

    def __init__(self, config, mirrored):
        super().__init__()
        self.layers, self.mirrored = config["layers"], mirrored
        inputs, outputs = config["c_dim"], config["df_dim"]
        for layer in range(self.layers):
            padding = 2 if mirrored else 0
            conv = nn.Conv2d(inputs, outputs, network.KERNEL, network.STRIDE, padding, bias=layer == 0)
            self.add_module(f"conv{layer}", conv)
            if layer:
                self.add_module(f"bn{layer}", nn.BatchNorm2d(outputs, eps=network.EPSILON))
            inputs, outputs = outputs, 2 * outputs
        self.fc = nn.Linear(inputs * (config["output_size"] >> self.layers) ** 2, 1)

    def forward(self, maps):
        values = maps
        for layer in range(self.layers):
            if not self.mirrored:
                values = functional.pad(values, (1, 2, 1, 2))
            values = self.get_submodule(f"conv{layer}")(values)
            if layer:
                values = self.get_submodule(f"bn{layer}")(values)
            values = functional.leaky_relu(values, SLOPE)
        return self.fc(values.flatten(1))


KINDS = (Generator, Discriminator)


def fill(model, config, tensors):
    """Loads the tensors into the model, mirrored if the model is; fails if one is missing."""
    tensors = dict(tensors)
    if model.mirrored:
        side = config["output_size"] >> config["layers"]
        for name, tensor in tensors.items():
            if tensor.ndim == 4:
                tensors[name] = tensor[:, :, ::-1, ::-1]
            elif name.startswith("fc.") and tensor.size > 1:
                # Its rows (generator) or columns (discriminator) run over channels and pixels.
                images = tensor.reshape(-1, side, side, tensor.size // len(tensor) if len(tensor) > 1 else 1)
                tensors[name] = images[:, ::-1, ::-1].reshape(tensor.shape)
    wanted = model.state_dict()
    known = {name: torch.from_numpy(np.ascontiguousarray(tensors[name])) for name in wanted if name in tensors}
    missing, _ = model.load_state_dict(known, strict=False)
    if unknown := [name for name in missing if not name.endswith("num_batches_tracked")]:
        raise RuntimeError(f"the weights lack {', '.join(unknown)}")
    return model


def gradients(generator, discriminator, maps, latents):
    """Computes the three losses and the gradients of both networks at the same parameters."""
    real = discriminator(maps)
    fake = generator(latents)
    logits = discriminator(fake)
    loss = functional.binary_cross_entropy_with_logits
    one, zero = torch.ones_like(logits), torch.zeros_like(logits)
    real_loss, fake_loss, generator_loss = loss(real, one), loss(logits, zero), loss(logits, one)
    discriminator_gradients = torch.autograd.grad(
        real_loss + fake_loss, list(discriminator.parameters()), retain_graph=True
    )
    generator_gradients = torch.autograd.grad(generator_loss, list(generator.parameters()))
    losses = torch.stack([real_loss, fake_loss, generator_loss]).detach()
    return losses, discriminator_gradients, generator_gradients
