//! Shifted-lognormal random fields on a periodic square.
//!
//! κ = shift·(e^{g − σ²/2} − 1), with a Gaussian field g of variance σ², has zero mean, no value below −shift, positive
//! skewness, and the correlation function ξ_κ = shift²·(e^{ξ_g} − 1) (Coles & Jones 1991). Therefore ξ_g = ln(1 +
//! ξ_κ/shift²), evaluated on the grid, gives the requested spectrum exactly at every mode of the grid, provided that
//! the spectrum of g is nowhere negative. Negative modes are set to zero and their share of the variance is reported.

use std::f64::consts::TAU;
use std::fmt;
use std::sync::Arc;

use cosmogan_fft::Fft;
use cosmogan_fft::num_complex::Complex64;

use cosmogan_base::rng::{Normals, Purpose, stream};
use cosmogan_base::{Error, Result};

/// Smallest shift in standard deviations of κ.
/// For smaller ones the skewness diverges and a few peaks hold all the power.
const SMALLEST_SHIFT: f64 = 0.5;

/// Generator of lognormal fields with one power spectrum.
pub(super) struct LognormalField {
    pixels: usize,
    shift: f64,
    /// Standard deviation of each Fourier mode of g.
    amplitudes: Vec<f64>,
    variance: f64,
    clipped_share: f64,
    inverse: Arc<dyn Fft<f64>>,
}

impl LognormalField {
    /// Prepares fields of `pixels`² on a periodic square.
    ///
    /// `side` is in radian; the spectrum is C_ℓ = `power`(ℓ) in steradian.
    ///
    /// # Errors
    /// If the shift is too small for the variance of the field.
    pub(super) fn new(
        power: impl Fn(f64) -> f64,
        pixels: usize,
        side: f64,
        shift: f64,
    ) -> Result<Self> {
        let [forward, inverse] = cosmogan_fft::f64::complex(pixels);
        let area = side * side;
        let mut field: Vec<Complex64> = (0..pixels * pixels)
            .map(|index| {
                let mode = |index: usize| index.min(pixels - index) as f64;
                let ell = TAU / side * mode(index / pixels).hypot(mode(index % pixels));
                Complex64::from(power(ell) / area)
            })
            .collect();
        // Modes longer than the square appear as its mean.
        field[0] = Complex64::from(lowest_mode(&power, side) / area);
        transform(&mut field, pixels, &*inverse);
        let deviation = field[0].re.sqrt();
        let deepest = field
            .iter()
            .fold(0.0_f64, |least, value| least.min(value.re));
        if shift < SMALLEST_SHIFT * deviation || deepest <= -shift.powi(2) {
            return Err(Error::usage(
                "--shift",
                format!("{shift} is too small for the field's standard deviation, {deviation:.4}"),
                format!("give {:.4} or more", SMALLEST_SHIFT * deviation),
            ));
        }
        for value in &mut field {
            *value = Complex64::from((value.re / shift.powi(2)).ln_1p());
        }
        transform(&mut field, pixels, &*forward);
        let modes = (pixels * pixels) as f64;
        let (mut kept, mut clipped) = (0.0, 0.0);
        let amplitudes = field
            .iter()
            .map(|value| {
                let variance = value.re / modes;
                if variance > 0.0 {
                    kept += variance;
                    variance.sqrt()
                } else {
                    clipped -= variance;
                    0.0
                }
            })
            .collect();
        Ok(Self {
            pixels,
            shift,
            amplitudes,
            variance: kept,
            clipped_share: clipped / kept,
            inverse,
        })
    }

    pub(super) fn clipped_share(&self) -> f64 {
        self.clipped_share
    }

    /// Draws field `index` of `seed`, row by row.
    pub(super) fn draw(&self, seed: u64, index: u64) -> Vec<f32> {
        let mut normals = Normals::new(stream(seed, Purpose::Simulation, index));
        let mut normal = || normals.draw();
        // Independent complex modes: the real part of their transform is a real field with the right spectrum.
        let mut field: Vec<Complex64> = self
            .amplitudes
            .iter()
            .map(|amplitude| Complex64::new(amplitude * normal(), amplitude * normal()))
            .collect();
        transform(&mut field, self.pixels, &*self.inverse);
        field
            .iter()
            .map(|value| (self.shift * (value.re - 0.5 * self.variance).exp_m1()) as f32)
            .collect()
    }
}

/// Average of the spectrum over the cell of the ℓ = 0 mode, a square of side 2π/side.
fn lowest_mode(power: impl Fn(f64) -> f64, side: f64) -> f64 {
    const STEPS: usize = 16;
    let offset = |index: usize| TAU / side * ((index as f64 + 0.5) / STEPS as f64 - 0.5);
    let sum: f64 = (0..STEPS * STEPS)
        .map(|index| power(offset(index / STEPS).hypot(offset(index % STEPS))))
        .sum();
    sum / (STEPS * STEPS) as f64
}

/// Unnormalised two-dimensional FFT of a square field.
fn transform(field: &mut [Complex64], pixels: usize, fft: &dyn Fft<f64>) {
    let mut scratch = vec![Complex64::default(); fft.get_inplace_scratch_len()];
    fft.process_with_scratch(field, &mut scratch);
    transpose(field, pixels);
    fft.process_with_scratch(field, &mut scratch);
    transpose(field, pixels);
}

fn transpose(field: &mut [Complex64], pixels: usize) {
    for row in 0..pixels {
        for column in row + 1..pixels {
            field.swap(row * pixels + column, column * pixels + row);
        }
    }
}

impl fmt::Debug for LognormalField {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "LognormalField({0}×{0}, shift {1})",
            self.pixels, self.shift
        )
    }
}
