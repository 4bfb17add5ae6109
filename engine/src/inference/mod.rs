//! The generator on a processor, without tape, tensors or libraries: weights packed once, nothing allocated per map.
//!
//! ```text
//!   latents ── dense ──► [16²×512] ── direct or minimal ──► … ──► [128²×64] ── single ──► maps
//!                        feature maps, NHWC, in a border of zeros            product, sums, tanh
//! ```
//!
//! * [`simd`](InstructionSet) has vectors in three instruction sets; every kernel is written once and compiled for each.
//! * `simd/product.rs` is the one inner loop: a tile of a matrix product in registers. Layers differ in what the rows, the
//!   columns and the depth of the product are, and in what is done with its results before they are stored, once.
//! * `team.rs` takes a call's threads through the stages together; `stack.rs` says which stages there are.
//!
//! Batch normalisation is folded into weights and shifts. Sums are taken in an order that depends on shapes alone.

mod dense;
mod direct;
mod image;
mod mapped;
mod minimal;
mod single;
mod stack;
mod team;
mod watch;

pub use crate::simd::InstructionSet;
pub use mapped::mapped;
pub use stack::{Description, FileValues, Layer, Method, Stack};
pub use watch::Watch;
