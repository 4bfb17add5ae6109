//! Where the time of a computation goes, operator by operator and launch by launch.
//!
//! [`Profiled`] is a [`Backend`](crate::backend::Backend) around another one. On a processor it reads a monotonic clock
//! before and after each operator; on a device that takes kernels it stands on both sides of the operators, so that
//! every launch is recorded with the operator that it belongs to, between two marks of the device's own clock. Nothing
//! of it exists in an ordinary run: no field, no branch.
//!
//! A generator that runs [by itself](crate::inference) tells a [`Layers`] when each of its layers begins and ends.
//!
//! [`Operator`] names what ran and says how much work it is; [`ceiling`] measures what the processor can do at most.
//!
//! ```
//! use std::sync::Arc;
//!
//! use cosmogan_engine::Shape;
//! use cosmogan_engine::backend::Backend;
//! use cosmogan_engine::backend::cpu::CpuBackend;
//! use cosmogan_engine::profile::Profiled;
//!
//! # fn main() -> cosmogan_engine::Result<()> {
//! let backend = Profiled::on_processor(Arc::new(CpuBackend::new()));
//! let a = backend.upload(Shape::from([2, 8, 8, 3]), &[1.0; 384])?;
//! let mut sum = backend.empty(a.shape().clone())?;
//! backend.start();
//! backend.add(&a, &a, &mut sum)?;
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
