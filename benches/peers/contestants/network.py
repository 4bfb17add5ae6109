"""The generator as NumPy arrays: random weights, weight files, and folding of batch normalisation into the layers.

Transposed convolutions have 5 x 5 kernels and stride 2. Of the 2n + 3 rows and columns of the full result, the first and
the last two are cropped: padding 1 before and 2 after. PyTorch's padding=2, output_padding=1 crops two before and one
after instead, which is the same network only if kernels and maps are mirrored.
"""

import json

import numpy as np

KERNEL, STRIDE, EPSILON = 5, 2, 1e-5
CONFIG_KEY = "cosmogan.config"
PAPER = {"output_size": 256, "layers": 4, "gf_dim": 64, "df_dim": 64, "z_dim": 64, "c_dim": 1}
TINY = {"output_size": 64, "layers": 3, "gf_dim": 16, "df_dim": 16, "z_dim": 64, "c_dim": 1}


def channels(config, layer):
    """Channels after `layer` transposed convolutions."""
    return config["c_dim"] if layer == config["layers"] else config["gf_dim"] << (config["layers"] - 1 - layer)


def transposed_convolution(values, weight):
    """Transposed convolution without bias in plain NumPy: values (N, C, H, W), weight (C, D, 5, 5)."""
    n, c, h, w = values.shape
    outputs = weight.shape[1]
    taps = values.transpose(0, 2, 3, 1).reshape(-1, c) @ weight.reshape(c, -1)
    taps = taps.reshape(n, h, w, outputs, KERNEL, KERNEL)
    full = np.zeros((n, 2 * h + 3, 2 * w + 3, outputs), np.float32)
    for row in range(KERNEL):
        for column in range(KERNEL):
            full[:, row : row + 2 * h : 2, column : column + 2 * w : 2] += taps[..., row, column]
    return full[:, 1:-2, 1:-2].transpose(0, 3, 1, 2)


def random_weights(config, seed, samples=4):
    """Random weights as at the start of training, random biases, and running statistics of `samples` maps."""
    draw = np.random.default_rng(seed)

    def normal(*shape, mean=0.0, deviation=0.02):
        return (mean + deviation * draw.standard_normal(shape)).astype(np.float32)

    def normalised(name, values):
        """Adds the batch normalisation `name` with the statistics of `values`, and applies it."""
        count = values.shape[1]
        mean, variance = values.mean(axis=(0, 2, 3)), values.var(axis=(0, 2, 3))
        weight, bias = normal(count, mean=1.0, deviation=0.1), normal(count, deviation=0.1)
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = weight, bias
        tensors[f"{name}.running_mean"], tensors[f"{name}.running_var"] = mean, variance
        scale = weight / np.sqrt(variance + np.float32(EPSILON))
        values = (values - mean[:, None, None]) * scale[:, None, None] + bias[:, None, None]
        return np.maximum(values, 0)

    side, tensors = config["output_size"] >> config["layers"], {}
    features = channels(config, 0) * side * side
    tensors["fc.weight"], tensors["fc.bias"] = normal(features, config["z_dim"]), normal(features)
    latents = normal(samples, config["z_dim"], deviation=1.0)
    values = latents @ tensors["fc.weight"].T + tensors["fc.bias"]
    values = normalised("bn0", values.reshape(samples, -1, side, side))
    for layer in range(1, config["layers"] + 1):
        weight = normal(channels(config, layer - 1), channels(config, layer), KERNEL, KERNEL)
        bias = normal(channels(config, layer))
        tensors[f"deconv{layer}.weight"], tensors[f"deconv{layer}.bias"] = weight, bias
        if layer < config["layers"]:
            values = transposed_convolution(values, weight) + bias[:, None, None]
            values = normalised(f"bn{layer}", values)
    return tensors


def write(path, config, tensors):
    """Writes a weight file for our program and PyTorch."""
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    # torch_gpu.py runs where this package may be missing, and writes nothing.
    from safetensors.numpy import save_file

    save_file(tensors, path, metadata={CONFIG_KEY: json.dumps(config), "format": "pt"})


def read(path):
    """Reads the configuration and the tensors of a weight file."""
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        return json.loads(file.metadata()[CONFIG_KEY]), {name: file.get_tensor(name) for name in file.keys()}


def folded(config, tensors):
    """Weight and bias of `fc` and of each `deconv`, with the following batch normalisation folded in.

    Frameworks may fold because statistics are fixed at inference, and exporters do; the arithmetic here is in f64.
    """
    side = config["output_size"] >> config["layers"]
    pairs = []
    for layer in range(config["layers"] + 1):
        name = f"deconv{layer}" if layer else "fc"
        weight, bias = (tensors[f"{name}.{part}"].astype(np.float64) for part in ("weight", "bias"))
        if layer < config["layers"]:
            gain, shift, mean, variance = (
                tensors[f"bn{layer}.{part}"].astype(np.float64)
                for part in ("weight", "bias", "running_mean", "running_var")
            )
            scale = gain / np.sqrt(variance + EPSILON)
            if layer:
                weight, bias = weight * scale[:, None, None], (bias - mean) * scale + shift
            else:
                scale, mean, shift = (np.repeat(values, side * side) for values in (scale, mean, shift))
                weight, bias = weight * scale[:, None], (bias - mean) * scale + shift
        pairs.append((weight.astype(np.float32), bias.astype(np.float32)))
    return pairs


def of_phases(weight):
    """The 3 x 3 kernel (row, column, input, output) of a plain convolution equivalent to a transposed convolution.

    Its output channels are the four phases (even and odd rows times even and odd columns) times the channels of the
    layer. Some taps are zero: it costs 36 multiplications instead of 25.
    """
    inputs, outputs = weight.shape[:2]
    phases = np.zeros((3, 3, inputs, 2, 2, outputs), np.float32)
    # Output row 2i + phase takes row `tap` of the kernel from input row i + step.
    rows = [(phase, tap, (phase + 1 - tap) // 2) for phase in range(2) for tap in range(5) if (phase + tap) % 2]
    for phase, tap, step in rows:
        for phase_across, tap_across, step_across in rows:
            phases[step + 1, step_across + 1, :, phase, phase_across] = weight[:, :, tap, tap_across]
    return phases.reshape(3, 3, inputs, -1)


def in_two_forms(config, tensors):
    """The folded layers by name: `fc`, each `deconv`, and as `phases` the plain convolution equivalent to it."""
    found = {}
    for layer, (weight, bias) in enumerate(folded(config, tensors)):
        name = f"deconv{layer}" if layer else "fc"
        found[f"{name}.weight"], found[f"{name}.bias"] = weight, bias
        if layer:
            found[f"phases{layer}.weight"] = of_phases(weight).transpose(3, 2, 0, 1)
            found[f"phases{layer}.bias"] = np.tile(bias, 4)
    return found
