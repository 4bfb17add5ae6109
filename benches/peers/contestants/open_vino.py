"""OpenVINO on the CPU with its latency hint, in f32 or bf16, for a fixed batch size.

In bf16 on a CPU with AVX-512 BF16 but without AMX, it still computes transposed convolutions in f32, as its profile
shows; plain convolutions run in bf16.
"""

import openvino

import worker


def prepare(arguments):
    core = openvino.Core()
    model = core.read_model(arguments.onnx)
    model.reshape([arguments.batch, model.input(0).partial_shape[1].get_length()])
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": str(arguments.threads),
        "INFERENCE_PRECISION_HINT": arguments.variant,
        "NUM_STREAMS": "1",
    }
    compiled = core.compile_model(model, "CPU", settings)
    kind = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if kind != arguments.variant:
        raise RuntimeError(f"OpenVINO computes in {kind} instead of {arguments.variant}")
    request = compiled.create_infer_request()
    return openvino.__version__, lambda latents: request.infer({0: latents})[0][:, 0]


worker.serve(prepare)
