//! One file per operator: values and gradients, each with its bound.
//!
//! Layouts match the engine: activations `[N, H, W, C]`, convolution weights `[R, S, C, K]`, linear weights `[O, I]`,
//! all row-major.

pub mod activation;
pub mod adam;
pub mod add;
pub mod batch_norm;
pub mod bce;
pub mod bias;
pub mod convolution;
pub mod gather;
pub mod linear;
pub mod squared_norm;
pub mod winograd;
