//! CUDA C++ kernels of a convolutional GAN, their launch geometry and work model.
//!
//! * `cuda/` holds one file per kernel family. Each compiles and launches on its own and includes no system header.
//! * `simt/` holds the headers with which a host compiler compiles the same files, to run them on a CPU.
//! * [`MANIFEST`] lists every kernel: its result, and its difference to the simpler kernel of its kind.
//! * The modules of this crate turn an operator's shape into a [`Launch`]: kernel, specialisation, grid, block, and
//!   the least [`Work`].
//!
//! This crate makes no driver calls. [`Sources`] are embedded, or read from the folder in `COSMOGAN_KERNELS`.
//!
//! ```
//! use cosmogan_kernels::{Sources, elementwise};
//!
//! let launch = elementwise::launch(&elementwise::ADD, 1000);
//! assert_eq!(launch.grid, [4, 1, 1]);
//! assert_eq!(launch.work.bytes, 12_000.0);
//! let text = Sources::built_in().family(launch.kernel.source).to_owned();
//! assert!(text.contains("void add("));
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
mod precision;
pub mod reduce;
pub mod single_channel;
mod sources;
pub mod tensor_map;
mod tier;
mod tile;
pub mod tuning;

pub use convolution::{ConvProduct, ConvShape};
pub use kernel::{Kernel, Launch, Module, Work};
pub use manifest::{MANIFEST, hopper_modules_for, modules, modules_for};
pub use precision::Precision;
pub use sources::{SIMT_HEADERS, SOURCES_VARIABLE, Sources};
pub use tier::{DECLARED_SHARED_BYTES, Tier};
