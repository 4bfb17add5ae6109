//! Layout of the numbers in a map file.

/// Storage format of the numbers in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NumberFormat {
    /// Bytes per number: 4 or 8.
    pub(super) bytes: usize,
    /// Whether numbers are big-endian.
    pub(super) big_endian: bool,
}

/// Layout of a file, read from its header.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Layout {
    /// Number of maps, rows, columns.
    pub(super) dims: [usize; 3],
    pub(super) format: NumberFormat,
    /// Byte offset of the first number.
    pub(super) offset: u64,
    /// FITS scaling (BSCALE, BZERO): physical = stored·scale + zero.
    pub(super) scale: f64,
    pub(super) zero: f64,
    pub(super) side_degrees: Option<f64>,
}
