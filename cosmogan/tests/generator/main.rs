//! The generator alone, and the one that ships.

#[path = "../support/mod.rs"]
mod support;

mod interface;
mod shipped;
