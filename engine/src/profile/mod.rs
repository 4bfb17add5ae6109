//! Profiles computations per operator and per kernel launch.
//!
//! [`Profiled`] is a [`Backend`](crate::backend::Backend) that wraps another one. On the CPU it reads a monotonic clock
//! before and after each operator. On a device that runs kernels it wraps both the backend and its launcher: every
//! launch is recorded with its operator, between two marks of the device's clock. Ordinary runs do not use the wrapper
//! and so have no overhead.
//!
//! The [inference generator](crate::inference) reports the begin and end of each of its layers to a [`Layers`].
//!
//! [`Operator`] gives the name, extents and amount of work; [`ceiling`] measures the peak rates of the CPU.
//!
//! ```
//! use std::sync::Arc;
//!
//! use cosmogan_engine::Shape;
//! use cosmogan_engine::backend::{Backend, Op};
//! use cosmogan_engine::backend::cpu::CpuBackend;
//! use cosmogan_engine::profile::Profiled;
//!
//! # fn main() -> cosmogan_engine::Result<()> {
//! let backend = Profiled::on_processor(Arc::new(CpuBackend::new()));
//! let a = backend.upload(Shape::from([2, 8, 8, 3]), &[1.0; 384])?;
//! let mut sum = backend.empty(a.shape().clone())?;
//! backend.start();
//! backend.run(Op::Add { a: &a, b: &a, y: &mut sum })?;
//! let samples = backend.finish()?;
//! assert_eq!(samples[0].operator.to_string(), "add 384");
//! assert_eq!(samples[0].work.bytes, 3.0 * 4.0 * 384.0);
//! assert!(samples[0].seconds.is_some());
//! # Ok(())
//! # }
//! ```

mod backend;
pub mod ceiling;
mod instruments;
mod launcher;
mod layers;
mod operator;
mod profiler;
mod text;
mod work;

pub use backend::Profiled;
pub use instruments::{Instruments, KernelResources};
pub use layers::Layers;
pub use operator::{Extents, Kind, Operator};
pub use profiler::Sample;
