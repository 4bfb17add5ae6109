"""ONNX Runtime with its CPU provider, all graph optimisations, and a fixed batch size."""

import onnxruntime

import worker


def prepare(arguments):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_free_dimension_override_by_name("N", arguments.batch)
    session = onnxruntime.InferenceSession(arguments.onnx, options, providers=["CPUExecutionProvider"])
    return onnxruntime.__version__, lambda latents: session.run(["maps"], {"latents": latents})[0][:, 0]


worker.serve(prepare)
