//! The generator on a CPU, without tape, tensors or libraries.
//!
//! Weights are packed once, and nothing is allocated per map.
//!
//! ```text
//!   latents ── dense ──► [16²×512] ── direct or Winograd ──► … ──► [128²×64] ── last ──► maps
//!                        feature maps, NHWC, with a border of zeros             GEMM, sums, tanh
//! ```
//!
//! * [`simd`](InstructionSet) provides vectors in three instruction sets; every kernel is written once and compiled
//!   for each.
//! * `simd/product.rs` is the inner loop of all GEMMs: a tile of the result in registers. Layers differ in the meaning of
//!   rows, columns and depth of the GEMM, and in the operations on its results before they are stored, once.
//! * `team.rs` runs the threads of a call through the stages together; `stack.rs` defines the stages.
//!
//! Batch normalisation is folded into weights and shifts. The order of sums depends only on shapes and instruction set.
//! Training has a Winograd of its own (`backend/cpu/convolution/winograd`), which also computes gradients and works on tensors;
//! both use the transforms of `simd/winograd.rs`.

mod dense;
mod direct;
mod image;
mod last_layer;
mod stack;
mod team;
mod watch;
mod winograd;
mod workspaces;

pub use crate::simd::InstructionSet;
pub use stack::{Description, FileValues, Layer, Method, Stack};
pub use watch::Watch;
