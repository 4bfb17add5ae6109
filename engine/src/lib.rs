//! Tensors on a device, an autodiff tape, and the operators of a convolutional GAN.
//!
//! * [`Tensor`] is a dense row-major array of `f32` that lives on one device.
//! * [`backend::Backend`] is the list of operators a device must offer; [`backend::cpu`] offers them on processor cores.
//! * [`Tape`] records operators as they run and gives gradients by reverse-mode differentiation.
//! * [`ops`] holds one file per operator: its shapes, its forward, its backward.
#![deny(unsafe_code)]

pub mod adam;
pub mod backend;
mod error;
mod geometry;
pub mod ops;
mod shape;
mod tape;
mod tensor;

pub use error::{Error, Result};
pub use geometry::{ConvGeometry, Padding};
pub use shape::Shape;
pub use tape::{Tape, Variable};
pub use tensor::Tensor;
