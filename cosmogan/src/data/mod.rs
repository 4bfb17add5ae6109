//! Maps in and out of files: NumPy's NPY and FITS images.

mod crops;
mod fits;
mod map_file;
mod map_set;
mod npy;
mod precision;
mod survey;
mod writer;

pub use crops::Crop;
pub(crate) use crops::crops;
pub use map_file::MapFile;
pub use map_set::MapSet;
pub use precision::DataPrecision;
pub use survey::Survey;
pub(crate) use survey::require_finite;
pub use writer::MapWriter;
pub(crate) use writer::npy_header;
