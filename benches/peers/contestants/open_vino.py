"""OpenVINO on the CPU with its latency hint, in f32 or bf16, for a fixed batch.

Asked for bf16 on a processor that has AVX-512's bf16 but no AMX, it still computes transposed convolutions in f32 (its
profile says so); plain convolutions it computes in bf16.
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
        raise RuntimeError(f"asked for {arguments.variant}, OpenVINO computes in {kind}")
    request = compiled.create_infer_request()
    return openvino.__version__, lambda latents: request.infer({0: latents})[0][:, 0]


worker.serve(prepare)
