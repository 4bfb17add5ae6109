//! Reports: plots, images of maps, and an HTML page.
//!
//! [`Comparison::write`] compares generated maps with real ones and writes a folder with `report.html` (self-contained,
//! no network access), `metrics.json` (the same content, machine-readable), and the images and plots as separate files.
//! [`map_grid_png`] draws maps only, for example as a preview during training.
//!
//! Units: κ is dimensionless, spectra C_ℓ are in steradian, sides of maps in degrees, losses in nats.

mod animation;
pub mod colour;
mod compare;
mod comparison;
mod digits;
mod encode;
mod html;
mod metrics;
mod numbers;
mod picture;
mod plots;
mod significance;
mod summary;
mod write;

pub use animation::animation_png;
pub use colour::ColourRange;
pub use comparison::{Comparison, MapFigure, Sample, Stage, Work};
pub use metrics::{Correlations, CovarianceNumbers, Metrics};
pub use numbers::{Distances, PixelNumbers};
pub use picture::{Zoom, bare_map_grid_png, map_grid_png};
pub use plots::{
    Band, DistributionPanel, Distributions, Histogram, PixelHistograms, Plot, Roof, Roofline,
    RooflinePoint, SelectionCurve, SpectrumBands, ThresholdBands, ThresholdPanel, TrainingCurve,
    TrainingPoint,
};
pub use significance::{PaperRow, Tests};
pub use summary::{SampleSummary, Summary};
pub use write::is_own_file;
