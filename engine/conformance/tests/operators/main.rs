//! Tests of every operator on every device against the oracle, and of faults that must be detected.

#[path = "../launchers.rs"]
mod launchers;

mod conformance;
mod hidden_layer;
mod parts;
mod precision;
mod text;
