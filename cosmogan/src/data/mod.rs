//! Maps in and out of files: NumPy's NPY and FITS images.

mod crops;
mod fits;
mod map_set;
mod npy;
mod reader;
mod writer;

pub(crate) use crops::crops;
pub use map_set::MapSet;
pub(crate) use map_set::not_finite;
pub use reader::MapReader;
pub use writer::MapWriter;
pub(crate) use writer::npy_header;
