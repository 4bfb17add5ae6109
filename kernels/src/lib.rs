//! CUDA C++ kernels of a convolutional GAN: their sources, how each is launched, and what a launch costs at least.
//!
//! * `cuda/` holds one file per kernel family; each compiles and launches on its own and includes no system header.
//! * `simt/` holds the header that lets a host compiler take the same files, for running them on a processor.
//! * [`MANIFEST`] lists every kernel: what it computes, and what it does that the plain one of its kind does not.
//! * The modules of this crate turn an operator's shape into a [`Launch`]: kernel, specialisation, grid, block, and the
//!   [`Work`] that no implementation can avoid.
//!
//! Nothing here talks to a driver.
//!
//! ```
//! use cosmogan_kernels::{elementwise, source};
//!
//! let launch = elementwise::launch(&elementwise::ADD, 1000);
//! assert_eq!(launch.grid, [4, 1, 1]);
//! assert_eq!(launch.work.bytes, 12_000.0);
//! assert!(source(launch.kernel.source).contains("void add("));
//! ```
#![forbid(unsafe_code)]

pub mod adam;
pub mod batch_norm;
pub mod convolution;
pub mod data;
pub mod elementwise;
pub mod implicit_gemm;
pub mod implicit_gemm_hopper;
pub mod implicit_gemm_hopper_wgrad;
mod kernel;
pub mod linear;
pub mod loss;
mod manifest;
pub mod pack;
pub mod reduce;
pub mod single_channel;
mod sources;
pub mod tensor_map;
pub mod tuning;

pub use kernel::{DECLARED_SHARED_BYTES, Kernel, Launch, Module, Tier, Work};
pub use manifest::{MANIFEST, hopper_modules_for, modules, modules_for};
pub use sources::{HEADERS, SIMT_HEADERS, source};
