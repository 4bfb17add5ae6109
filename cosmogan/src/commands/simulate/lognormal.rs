//! `simulate --method lognormal`: maps from shifted-lognormal random fields.

use super::SimulateArguments;
use crate::data::MapWriter;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::provenance::{MapRecord, Method};
use crate::simulate::Simulation;
use crate::stats::Moments;

/// Maps per chunk, between two progress updates; bounds the memory.
const CHUNK: u64 = 64;

pub(super) fn run(arguments: &SimulateArguments) -> Result<()> {
    if let Some(flag) = arguments.nbody.first_given() {
        return Err(Error::usage(
            flag,
            "belongs to --method nbody",
            "add --method nbody, or omit this flag",
        ));
    }
    let pixels = arguments.pixels.unwrap_or(256);
    let side_degrees = arguments.side_degrees.unwrap_or(0.866);
    let simulation = Simulation::new(
        &arguments.cosmology(),
        arguments.source_redshift,
        pixels,
        side_degrees,
        arguments.shift,
    )?;
    let (maps, out) = (arguments.maps, &arguments.out);
    let mut writer = MapWriter::create(out, maps as usize, pixels, pixels, Some(side_degrees))?;
    let mut progress = Progress::new("simulating", maps);
    let mut moments = Moments::default();
    let mut first = 0;
    while first < maps {
        let last = (first + CHUNK).min(maps);
        for map in simulation.maps(arguments.seed, first..last) {
            moments = moments.and(&Moments::of(&map));
            writer.push(&map)?;
        }
        progress.advance(last - first, "");
        first = last;
    }
    writer.finish()?;
    MapRecord {
        method: Some(Method::Lognormal),
        side_degrees: Some(side_degrees),
    }
    .write(out)?;
    progress.finish(format_args!("written to {}", out.display()));
    super::print_moments(&moments, -simulation.shift());
    Ok(())
}
