//! Kernels on the executor: planted faults, and tensors that are stored packed.

mod hopper;
mod packed;
mod simt;
