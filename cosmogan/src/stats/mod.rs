//! Summary statistics of maps, with LensTools' definitions.

mod bins;
mod distribution;
mod minkowski;
mod peaks;
mod pixels;
mod power_spectrum;
pub mod two_sample;

pub use bins::{Thresholds, linear_edges, middles};
pub use distribution::Distribution;
pub use minkowski::Minkowski;
pub use peaks::Peaks;
pub use pixels::{Moments, PixelBins};
pub use power_spectrum::PowerSpectrum;
