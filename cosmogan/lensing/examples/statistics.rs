//! Statistics of simulated maps as NumPy users know them from LensTools.
//!
//! ```
//! cargo run --release -p cosmogan-lensing --example statistics
//! ```

use cosmogan_lensing::simulate::{Cosmology, Simulation};
use cosmogan_lensing::stats::{Minkowski, PowerSpectrum, Thresholds, linear_edges};

const PIXELS: usize = 128;
const SIDE_DEGREES: f64 = 0.433;

fn main() -> cosmogan_lensing::Result<()> {
    let simulation = Simulation::new(&Cosmology::default(), 1.0, PIXELS, SIDE_DEGREES, None)?;
    let maps = simulation.maps(1, 0..16);
    let maps: Vec<&[f32]> = maps.iter().map(Vec::as_slice).collect();

    // LensTools: ConvergenceMap.powerSpectrum(l_edges)
    let spectrum = PowerSpectrum::new(PIXELS, SIDE_DEGREES, linear_edges(1000.0, 50_000.0, 10))?;
    let power = spectrum.measure_all(&maps);
    println!("{:>8}  {:>10}", "l", "l² C_l/2π");
    for (bin, ell) in spectrum.multipoles().iter().enumerate() {
        let mean = power.iter().map(|map| map[bin]).sum::<f64>() / power.len() as f64;
        println!(
            "{ell:>8.0}  {:>10.3e}",
            ell * ell * mean / std::f64::consts::TAU
        );
    }

    // LensTools: ConvergenceMap.minkowskiFunctionals(thresholds), thresholds in standard deviations of the map
    let functionals = Minkowski::new(linear_edges(-2.0, 4.0, 6), Thresholds::Deviations)?;
    let names = ["area fraction", "perimeter, 1/pixel", "genus, 1/pixel²"];
    for (name, values) in names.iter().zip(functionals.measure(maps[0], PIXELS)) {
        let values: Vec<String> = values.iter().map(|value| format!("{value:9.2e}")).collect();
        println!("{name:>18}: {}", values.join(" "));
    }
    Ok(())
}
