//! Simulated convergence maps; no input file is needed.
//!
//! [`Simulation`] projects the matter power spectrum of a flat universe for sources at one redshift and draws
//! shifted-lognormal fields from it. [`nbody`] simulates structure formation with particles and traces light rays.
//!
//! | file | content | source |
//! | --- | --- | --- |
//! | `cosmology` | distances and growth in a flat ΛCDM or wCDM universe | Friedmann equation |
//! | `linear_power` | linear matter power spectrum | Eisenstein & Hu 1998 |
//! | `halofit` | nonlinear correction | Takahashi et al. 2012 |
//! | `limber` | C_ℓ of the convergence | Limber 1953, Kaiser 1992 |
//! | `lognormal` | lognormal fields with that C_ℓ | Coles & Jones 1991, Xavier et al. 2016 |

mod cosmology;
mod halofit;
mod limber;
mod linear_power;
mod lognormal;
pub mod nbody;

use std::ops::Range;

use rayon::prelude::*;

use cosmogan_base::{Error, Result};

pub use cosmology::Cosmology;
pub use limber::ConvergencePower;
use lognormal::LognormalField;

/// Range of the patch side in units of the map side.
/// At least two, so that opposite edges of a map are not correlated.
const FEWEST_SIDES: usize = 2;
const MOST_SIDES: usize = 8;
/// Minimum patch side in degrees, within those limits.
/// Smaller patches lack long waves that a map can resolve.
const PATCH_DEGREES: f64 = 1.7;

/// Lognormal map simulator for one cosmology, source redshift, map size and angle.
#[derive(Debug)]
pub struct Simulation {
    power: ConvergencePower,
    field: LognormalField,
    pixels: usize,
    side_degrees: f64,
    patch_sides: usize,
    shift: f64,
}

impl Simulation {
    /// Prepares maps of `pixels`² with a side of `side_degrees`.
    ///
    /// `source_redshift` is the redshift of the sources. `shift` is −κ_min of the lognormal field; by default the fit
    /// of Hilbert, Hartlap & Schneider 2011 (their eq. 27) for that redshift.
    ///
    /// # Errors
    /// If a setting is out of range; the error names the flag of `cosmogan simulate`.
    pub fn new(
        cosmology: &Cosmology,
        source_redshift: f64,
        pixels: usize,
        side_degrees: f64,
        shift: Option<f64>,
    ) -> Result<Self> {
        cosmology.validate()?;
        let positive = |flag: &str, value: f64, largest: f64| {
            if value > 0.0 && value <= largest {
                return Ok(());
            }
            Err(Error::usage(
                flag,
                format!("{value} is out of range"),
                format!("give a number above 0 and up to {largest}"),
            ))
        };
        positive("--source-redshift", source_redshift, 10.0)?;
        // The flat-sky approximation is used.
        positive("--side-degrees", side_degrees, 20.0)?;
        if !(8..=8192).contains(&pixels) || !pixels.is_multiple_of(2) {
            return Err(Error::usage(
                "--pixels",
                format!("{pixels} is out of range"),
                "give an even number from 8 to 8192",
            ));
        }
        let power = ConvergencePower::new(cosmology, source_redshift);
        let finest = std::f64::consts::SQRT_2 * 180.0 * pixels as f64 / side_degrees;
        if finest > ConvergencePower::LARGEST_MULTIPOLE {
            return Err(Error::usage(
                "--side-degrees",
                format!("{pixels} pixels on {side_degrees} degrees resolve less than an arcsecond"),
                "give a larger side or fewer pixels",
            ));
        }
        let shift = shift.unwrap_or_else(|| default_shift(cosmology, source_redshift));
        positive("--shift", shift, 1.0)?;
        let patch_sides =
            ((PATCH_DEGREES / side_degrees).ceil() as usize).clamp(FEWEST_SIDES, MOST_SIDES);
        let field = LognormalField::new(
            |ell| power.at(ell),
            patch_sides * pixels,
            patch_sides as f64 * side_degrees.to_radians(),
            shift,
        )?;
        Ok(Self {
            power,
            field,
            pixels,
            side_degrees,
            patch_sides,
            shift,
        })
    }

    /// C_ℓ of the convergence, in steradian.
    pub fn angular_power(&self, ell: f64) -> f64 {
        self.power.at(ell)
    }

    /// Shift −κ_min: no pixel lies below its negative.
    pub fn shift(&self) -> f64 {
        self.shift
    }

    /// Share of the Gaussian field's variance in modes that were set to zero.
    ///
    /// Their variance would have been negative: no Gaussian field has the required correlation function.
    pub fn clipped_share(&self) -> f64 {
        self.field.clipped_share()
    }

    /// Pixels on a side of the periodic patch from which a map is cut.
    pub fn patch_pixels(&self) -> usize {
        self.patch_sides * self.pixels
    }

    /// Side of the periodic patch in degrees.
    pub fn patch_degrees(&self) -> f64 {
        self.patch_sides as f64 * self.side_degrees
    }

    /// Draws the whole periodic patch of map `index` of `seed`, row by row.
    pub fn patch(&self, seed: u64, index: u64) -> Vec<f32> {
        self.field.draw(seed, index)
    }

    /// Draws map `index` of `seed`, row by row.
    ///
    /// The result does not depend on which other maps are drawn.
    pub fn map(&self, seed: u64, index: u64) -> Vec<f32> {
        let patch = self.patch(seed, index);
        patch
            .chunks_exact(self.patch_pixels())
            .take(self.pixels)
            .flat_map(|row| row[..self.pixels].iter().copied())
            .collect()
    }

    /// Draws a range of maps on all cores.
    pub fn maps(&self, seed: u64, range: Range<u64>) -> Vec<Vec<f32>> {
        range
            .into_par_iter()
            .map(|index| self.map(seed, index))
            .collect()
    }
}

/// κ₀(z) of Hilbert, Hartlap & Schneider 2011, from ray-traced simulations.
///
/// Beyond the fitted redshifts, its ratio to the empty-beam value is kept constant; it never exceeds that value.
fn default_shift(cosmology: &Cosmology, redshift: f64) -> f64 {
    const FITTED: f64 = 4.0;
    let fit = |z: f64| 0.008 * z + 0.029 * z.powi(2) - 0.0079 * z.powi(3) + 0.000_65 * z.powi(4);
    let nearer = redshift.min(FITTED);
    let empty = limber::empty_beam(cosmology, redshift);
    empty * (fit(nearer) / limber::empty_beam(cosmology, nearer)).min(1.0)
}
