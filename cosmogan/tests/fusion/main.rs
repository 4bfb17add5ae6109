//! Fused epilogues against passes of their own, in training and at inference.

#[path = "../../../engine/conformance/tests/launchers.rs"]
mod launchers;

mod inference;
mod training;

use cosmogan_engine::Padding;
use cosmogan_engine::ops::BatchNormSettings;

/// Padding of the models' convolutions.
const SAME: Padding = Padding {
    begin: [1, 1],
    end: [2, 2],
};
/// Rows and columns of their windows.
const WINDOW: usize = 5;
/// Their stride.
const STRIDE: [usize; 2] = [2, 2];
/// Normalisation of the discriminator's hidden layers.
const SETTINGS: BatchNormSettings = BatchNormSettings {
    epsilon: 1e-5,
    slope: 0.2,
};
