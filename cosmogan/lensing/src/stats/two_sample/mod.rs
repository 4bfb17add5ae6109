//! Two-sample tests: Kolmogorov–Smirnov and Anderson–Darling.
//!
//! With analytic and with bootstrap p-values.

mod anderson_darling;
mod bootstrap;
mod kolmogorov_smirnov;
mod pixel_test;
mod pooled;

pub use anderson_darling::{anderson_darling, standardised};
pub use bootstrap::{Bootstrap, Significance, TwoSampleTest};
pub use kolmogorov_smirnov::KolmogorovSmirnov;
pub use pixel_test::PixelTest;
