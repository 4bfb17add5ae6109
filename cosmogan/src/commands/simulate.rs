//! `cosmogan simulate`: convergence maps from physics alone.

use std::path::PathBuf;

use clap::Args;

use crate::data::MapWriter;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::simulate::{Cosmology, Simulation};
use crate::stats::Moments;

/// Maps drawn between two updates of the progress bar: memory stays bounded.
const CHUNK: u64 = 64;

/// Simulate convergence maps of a flat universe
#[derive(Debug, Args)]
pub(super) struct SimulateArguments {
    /// Number of maps
    #[arg(long, value_name = "N")]
    maps: u64,
    /// Pixels on a side of a map
    #[arg(long, default_value_t = 256)]
    pixels: usize,
    /// Side of a map in degrees
    #[arg(long, default_value_t = 0.866, allow_negative_numbers = true)]
    side_degrees: f64,
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
}

impl SimulateArguments {
    pub(super) fn run(self) -> Result<()> {
        if self.maps == 0 {
            return Err(Error::usage("--maps", "0 maps", "give 1 or more"));
        }
        let cosmology = Cosmology {
            omega_m: self.omega_m,
            omega_b: self.omega_b,
            hubble: self.hubble,
            sigma8: self.sigma8,
            spectral_index: self.spectral_index,
            dark_energy: self.dark_energy_w,
        };
        let simulation = Simulation::new(
            &cosmology,
            self.source_redshift,
            self.pixels,
            self.side_degrees,
            self.shift,
        )?;
        let side = Some(self.side_degrees);
        let count = self.maps as usize;
        let mut writer = MapWriter::create(&self.out, count, self.pixels, self.pixels, side)?;
        let mut progress = Progress::new("simulating", self.maps);
        let mut moments = Moments::default();
        let mut first = 0;
        while first < self.maps {
            let last = (first + CHUNK).min(self.maps);
            for map in simulation.maps(self.seed, first..last) {
                moments = moments.and(&Moments::of(&map));
                writer.push(&map)?;
            }
            progress.advance(last - first, "");
            first = last;
        }
        writer.finish()?;
        progress.finish(format_args!("written to {}", self.out.display()));
        println!(
            "κ: mean {:.2e}, standard deviation {:.4}, skewness {:.2}, from {:.4} to {:.4}; no pixel can lie below {:.4}",
            moments.mean(),
            moments.standard_deviation(),
            moments.skewness(),
            moments.minimum(),
            moments.maximum(),
            -simulation.shift(),
        );
        Ok(())
    }
}
