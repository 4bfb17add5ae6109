//! Launches of `elementwise.cu`: one thread per element.

use crate::kernel::{Kernel, Launch, Tier, Work, f32_bytes};

const THREADS: u32 = 256;
const SOURCE: &str = "elementwise.cu";

macro_rules! kernel {
    ($(#[$meta:meta])* $constant:ident, $name:literal, $summary:literal) => {
        $(#[$meta])*
        pub static $constant: Kernel = Kernel {
            name: $name,
            source: SOURCE,
            tier: Tier::Plain,
            summary: $summary,
            ladder: "plain: memory-bound, there is nothing to share",
        };
    };
}

kernel!(
    /// y = x or slope·x; a ReLU has slope 0.
    LEAKY_RELU,
    "leaky_relu",
    "y = x where x > 0, slope·x elsewhere"
);
kernel!(
    /// dx from y and dy.
    LEAKY_RELU_GRADIENT,
    "leaky_relu_gradient",
    "dx = dy where y > 0, slope·dy elsewhere"
);
kernel!(
    /// y = tanh x.
    TANH,
    "hyperbolic_tangent",
    "y = tanh(x)"
);
kernel!(
    /// dx from y and dy.
    TANH_GRADIENT,
    "hyperbolic_tangent_gradient",
    "dx = dy·(1 − y)(1 + y)"
);
kernel!(
    /// y = a + b.
    ADD,
    "add",
    "y = a + b"
);
kernel!(
    /// A running statistic moves towards the batch's.
    UPDATE_RUNNING,
    "update_running",
    "running ← keep·running + gain·batch"
);

/// Tensors read or written, and operations, per element.
fn traffic(kernel: &Kernel) -> (usize, usize) {
    match kernel.name {
        "leaky_relu" | "hyperbolic_tangent" => (2, 1),
        "leaky_relu_gradient" => (3, 1),
        "hyperbolic_tangent_gradient" | "update_running" => (3, 3),
        _ => (3, 1),
    }
}

/// A launch over `length` elements.
pub fn launch(kernel: &'static Kernel, length: usize) -> Launch {
    let (tensors, operations) = traffic(kernel);
    Launch::new(
        kernel,
        [length.div_ceil(THREADS as usize), 1, 1],
        [THREADS, 1, 1],
        Work {
            operations: (operations * length) as f64,
            bytes: f32_bytes(tensors * length),
        },
    )
}
