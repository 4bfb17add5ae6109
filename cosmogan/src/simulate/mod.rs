//! Convergence maps from physics alone: a flat universe's matter power spectrum, projected to sources at one
//! redshift, drawn as shifted-lognormal fields; or, in [`nbody`], matter that moves under gravity. No input file is needed.
//!
//! | file | what | source |
//! | --- | --- | --- |
//! | `cosmology` | distances and growth in a flat ΛCDM or wCDM universe | Friedmann equation |
//! | `linear_power` | linear matter power spectrum | Eisenstein & Hu 1998 |
//! | `halofit` | nonlinear correction | Takahashi et al. 2012 |
//! | `limber` | C_ℓ of the convergence | Limber 1953, Kaiser 1992 |
//! | `lognormal` | fields with that C_ℓ | Coles & Jones 1991, Xavier et al. 2016 |

mod cosmology;
mod halofit;
mod limber;
mod linear_power;
mod lognormal;
pub mod nbody;

use std::ops::Range;

use rayon::prelude::*;

use crate::error::{Error, Result};

pub use cosmology::Cosmology;
pub use limber::ConvergencePower;
use lognormal::LognormalField;

/// Sides of the periodic patch over that of the map: at least two, so that opposite edges do not know each other.
const FEWEST_SIDES: usize = 2;
const MOST_SIDES: usize = 8;
/// Side of the patch in degrees at least, within those limits: shorter ones lack waves that a map can see.
const PATCH_DEGREES: f64 = 1.7;

/// Draws maps of one cosmology, source redshift, size and angle.
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
    /// Prepares maps of `pixels`² on `side_degrees`, for sources at `source_redshift`. `shift` is −κ_min of the
    /// lognormal field; by default the fit of Hilbert, Hartlap & Schneider 2011 (their eq. 27) for that redshift.
    ///
    /// # Errors
    /// Where a setting makes no sense, named by the flag of `cosmogan simulate`.
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
        // The sky is taken to be flat.
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

    /// −κ_min: no pixel lies below minus this.
    pub fn shift(&self) -> f64 {
        self.shift
    }

    /// The share of the Gaussian field's variance that had to be left out because no Gaussian field has the exact
    /// correlation that the lognormal one would need.
    pub fn clipped_share(&self) -> f64 {
        self.field.clipped_share()
    }

    /// Rows and columns of the periodic patch that a map is cut from.
    pub fn patch_pixels(&self) -> usize {
        self.patch_sides * self.pixels
    }

    /// Side of the periodic patch in degrees.
    pub fn patch_degrees(&self) -> f64 {
        self.patch_sides as f64 * self.side_degrees
    }

    /// The whole periodic patch behind map `index` of `seed`.
    pub fn patch(&self, seed: u64, index: u64) -> Vec<f32> {
        self.field.draw(seed, index)
    }

    /// Map `index` of `seed`, row by row: the same map however many are drawn.
    pub fn map(&self, seed: u64, index: u64) -> Vec<f32> {
        let patch = self.patch(seed, index);
        patch
            .chunks_exact(self.patch_pixels())
            .take(self.pixels)
            .flat_map(|row| row[..self.pixels].iter().copied())
            .collect()
    }

    /// A range of maps, drawn on all cores.
    pub fn maps(&self, seed: u64, range: Range<u64>) -> Vec<Vec<f32>> {
        range
            .into_par_iter()
            .map(|index| self.map(seed, index))
            .collect()
    }
}

/// κ₀(z) of Hilbert, Hartlap & Schneider 2011, fitted to ray-traced N-body simulations. Beyond the redshifts of the
/// fit it keeps its ratio to the emptiest possible beam, which it never exceeds.
fn default_shift(cosmology: &Cosmology, redshift: f64) -> f64 {
    const FITTED: f64 = 4.0;
    let fit = |z: f64| 0.008 * z + 0.029 * z.powi(2) - 0.0079 * z.powi(3) + 0.000_65 * z.powi(4);
    let nearer = redshift.min(FITTED);
    let empty = limber::empty_beam(cosmology, redshift);
    empty * (fit(nearer) / limber::empty_beam(cosmology, nearer)).min(1.0)
}
