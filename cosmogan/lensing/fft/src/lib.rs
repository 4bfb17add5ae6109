//! Plans of one-dimensional Fourier transforms, without normalisation, for one precision each.
//!
//! The planners of `rustfft` are generic: a crate that calls one compiles the kernels of all algorithms. This crate
//! compiles them once. A plan is a trait object and costs its users nothing.
#![forbid(unsafe_code)]

use std::sync::Arc;

use realfft::RealFftPlanner;
use rustfft::FftPlanner;

pub use realfft::{ComplexToReal, RealToComplex};
pub use rustfft::{Fft, num_complex};

/// Plans in single precision.
pub mod f32 {
    use super::*;

    /// The transform of `length` complex values, and its inverse times `length`.
    pub fn complex(length: usize) -> [Arc<dyn Fft<f32>>; 2] {
        let mut planner = FftPlanner::new();
        [
            planner.plan_fft_forward(length),
            planner.plan_fft_inverse(length),
        ]
    }

    /// The transform of `length` real values to `length` / 2 + 1 complex ones.
    pub fn real(length: usize) -> Arc<dyn RealToComplex<f32>> {
        RealFftPlanner::new().plan_fft_forward(length)
    }

    /// The inverse of [`real`], times `length`.
    pub fn real_inverse(length: usize) -> Arc<dyn ComplexToReal<f32>> {
        RealFftPlanner::new().plan_fft_inverse(length)
    }
}

/// Plans in double precision.
pub mod f64 {
    use super::*;

    /// The transform of `length` complex values, and its inverse times `length`.
    pub fn complex(length: usize) -> [Arc<dyn Fft<f64>>; 2] {
        let mut planner = FftPlanner::new();
        [
            planner.plan_fft_forward(length),
            planner.plan_fft_inverse(length),
        ]
    }

    /// The transform of `length` real values to `length` / 2 + 1 complex ones.
    pub fn real(length: usize) -> Arc<dyn RealToComplex<f64>> {
        RealFftPlanner::new().plan_fft_forward(length)
    }
}
