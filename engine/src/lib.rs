//! Tensors on a device, an autodiff tape, and the operators of a convolutional GAN.
//!
//! * [`Tensor`] is a dense row-major array of `f32` that lives on one device.
//! * [`backend::Op`] is the list of operators, and a [`backend::Backend`] a device that runs them: [`backend::cpu`] on CPU
//!   cores, [`backend::launch`] as kernel launches, which [`backend::simt`] runs on a CPU.
//! * [`Tape`] records operators as they are called and computes gradients by reverse-mode differentiation. An operator that
//!   may be fused with the next one runs when its result is first read.
//! * [`ops`] holds one file per operator: shape checks, forward and backward pass.
//! * [`profile`] measures where the time goes.
//!
//! ```
//! use std::sync::Arc;
//!
//! use cosmogan_engine::backend::cpu::CpuBackend;
//! use cosmogan_engine::backend::{Activation, Backend};
//! use cosmogan_engine::{Shape, Tape};
//!
//! # fn main() -> cosmogan_engine::Result<()> {
//! let backend: Arc<dyn Backend> = Arc::new(CpuBackend::new());
//! let tape = Tape::new(backend.clone());
//! let weight = tape.parameter(backend.upload(Shape::from([1, 2]), &[0.5, -1.0])?);
//! let bias = tape.parameter(backend.upload(Shape::from([1]), &[0.25])?);
//! let x = tape.constant(backend.upload(Shape::from([1, 2]), &[3.0, 1.0])?);
//!
//! let hidden = tape.linear(&x, &weight, &bias)?;
//! let logit = tape.activate(&hidden, Activation::Relu)?;
//! let loss = tape.bce_with_logits(&logit, 1.0)?;
//! let gradients = tape.gradients_of_loss(&loss, &[&weight, &bias])?;
//! // dloss/dbias = σ(0.75) − 1.
//! assert!((backend.download(&gradients[1])?[0] + 0.3208).abs() < 1e-4);
//! # Ok(())
//! # }
//! ```
#![deny(unsafe_code)]

pub mod half;
pub mod inference;

#[cfg(feature = "training")]
pub mod adam;
#[cfg(feature = "training")]
pub mod backend;
#[cfg(feature = "training")]
mod error;
#[cfg(feature = "training")]
mod geometry;
#[cfg(feature = "training")]
mod gradient;
#[cfg(feature = "training")]
mod lazy;
#[cfg(feature = "training")]
pub mod ops;
#[cfg(feature = "training")]
mod part;
#[cfg(feature = "training")]
pub mod profile;
#[cfg(feature = "training")]
mod shape;
mod simd;
#[cfg(feature = "training")]
mod tape;
#[cfg(feature = "training")]
mod tensor;

#[cfg(feature = "training")]
pub use error::{Error, Result};
#[cfg(feature = "training")]
pub use geometry::{ConvGeometry, ConvMethod, ConvProduct, Padding};
#[cfg(feature = "training")]
pub use part::Part;
#[cfg(feature = "training")]
pub use shape::Shape;
#[cfg(feature = "training")]
pub use tape::{Tape, Variable};
#[cfg(feature = "training")]
pub use tensor::{Buffer, Tensor};
