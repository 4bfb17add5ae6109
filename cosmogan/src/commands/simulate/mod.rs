//! `cosmogan simulate`: convergence maps from a cosmological model, without input data.

mod lognormal;
mod nbody;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::error::{Error, Result};
use crate::help::examples;
use crate::simulate::Cosmology;
use crate::stats::Moments;

use nbody::NBodyArguments;

/// Heading of the cosmological parameters in the help.
const COSMOLOGY: &str = "Cosmology";

/// Simulation method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Method {
    /// Random fields with the given power spectrum: thousands of maps in seconds
    Lognormal,
    /// Particle-mesh N-body simulation with ray tracing: minutes per box, then half a second per map
    Nbody,
}

/// Simulate convergence maps of a flat universe
#[derive(Debug, Args)]
#[command(after_help = examples(&["cosmogan simulate --maps 1000 --pixels 128 --out maps.npy", "cosmogan simulate --method nbody --quick --maps 8 --out 1.npy"]))]
pub(super) struct SimulateArguments {
    /// Number of maps
    #[arg(long, value_name = "N", visible_alias = "count")]
    maps: u64,
    /// lognormal: random fields, thousands in seconds; nbody: minutes for a box, then 0.5 s a map
    #[arg(long, value_enum, default_value_t = Method::Lognormal, hide_possible_values = true)]
    method: Method,
    /// Pixels on a side of a map [default: 256; nbody: 1024]
    #[arg(long, value_name = "N")]
    pixels: Option<usize>,
    /// Side of a map in degrees [default: 0.866; nbody: √12 = 3.4641]
    #[arg(long, value_name = "DEGREES")]
    side_degrees: Option<f64>,
    /// Random seed; map i of a seed does not depend on --maps
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Output file: maps.npy or maps.fits
    #[arg(long, value_name = "MAPS")]
    out: PathBuf,
    /// Ωm, matter density parameter
    #[arg(long, default_value_t = Cosmology::default().omega_m, value_name = "X", help_heading = COSMOLOGY)]
    omega_m: f64,
    /// Ωb, baryon density parameter
    #[arg(long, default_value_t = Cosmology::default().omega_b, value_name = "X", help_heading = COSMOLOGY)]
    omega_b: f64,
    /// h, Hubble constant in units of 100 km/s/Mpc
    #[arg(long, default_value_t = Cosmology::default().hubble, value_name = "X", help_heading = COSMOLOGY)]
    hubble: f64,
    /// σ8, amplitude of linear density fluctuations
    #[arg(long, default_value_t = Cosmology::default().sigma8, value_name = "X", help_heading = COSMOLOGY)]
    sigma8: f64,
    /// n_s, spectral index of the primordial power spectrum
    #[arg(long, default_value_t = Cosmology::default().spectral_index, value_name = "X", help_heading = COSMOLOGY)]
    spectral_index: f64,
    /// w, equation of state of dark energy
    #[arg(long, default_value_t = Cosmology::default().dark_energy, value_name = "X", help_heading = COSMOLOGY)]
    dark_energy_w: f64,
    /// z_s, redshift of the sources
    #[arg(long, default_value_t = 1.0, value_name = "Z", help_heading = COSMOLOGY)]
    source_redshift: f64,
    /// −κ_min of lognormal maps [default: 0.030 at z_s = 1, a fit to N-body]
    #[arg(long, value_name = "K", help_heading = COSMOLOGY)]
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

/// Prints the moments of all maps and the lower bound of κ.
fn print_moments(moments: &Moments, lower_bound: f64) {
    println!(
        "κ: mean {:.2e}, standard deviation {:.4}, skewness {:.2}, from {:.4} to {:.4}; lower bound \
         {lower_bound:.4}",
        moments.mean(),
        moments.standard_deviation(),
        moments.skewness(),
        moments.minimum(),
        moments.maximum(),
    );
}
