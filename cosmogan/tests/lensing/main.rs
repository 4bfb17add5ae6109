//! Maps, statistics and simulations.

#[path = "../support/mod.rs"]
mod support;

mod crops;
mod data;
mod dataset;
mod evaluate;
mod explore;
mod files;
mod nbody;
mod physics;
mod report;
mod shapes;
mod simulate;
mod stats;
