"""The folded network as an ONNX model with a dynamic batch size, for the frameworks that read ONNX.

Layers are transposed convolutions, or plain convolutions that compute the four phases of their output.
"""

import onnx
from onnx import TensorProto, helper, numpy_helper

import network

OPSET, IR = 17, 8


def write(path, config, tensors, phases):
    """Writes the model from `latents` (N, z) to `maps` (N, c, S, S); layers in `phases` are plain convolutions."""
    side, size = config["output_size"] >> config["layers"], config["output_size"]
    nodes, constants = [], []

    def constant(name, array):
        constants.append(numpy_helper.from_array(array, name))
        return name

    def node(kind, inputs, output, **attributes):
        nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    for layer, (weight, bias) in enumerate(network.folded(config, tensors)):
        if layer in phases:
            weight, bias = network.of_phases(weight).transpose(3, 2, 0, 1), network.np.tile(bias, 4)
        names = [constant(f"weight{layer}", weight), constant(f"bias{layer}", bias)]
        if layer == 0:
            flat = node("Gemm", ["latents", *names], "features", transB=1)
            shape = constant("shape", network.np.array([-1, network.channels(config, 0), side, side], "int64"))
            values = node("Reshape", [flat, shape], "values0")
        elif layer in phases:
            values = node("Conv", [values, *names], f"phases{layer}", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        else:
            fixed = {"kernel_shape": [5, 5], "strides": [2, 2], "pads": [1, 1, 2, 2]}
            values = node("ConvTranspose", [values, *names], f"values{layer}", **fixed)
        last, dealt = layer == config["layers"], layer in phases
        name = "maps" if last else f"active{layer}"
        values = node("Tanh" if last else "Relu", [values], f"{name}_in_phases" if dealt else name)
        if dealt:
            values = node("DepthToSpace", [values], name, blocksize=2, mode="DCR")
    graph = helper.make_graph(
        nodes,
        "generator",
        [helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["N", config["z_dim"]])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["N", config["c_dim"], size, size])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    onnx.checker.check_model(model)
    onnx.save(model, path)
