//! Times a generator and prints one line of JSON. Run by `benches/peers/generators.py`, beside its peers.
//!
//! `generator WEIGHTS.safetensors LATENTS.npy --batch B --threads T --rounds R [--method direct|minimal] [--out MAPS.npy]`
#![allow(clippy::unwrap_used, reason = "a bench that cannot prepare has failed")]

use std::fs;
use std::path::Path;
use std::time::{Instant, SystemTime};

use cosmogan::data::{MapSet, MapWriter};
use cosmogan::generator::{Generator, Method, Options};

fn main() {
    let started = started();
    let arguments: Vec<String> = std::env::args().collect();
    let flag = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)
    };
    let number = |name: &str| flag(name).map_or(1, |value| value.parse::<usize>().unwrap());
    let (batch, rounds) = (number("--batch"), number("--rounds"));
    let options = Options {
        threads: number("--threads"),
        method: flag("--method").map(|name| match name.as_str() {
            "direct" => Method::Direct,
            _ => Method::Minimal,
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
        peak_bytes()
    );
}

/// When this process was started, by the clock that also counts the time before `main`.
fn started() -> SystemTime {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    // The name in parentheses may hold blanks; the start, in hundredths of a second, is the 20th field behind it.
    let ticks: f64 = stat
        .rsplit(')')
        .next()
        .and_then(|fields| fields.split_whitespace().nth(19))
        .unwrap()
        .parse()
        .unwrap();
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split_whitespace().next().unwrap().parse().unwrap();
    SystemTime::now() - std::time::Duration::from_secs_f64((uptime - ticks / 100.0).max(0.0))
}

/// The most memory that this process had resident.
fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
    kibibytes.unwrap().parse::<u64>().unwrap() * 1024
}
