//! Times the generator and prints one line of JSON. Run by `benches/peers/generators.py`.
//!
//! `generator WEIGHTS.safetensors LATENTS.npy --batch B --threads T --rounds R [--method direct|minimal] [--out
//! MAPS.npy] [--started SECONDS]`. SECONDS is the Unix time at which the caller started this program, for the time to
//! the first map.
#![allow(clippy::unwrap_used, reason = "a bench that cannot prepare has failed")]

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use cosmogan::data::{MapSet, MapWriter};
use cosmogan::generator::{Generator, Method, Options};
use cosmogan_benches::memory::peak_bytes;

fn main() {
    let here = SystemTime::now();
    let arguments: Vec<String> = std::env::args().collect();
    let flag = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)
    };
    let number = |name: &str| flag(name).map_or(1, |value| value.parse::<usize>().unwrap());
    let started = flag("--started").map_or(here, |seconds| {
        SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds.parse().unwrap())
    });
    let (batch, rounds) = (number("--batch"), number("--rounds"));
    let options = Options {
        threads: number("--threads"),
        method: flag("--method").map(|name| match name.as_str() {
            "direct" => Method::Direct,
            _ => Method::Winograd,
        }),
        ..Options::default()
    };
    let generator = Generator::load_with(&arguments[1], options).unwrap();
    let loaded = started.elapsed().unwrap().as_secs_f64();
    let latents = MapSet::read(Path::new(&arguments[2])).unwrap();
    let latents = &latents.values()[..batch * generator.latent_width()];
    generator
        .generate(&latents[..generator.latent_width()])
        .unwrap();
    let first_map = started.elapsed().unwrap().as_secs_f64();

    let size = generator.size();
    let mut maps = vec![0.0; batch * size * size];
    generator.generate_into(latents, &mut maps).unwrap();
    let seconds: Vec<f64> = (0..rounds)
        .map(|_| {
            let started = Instant::now();
            generator.generate_into(latents, &mut maps).unwrap();
            started.elapsed().as_secs_f64()
        })
        .collect();
    if let Some(path) = flag("--out") {
        let mut writer = MapWriter::create(Path::new(path), batch, size, size, None).unwrap();
        for map in maps.chunks_exact(size * size) {
            writer.push(map).unwrap();
        }
        writer.finish().unwrap();
    }
    println!(
        "{{\"seconds\": {seconds:?}, \"loaded_seconds\": {loaded}, \"first_map_seconds\": {first_map}, \"peak_bytes\": {}}}",
        peak_bytes().unwrap()
    );
}
