//! Pictures and the page that holds them.

pub mod colour;
pub mod numbers;
pub mod picture;
pub mod plots;
