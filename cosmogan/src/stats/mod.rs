//! Summary statistics of maps.
