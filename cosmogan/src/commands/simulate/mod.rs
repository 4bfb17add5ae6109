//! `cosmogan simulate`: convergence maps from physics alone.

mod lognormal;
mod nbody;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::error::{Error, Result};
use crate::simulate::Cosmology;
use crate::stats::Moments;

use nbody::NBodyArguments;

/// Where maps come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Method {
    /// Random fields with the right power spectrum: thousands in seconds
    Lognormal,
    /// Particles under gravity in a box, and light through it: minutes a box, then seconds a map
    Nbody,
}

/// Simulate convergence maps of a flat universe
#[derive(Debug, Args)]
pub(super) struct SimulateArguments {
    /// Number of maps
    #[arg(long, value_name = "N", visible_alias = "count")]
    maps: u64,
    /// Where maps come from
    #[arg(long, value_enum, default_value_t = Method::Lognormal)]
    method: Method,
    /// Pixels on a side of a map [default: 256; nbody: 1024]
    #[arg(long)]
    pixels: Option<usize>,
    /// Side of a map in degrees [default: 0.866; nbody: √12 = 3.4641]
    #[arg(long, allow_negative_numbers = true)]
    side_degrees: Option<f64>,
    /// Seed; map i of a seed is the same map whatever --maps
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where to write: maps.npy, or maps.fits
    #[arg(long, value_name = "MAPS")]
    out: PathBuf,
    /// Ωm, matter density
    #[arg(long, default_value_t = Cosmology::default().omega_m, allow_negative_numbers = true)]
    omega_m: f64,
    /// Ωb, baryon density
    #[arg(long, default_value_t = Cosmology::default().omega_b, allow_negative_numbers = true)]
    omega_b: f64,
    /// h, Hubble constant in 100 km/s/Mpc
    #[arg(long, default_value_t = Cosmology::default().hubble, allow_negative_numbers = true)]
    hubble: f64,
    /// σ8, amplitude of fluctuations
    #[arg(long, default_value_t = Cosmology::default().sigma8, allow_negative_numbers = true)]
    sigma8: f64,
    /// n_s, slope of the primordial spectrum
    #[arg(long, default_value_t = Cosmology::default().spectral_index, allow_negative_numbers = true)]
    spectral_index: f64,
    /// w, equation of state of dark energy
    #[arg(long, default_value_t = Cosmology::default().dark_energy, allow_negative_numbers = true)]
    dark_energy_w: f64,
    /// z_s, redshift of the lensed galaxies
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    source_redshift: f64,
    /// −κ_min of the lognormal field [default: a fit to ray-traced N-body maps, 0.030 at z_s = 1]
    #[arg(long, allow_negative_numbers = true)]
    shift: Option<f64>,
    #[command(flatten)]
    nbody: NBodyArguments,
}

impl SimulateArguments {
    pub(super) fn run(self) -> Result<()> {
        if self.maps == 0 {
            return Err(Error::usage("--maps", "0 maps", "give 1 or more"));
        }
        match self.method {
            Method::Lognormal => lognormal::run(&self),
            Method::Nbody => nbody::run(&self),
        }
    }

    fn cosmology(&self) -> Cosmology {
        Cosmology {
            omega_m: self.omega_m,
            omega_b: self.omega_b,
            hubble: self.hubble,
            sigma8: self.sigma8,
            spectral_index: self.spectral_index,
            dark_energy: self.dark_energy_w,
        }
    }
}

/// Says what the maps are like, and what bounds them from below.
fn print_moments(moments: &Moments, lower_bound: f64) {
    println!(
        "κ: mean {:.2e}, standard deviation {:.4}, skewness {:.2}, from {:.4} to {:.4}; no pixel can lie below \
         {lower_bound:.4}",
        moments.mean(),
        moments.standard_deviation(),
        moments.skewness(),
        moments.minimum(),
        moments.maximum(),
    );
}
