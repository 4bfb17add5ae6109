//! Launches of `loss.cu`: binary cross-entropy on logits.

use crate::kernel::{Kernel, Launch, Work, f32_bytes, kernel};

const THREADS: u32 = 256;

kernel!(
    /// Mean loss over all logits.
    BCE,
    "loss.cu",
    Plain,
    "bce_with_logits",
    "mean of max(x, 0) − x·target + ln(1 + e^−|x|)",
    "plain: one block, because a batch has few logits"
);

kernel!(
    /// Gradient of the loss.
    BCE_GRADIENT,
    "loss.cu",
    Plain,
    "bce_with_logits_gradient",
    "dx = dloss·(σ(x) − target)/count",
    "plain: one thread per logit"
);

/// Loss of `length` logits.
pub fn bce(length: usize) -> Launch {
    launch(&BCE, length, 1, 1)
}

/// Gradient of the loss of `length` logits.
pub fn bce_gradient(length: usize) -> Launch {
    launch(&BCE_GRADIENT, length, length.div_ceil(THREADS as usize), 2)
}

fn launch(kernel: &'static Kernel, length: usize, blocks: usize, tensors: usize) -> Launch {
    Launch::new(
        kernel,
        [blocks, 1, 1],
        [THREADS, 1, 1],
        Work {
            operations: (6 * length) as f64,
            bytes: f32_bytes(tensors * length + 1),
        },
    )
}
