//! Wave numbers along one axis of a mesh, for derivatives.

use std::f64::consts::TAU;

use super::fourier::Fourier;

/// Wave numbers in radian per cell, by row or column index.
pub(super) struct Waves {
    /// Wave number for first derivatives; 0 for the Nyquist mode, which has none.
    pub(super) slope: Vec<f32>,
    /// Squared wave number, including the Nyquist mode.
    pub(super) square: Vec<f32>,
}

impl Waves {
    pub(super) fn new(fourier: &Fourier) -> Self {
        let side = fourier.side();
        let wave = |index: usize| TAU / side as f64 * fourier.wave(index);
        Self {
            slope: (0..side)
                .map(|index| {
                    if 2 * index == side {
                        0.0
                    } else {
                        wave(index) as f32
                    }
                })
                .collect(),
            square: (0..side).map(|index| wave(index).powi(2) as f32).collect(),
        }
    }

    /// k² of a mode.
    pub(super) fn laplacian(&self, [x, y, z]: [usize; 3]) -> f32 {
        self.square[x] + self.square[y] + self.square[z]
    }

    /// 1/k²; 0 for the mean mode.
    pub(super) fn inverse_square(&self, mode: [usize; 3]) -> f32 {
        let square = self.laplacian(mode);
        if square > 0.0 { 1.0 / square } else { 0.0 }
    }
}
