//! The generator alone, and the one that ships.

#[path = "../support/mod.rs"]
mod support;

mod files;
mod interface;
mod shipped;
