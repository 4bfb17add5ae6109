//! Reading and writing maps: NumPy's NPY format and FITS images. Writing arrays as NPZ.

mod crops;
mod fits;
mod fits_header;
mod foreign;
mod layout;
mod literal;
mod map_file;
mod map_set;
mod npy;
mod npz;
mod survey;
mod writer;

pub use crops::Crop;
pub use crops::crops;
pub use map_file::MapFile;
pub use map_set::MapSet;
pub use npz::NpzWriter;
pub use survey::Survey;
pub use survey::require_finite;
pub use writer::MapWriter;
pub use writer::npy_header;
