//! Are two samples drawn from one distribution? The Kolmogorov–Smirnov and the Anderson–Darling test, with tabulated
//! significance and with bootstrapped significance.

mod anderson_darling;
mod bootstrap;
mod kolmogorov_smirnov;
mod pixel_test;

pub use anderson_darling::{anderson_darling, standardised};
pub use bootstrap::{Bootstrap, Significance, TwoSampleTest};
pub use kolmogorov_smirnov::KolmogorovSmirnov;
pub use pixel_test::PixelTest;
