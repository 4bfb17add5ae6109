//! Pictures and the page that holds them.
//!
//! [`Comparison::write`] sets maps of a generator beside real ones and leaves a folder with `report.html` (one page that
//! needs no other file and no network), `metrics.json` (the same for programs), and the pictures and plots on their own.
//! [`map_grid_png`] draws maps alone, for a look during training.
//!
//! Units: κ is dimensionless, spectra C_ℓ are in steradian, sides of maps in degrees, losses in nats.

mod animation;
pub mod colour;
mod compare;
mod digits;
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
pub use compare::{Comparison, MapFigure, Sample};
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
