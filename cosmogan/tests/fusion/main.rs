//! Fused epilogues against passes of their own, in training and at inference.

#[path = "../../../engine/conformance/tests/launchers.rs"]
mod launchers;

mod inference;
mod training;
