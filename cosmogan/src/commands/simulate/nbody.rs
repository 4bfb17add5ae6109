//! `simulate --method nbody`: maps from an N-body simulation, whose box is kept on disk.

use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Args;

use super::SimulateArguments;
use crate::data::MapWriter;
use crate::error::{Error, Result};
use crate::files::{folder_of, require_space};
use crate::interrupt;
use crate::progress::Progress;
use crate::provenance::{MapRecord, Method};
use crate::simulate::ConvergencePower;
use crate::simulate::nbody::{BoxSettings, NBodyBox};
use crate::stats::{Moments, PowerSpectrum, logarithmic_edges};
use cosmogan_base::memory;

/// Number of ℓ bins of the printed spectrum.
const BINS: usize = 14;

#[derive(Debug, Args)]
#[command(next_help_heading = "With --method nbody")]
pub(super) struct NBodyArguments {
    /// Folder of the box, to resume or trace more maps [default: --out with extension .box]
    #[arg(long = "box", value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Small box that takes seconds: 64³ particles, a mesh of 128³, 12 steps
    #[arg(long)]
    quick: bool,
    /// Particles along a side of the box [default: 256]
    #[arg(long, value_name = "N")]
    particles: Option<usize>,
    /// Points of the force mesh along a side of the box [default: 512]
    #[arg(long, value_name = "N")]
    mesh: Option<usize>,
    /// Side of the box in Mpc/h [default: 128]
    #[arg(long, value_name = "L")]
    box_side: Option<f64>,
    /// Time steps [default: 80]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
}

impl NBodyArguments {
    /// First of these flags that was given, if any.
    pub(super) fn first_given(&self) -> Option<&'static str> {
        let given = [
            ("--box", self.folder.is_some()),
            ("--quick", self.quick),
            ("--particles", self.particles.is_some()),
            ("--mesh", self.mesh.is_some()),
            ("--box-side", self.box_side.is_some()),
            ("--steps", self.steps.is_some()),
        ];
        let found = given.iter().find(|(_, given)| *given)?;
        Some(found.0)
    }

    fn settings(&self, arguments: &SimulateArguments) -> BoxSettings {
        let base = if self.quick {
            BoxSettings::quick()
        } else {
            BoxSettings::default()
        };
        BoxSettings {
            cosmology: arguments.cosmology(),
            source_redshift: arguments.source_redshift,
            seed: arguments.seed,
            particles: self.particles.unwrap_or(base.particles),
            mesh: self.mesh.unwrap_or(base.mesh),
            box_side: self.box_side.unwrap_or(base.box_side),
            steps: self.steps.unwrap_or(base.steps),
        }
    }
}

pub(super) fn run(arguments: &SimulateArguments) -> Result<()> {
    if arguments.shift.is_some() {
        return Err(Error::usage(
            "--shift",
            "belongs to --method lognormal",
            "omit it: the lower bound of κ follows from the lens weights",
        ));
    }
    let pixels = arguments.pixels.unwrap_or(1024);
    if !(8..=8192).contains(&pixels) || !pixels.is_multiple_of(2) {
        return Err(Error::usage(
            "--pixels",
            format!("{pixels} is out of range"),
            "give an even number from 8 to 8192",
        ));
    }
    let side_degrees = arguments.side_degrees.unwrap_or(12_f64.sqrt());
    let settings = arguments.nbody.settings(arguments);
    let (maps, out) = (arguments.maps, &arguments.out);
    let folder = (arguments.nbody.folder.clone()).unwrap_or_else(|| out.with_extension("box"));
    settings.validate()?;
    settings.check_map(side_degrees)?;
    let mut simulated = NBodyBox::open(&folder, &settings)?;
    if !simulated.is_complete()
        && let Some(memory) = memory::total()
    {
        settings.check_memory(memory)?;
    }
    // Nothing is started that would not fit on the disk or could not be written.
    let map_bytes = maps.saturating_mul((pixels * pixels * size_of::<f32>()) as u64);
    require_space(&[
        (&folder, simulated.bytes_missing()),
        (folder_of(out), map_bytes),
    ])?;
    let mut writer = MapWriter::create(out, maps as usize, pixels, pixels, Some(side_degrees))?;
    interrupt::listen();
    simulate(&mut simulated, &settings, &folder)?;

    let power = PowerSpectrum::new(
        pixels,
        side_degrees,
        logarithmic_edges(
            360.0 / side_degrees,
            180.0 * pixels as f64 / side_degrees,
            BINS + 1,
        ),
    )?;
    let mut spectrum = vec![0.0; BINS];
    let mut moments = Moments::default();
    let mut progress = Progress::new("ray-tracing", maps);
    let take = |chunk: Vec<Vec<f32>>| {
        let slices: Vec<&[f32]> = chunk.iter().map(Vec::as_slice).collect();
        moments = moments.and(&Moments::of_all(&slices));
        for measured in power.measure_all(&slices) {
            for (sum, value) in spectrum.iter_mut().zip(measured) {
                *sum += value / maps as f64;
            }
        }
        for map in &chunk {
            writer.push(map)?;
        }
        progress.advance(chunk.len() as u64, "");
        Ok(())
    };
    let at_once = NBodyBox::maps_at_once(pixels);
    let trace = |range| Ok(simulated.maps(range, pixels, side_degrees)?);
    let is_whole = in_chunks(maps, at_once, interrupt::requested, trace, take)?;
    if !is_whole {
        return Err(Error::interrupted(format!(
            "run the same command again: the box in {} is kept, the maps are computed again",
            folder.display()
        )));
    }
    writer.finish()?;
    MapRecord {
        method: Some(Method::Nbody),
        side_degrees: Some(side_degrees),
    }
    .write(out)?;
    progress.finish(format_args!("written to {}", out.display()));
    super::print_moments(&moments, -simulated.empty_beam());
    print_growth(&simulated);
    let theory = ConvergencePower::new(&settings.cosmology, settings.source_redshift);
    print_spectrum(&power, &spectrum, &theory);
    Ok(())
}

