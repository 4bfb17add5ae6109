//! Summary statistics of maps with LensTools' definitions, and two-sample tests.

mod bins;
mod chi_squared;
mod columns;
mod correlation;
mod covariance;
mod distribution;
mod estimators;
mod minkowski;
mod peaks;
mod pixels;
mod power_spectrum;
mod shape;
mod smoothing;
pub mod two_sample;

pub use bins::{Thresholds, linear_edges, logarithmic_edges, middles};
pub use chi_squared::{CHI_SQUARED_BINS, ChiSquared};
pub use columns::{Columns, median};
pub use correlation::CorrelationMatrix;
pub use covariance::{CovarianceRatios, Interval};
pub use distribution::Distribution;
pub use estimators::{Edges, Estimators, Measurements};
pub use minkowski::Minkowski;
pub use peaks::Peaks;
pub use pixels::{Moments, PixelBins};
pub use power_spectrum::PowerSpectrum;
pub use shape::{Shape, ShapeEstimator};
pub use smoothing::smoothed;
