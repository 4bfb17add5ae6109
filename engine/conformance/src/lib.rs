//! Checks that every operator of a device computes what the oracle defines, within the oracle's error bounds.
//!
//! Engine and oracle do not depend on each other. This crate depends on both: [`compute`] runs a case of the oracle
//! through the tape, and [`check`] compares every output. `cosmogan verify`, `profile`, `tune` and the property tests
//! use it.
//!
//! ```
//! use std::sync::Arc;
//!
//! use cosmogan_conformance::{arithmetic, check};
//! use cosmogan_engine::backend::cpu::CpuBackend;
//! use cosmogan_engine::backend::{Backend, Precision};
//!
//! let backend: Arc<dyn Backend> = Arc::new(CpuBackend::checked());
//! let case = "conv2d n=2 h=7 w=9 c=3 k=4 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=17".parse().unwrap();
//! let result = check(&case, &backend, &arithmetic(Precision::F32), usize::MAX).unwrap();
//! assert!(result.passed && result.error <= 1.0);
//! ```
#![forbid(unsafe_code)]

mod check;
mod compare;
mod compute;

pub use check::Check;
pub use compare::{arithmetic, check, methods};
pub use compute::{Outputs, compute, conv_shape, convolution_of};