/// Computes `count` maps in chunks of `at_once` and passes them to `take`.
///
/// Stops early once `stop` returns true. Returns whether all maps were computed.
fn in_chunks<Maps>(
    count: u64,
    at_once: u64,
    stop: impl Fn() -> bool,
    make: impl Fn(Range<u64>) -> Result<Maps>,
    mut take: impl FnMut(Maps) -> Result<()>,
) -> Result<bool> {
    let mut first = 0;
    while first < count {
        if stop() {
            return Ok(false);
        }
        let last = (first + at_once).min(count);
        take(make(first..last)?)?;
        first = last;
    }
    Ok(true)
}

fn simulate(simulated: &mut NBodyBox, settings: &BoxSettings, folder: &Path) -> Result<()> {
    if simulated.is_complete() {
        eprintln!("the box in {} is complete", folder.display());
        return Ok(simulated.simulate(|_| Ok(()))?);
    }
    let steps = settings.steps as u64;
    let mut progress = None;
    simulated.simulate(|report| {
        let done = report.steps_done as u64;
        // The first report tells from which step the simulation continues.
        let progress = progress
            .get_or_insert_with(|| (Progress::new("simulating", steps).starting_at(done), done));
        let remark = format!(
            "z = {:.2}, {} of {} slabs",
            report.redshift, report.slabs_done, report.slabs
        );
        progress.0.advance(done - progress.1, remark);
        progress.1 = done;
        if interrupt::requested() && done < steps {
            return Err(cosmogan_base::Error::Interrupted(format!(
                "run the same command again to continue {} after step {done}",
                folder.display()
            )));
        }
        Ok(())
    })?;
    if let Some((progress, _)) = progress {
        progress.finish(format_args!("box kept in {}", folder.display()));
    }
    Ok(())
}

fn print_growth(simulated: &NBodyBox) {
    if let Some(last) = simulated.growth().last() {
        println!(
            "growth of large-scale modes up to a = {:.2}: {:.4} times linear theory",
            last.scale_factor, last.over_linear_theory
        );
    }
}

/// Prints the ratio of the maps' mean power spectrum to halofit's.
fn print_spectrum(power: &PowerSpectrum, spectrum: &[f64], theory: &ConvergencePower) {
    let expected = power.binned(|ell| theory.at(ell));
    let line = |name: &str, values: Vec<String>| {
        let cells: String = values.iter().map(|value| format!("{value:>7}")).collect();
        println!("{name:<18}{cells}");
    };
    let multipoles = power.multipoles();
    line(
        "ℓ",
        multipoles.iter().map(|ell| format!("{ell:.0}")).collect(),
    );
    line(
        "C_ℓ over halofit",
        spectrum
            .iter()
            .zip(&expected)
            .map(|(measured, expected)| {
                if *expected > 0.0 {
                    format!("{:.3}", measured / expected)
                } else {
                    "-".to_owned()
                }
            })
            .collect(),
    );
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    #[test]
    fn rays_are_traced_until_a_stop_is_requested() {
        let run = |stop_after: usize| {
            let (asked, made) = (Cell::new(0), RefCell::new(Vec::new()));
            let stop = || asked.replace(asked.get() + 1) == stop_after;
            let take = |range| {
                made.borrow_mut().push(range);
                Ok(())
            };
            let is_whole = in_chunks(7, 3, stop, Ok, take).expect("nothing fails");
            (is_whole, made.into_inner())
        };
        assert_eq!(run(9), (true, vec![0..3, 3..6, 6..7]));
        // A chunk in progress is finished; if all maps are finished, they are kept.
        assert_eq!(run(2), (false, vec![0..3, 3..6]));
        assert_eq!(run(3), (true, vec![0..3, 3..6, 6..7]));
        assert_eq!(run(0), (false, vec![]));
    }
}
