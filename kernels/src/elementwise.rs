//! Launches of `elementwise.cu`: one thread per element.

use crate::kernel::{Kernel, Launch, Work, f32_bytes, kernel};
use crate::precision::Precision;

const THREADS: u32 = 256;

kernel!(
    /// y = x or slope·x; a ReLU has slope 0.
    LEAKY_RELU,
    "elementwise.cu",
    Plain,
    "leaky_relu",
    "y = x where x > 0, slope·x elsewhere",
    "plain: memory-bound, no data reuse"
);
kernel!(
    /// dx from y and dy.
    LEAKY_RELU_GRADIENT,
    "elementwise.cu",
    Plain,
    "leaky_relu_gradient",
    "dx = dy where y > 0, slope·dy elsewhere",
    "memory-bound: reads the packed y of the next GEMM if no f32 y is stored"
);
kernel!(
    /// y = tanh x.
    TANH,
    "elementwise.cu",
    Plain,
    "hyperbolic_tangent",
    "y = tanh(x)",
    "plain: memory-bound, no data reuse"
);
kernel!(
    /// dx from y and dy.
    TANH_GRADIENT,
    "elementwise.cu",
    Plain,
    "hyperbolic_tangent_gradient",
    "dx = dy·(1 − y)(1 + y)",
    "plain: memory-bound, no data reuse"
);
kernel!(
    /// y = a + b.
    ADD,
    "elementwise.cu",
    Plain,
    "add",
    "y = a + b",
    "plain: memory-bound, no data reuse"
);
kernel!(
    /// y = x.
    COPY,
    "elementwise.cu",
    Plain,
    "copy",
    "y = x, into a part of a larger tensor",
    "plain: memory-bound, no data reuse; captured in CUDA graphs like any other launch"
);
kernel!(
    /// Moves a running statistic towards the batch's.
    UPDATE_RUNNING,
    "elementwise.cu",
    Plain,
    "update_running",
    "running ← keep·running + gain·batch",
    "plain: memory-bound, no data reuse"
);

/// Tensors read or written, and operations, per element.
fn traffic(kernel: &Kernel) -> (usize, usize) {
    match kernel.name {
        "copy" => (2, 0),
        "leaky_relu" | "hyperbolic_tangent" => (2, 1),
        "leaky_relu_gradient" => (3, 1),
        "hyperbolic_tangent_gradient" | "update_running" => (3, 3),
        _ => (3, 1),
    }
}

/// A launch over `length` elements.
pub fn launch(kernel: &'static Kernel, length: usize) -> Launch {
    let (tensors, operations) = traffic(kernel);
    Launch::specialised(
        kernel,
        vec![Precision::F32.constant()],
        [length.div_ceil(THREADS as usize), 1, 1],
        [THREADS, 1, 1],
        Work {
            operations: (operations * length) as f64,
            bytes: f32_bytes(tensors * length),
        },
    )
}

/// dx `[rows, channels]` of a LeakyReLU, with the formats `[y, dy, dx]`.
pub fn leaky_relu_gradient(formats: [Precision; 3], rows: usize, channels: usize) -> Launch {
    let [y, dy, dx] = formats;
    let mut launch = launch(&LEAKY_RELU_GRADIENT, rows * dx.row(channels));
    launch.module.constants = vec![dx.constant(), ("Y_BITS", y.bits()), ("DY_BITS", dy.bits())];
    let images = formats.map(|image| image.image_bytes(rows, channels));
    launch.work = Work {
        operations: (rows * channels) as f64,
        bytes: images.iter().sum::<usize>() as f64,
    };
    launch
}
