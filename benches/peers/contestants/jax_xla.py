"""JAX on XLA's CPU backend: each transposed convolution is a convolution with dilated inputs."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import network
import worker


def transposed_convolution(values, weight):
    names = ("NCHW", "OIHW", "NCHW")
    return lax.conv_general_dilated(values, weight, (1, 1), ((3, 2), (3, 2)), (2, 2), dimension_numbers=names)


def prepare(arguments):
    config, tensors = network.read(arguments.weights)
    (weight, bias), *layers = network.folded(config, tensors)
    side, count = config["output_size"] >> config["layers"], network.channels(config, 0)
    layers = [(weight[:, :, ::-1, ::-1].swapaxes(0, 1), bias[:, None, None]) for weight, bias in layers]
    parameters = jax.device_put((weight.T, bias, layers))

    @jax.jit
    def maps(parameters, latents):
        weight, bias, layers = parameters
        values = jax.nn.relu(latents @ weight + bias).reshape(-1, count, side, side)
        for index, (weight, bias) in enumerate(layers, 1):
            values = transposed_convolution(values, weight) + bias
            values = jax.nn.relu(values) if index < len(layers) else jnp.tanh(values)
        return values[:, 0]

    return jax.__version__, lambda latents: np.asarray(maps(parameters, latents))


worker.serve(prepare)
