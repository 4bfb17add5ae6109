//! `cosmogan explore`: nearest training maps, latent interpolation, and the birthday test.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use cosmogan_engine::Tape;
use cosmogan_engine::backend::Backend;
use serde::Serialize;

use super::generate::{Latents, generate};
use super::maker::{self, MapMaker};
use super::maps::MapFlags;
use super::output::print_written;
use crate::device::{self, DeviceArguments};
use crate::error::{Error, Result};
use crate::explore::birthday::DistinctMaps;
use crate::explore::features::{FeatureFile, LogSpectrum, Metric};
use crate::explore::interpolate::{Smoothness, spherical};
use crate::explore::nearest::{Match, matches};
use crate::explore::pairs::{Pair, PairDistances};
use crate::files::{create_folder, write_atomically, write_json};
use crate::help::{ADVANCED, examples};
use crate::interrupt;
use crate::model::latents::latents;
use crate::model::network::{Mode, Network};
use crate::model::{NetworkKind, discriminator, weights};
use crate::report::{ColourRange, animation_png, map_grid_png};

/// Test novelty: nearest training maps, latent interpolation, and the birthday test
#[derive(Debug, Subcommand)]
pub(super) enum ExploreCommand {
    Nearest(NearestArguments),
    Interpolate(InterpolateArguments),
    Birthday(BirthdayArguments),
}

impl ExploreCommand {
    pub(super) fn run(self) -> Result<()> {
        match self {
            Self::Nearest(arguments) => arguments.run(),
            Self::Interpolate(arguments) => arguments.run(),
            Self::Birthday(arguments) => arguments.run(),
        }
    }
}

/// Find the training maps nearest to generated ones, in pixels and in power spectra
#[derive(Debug, Args)]
#[command(after_help = examples(&["cosmogan explore nearest --weights run/average.safetensors --training maps.npy --out nearest"]))]
pub(super) struct NearestArguments {
    /// Generator weights
    #[arg(long, value_name = "G.safetensors", required_unless_present = "fake")]
    weights: Option<PathBuf>,
    /// Generated maps instead of weights: .npy or FITS; the first --count maps are used
    #[arg(long, value_name = "fake.npy", conflicts_with = "weights")]
    fake: Option<PathBuf>,
    /// Training maps of the generator: .npy or FITS
    #[arg(long, value_name = "MAPS")]
    training: PathBuf,
    /// Number of generated maps
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=64))]
    count: u64,
    /// Random seed of the generated maps
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Output folder for images and JSON
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    files: MapFlags,
    #[command(flatten)]
    device: DeviceArguments,
}

/// Entry of `nearest.json` for one generated map.
#[derive(Serialize)]
struct NearestEntry {
    metric: Metric,
    generated: usize,
    #[serde(flatten)]
    found: Match,
}

impl NearestArguments {
    fn run(self) -> Result<()> {
        let (maps, pixels) = self.generated()?;
        create_folder(&self.out)?;
        let training = self.files.open(&self.training)?;
        let slices: Vec<&[f32]> = maps.iter().map(Vec::as_slice).collect();
        let range = ColourRange::spanning(&slices);
        let mut entries = Vec::new();
        for metric in [Metric::Pixels, Metric::Spectrum] {
            let found = matches(&slices, &training, pixels, metric)?;
            let below = found.iter().map(|found| &found.nearest.map[..]);
            let shown: Vec<&[f32]> = slices.iter().copied().chain(below).collect();
            let png = map_grid_png(&shown, pixels, pixels, maps.len(), range)?;
            let name = format!("nearest_{}.png", metric.name());
            write_atomically(self.out.join(name), &png)?;
            println!(
                "{}: generated map, nearest training map, distance, distance from the training map to its own nearest",
                metric.name()
            );
            for (generated, found) in found.into_iter().enumerate() {
                println!(
                    "{generated:>14} {:>21} {:>9.4} {:>9.4}",
                    found.nearest.index, found.nearest.distance, found.nearest_of_nearest.distance
                );
                entries.push(NearestEntry {
                    metric,
                    generated,
                    found,
                });
            }
        }
        write_json(self.out.join("nearest.json"), &entries)?;
        print_written(&self.out, "nearest.json and an image per metric");
        Ok(())
    }

    fn generated(&self) -> Result<(Vec<Vec<f32>>, usize)> {
        if let Some(path) = &self.fake {
            let maps = self.files.read(path)?;
            maps.require_varied()?;
            if maps.height() != maps.width() {
                return Err(Error::file(
                    path,
                    format!("contains maps of {}×{} pixels", maps.height(), maps.width()),
                    "use square maps; `cosmogan crop` cuts them",
                ));
            }
            let first = maps.iter().take(self.count as usize);
            return Ok((first.map(<[f32]>::to_vec).collect(), maps.width()));
        }
        let Some(path) = &self.weights else {
            return Err(Error::usage(
                "--weights",
                "neither a generator nor generated maps were given",
                "give --weights G.safetensors or --fake maps.npy",
            ));
        };
        let generator = maker::load(path, self.device.launched()?)?;
        let latents = Latents::Seeded {
            seed: self.seed,
            count: self.count,
        };
        let mut maps = Vec::new();
        generate(&*generator, &latents, 16, |map| {
            maps.push(map.to_vec());
            Ok(())
        })?;
        Ok((maps, generator.config().output_size))
    }
}

/// Interpolate between latent vectors: rows of maps and an animation
#[derive(Debug, Args)]
#[command(after_help = examples(&["cosmogan explore interpolate --weights run/average.safetensors --out paths"]))]
pub(super) struct InterpolateArguments {
    /// Generator weights
    #[arg(long, value_name = "G.safetensors")]
    weights: PathBuf,
    /// Pairs of latent vectors; one row of maps each
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=32))]
    rows: u64,
    /// Maps per row, including the ends
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u64).range(2..=64))]
    steps: u64,
    /// Animation frames per row
    #[arg(long, default_value_t = 30, help_heading = ADVANCED, value_parser = clap::value_parser!(u64).range(2..=1000))]
    frames: u64,
    /// Random seed of the latent vectors
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Output folder for images and JSON
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    device: DeviceArguments,
}

impl InterpolateArguments {
    fn run(self) -> Result<()> {
        let generator = maker::load(&self.weights, self.device.launched()?)?;
        create_folder(&self.out)?;
        let size = generator.config().output_size;
        let strips = paths(&*generator, self.seed, self.rows, self.steps)?;
        let slices: Vec<&[f32]> = strips.iter().map(Vec::as_slice).collect();
        let range = ColourRange::spanning(&slices);
        let png = map_grid_png(&slices, size, size, self.steps as usize, range)?;
        write_atomically(self.out.join("interpolations.png"), &png)?;
        let smoothness: Vec<Smoothness> = slices
            .chunks(self.steps as usize)
            .map(Smoothness::of)
            .collect();
        for (row, smoothness) in smoothness.iter().enumerate() {
            println!(
                "row {row}: largest step {:.2} times the mean step (1: even, {}: one jump)",
                smoothness.largest_over_mean,
                self.steps - 1
            );
        }
        write_json(self.out.join("interpolations.json"), &smoothness)?;

        let mut frames = paths(&*generator, self.seed, self.rows, self.frames)?;
        // Forwards and backwards, so that the loop has no jump.
        frames = frames
            .chunks(self.frames as usize)
            .flat_map(|row| row.iter().chain(row.iter().rev()).cloned())
            .collect();
        let slices: Vec<&[f32]> = frames.iter().map(Vec::as_slice).collect();
        let animation = animation_png(&slices, size, size, range)?;
        write_atomically(self.out.join("animation.png"), &animation)?;
        print_written(
            &self.out,
            "interpolations.png, interpolations.json and animation.png",
        );
        Ok(())
    }
}

/// Generates maps along `rows` paths of `steps` points between latent vectors.
///
/// Path i runs between the latent vectors 2i and 2i + 1 of `seed`.
pub(super) fn paths(
    generator: &dyn MapMaker,
    seed: u64,
    rows: u64,
    steps: u64,
) -> Result<Vec<Vec<f32>>> {
    let z_dim = generator.config().z_dim;
    let ends = latents(seed, 0..2 * rows, z_dim);
    let values: Vec<f32> = ends
        .chunks_exact(2 * z_dim)
        .flat_map(|pair| {
            let (from, to) = pair.split_at(z_dim);
            let share = move |step| step as f64 / (steps - 1) as f64;
            (0..steps).flat_map(move |step| spherical(from, to, share(step)))
        })
        .collect();
    let latents = Latents::Given {
        count: rows * steps,
        values,
    };
    let mut maps = Vec::new();
    generate(generator, &latents, 16, |map| {
        maps.push(map.to_vec());
        Ok(())
    })?;
    Ok(maps)
}

/// Estimate the number of distinct maps of a generator, from all pairwise distances of many maps
#[derive(Debug, Args)]
#[command(after_help = examples(&["cosmogan explore birthday --weights run/average.safetensors --count 4096 --out birthday"]))]
pub(super) struct BirthdayArguments {
    /// Generator weights
    #[arg(long, value_name = "G.safetensors")]
    weights: PathBuf,
    /// Discriminator weights: also measure distances in the activations of its last convolution
    #[arg(long, value_name = "D.safetensors")]
    discriminator: Option<PathBuf>,
    /// Number of maps to generate and compare
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(2..=32_768))]
    count: u64,
    /// Random seed of the maps
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Two maps closer than this fraction of the median distance count as duplicates
    #[arg(long, default_value_t = 0.1, value_name = "SHARE", help_heading = ADVANCED)]
    duplicate: f64,
    /// Memory limit of the comparison in MiB
    #[arg(long, default_value_t = 1024, value_name = "MIB", help_heading = ADVANCED, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    memory: u64,
    /// Output folder for images and JSON; also holds all features while the program runs
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    device: DeviceArguments,
}

/// Entry of `birthday.json` for one metric.
#[derive(Serialize)]
struct BirthdayEntry {
    metric: Metric,
    maps: usize,
    median_distance: f64,
    duplicate_limit: f64,
    distinct: DistinctMaps,
    nearest: Vec<Pair>,
}

/// Number of closest pairs that are shown.
const SHOWN: usize = 8;

impl BirthdayArguments {
    fn run(self) -> Result<()> {
        if !(self.duplicate > 0.0 && self.duplicate < 1.0) {
            return Err(Error::usage(
                "--duplicate",
                format!("{} is out of range", self.duplicate),
                "give a number between 0 and 1, e.g. 0.1",
            ));
        }
        let launched = self.device.launched()?;
        let backend = launched.clone().unwrap_or_else(device::processor);
        let generator = maker::load(&self.weights, launched)?;
        let critic = self.critic(&*generator, &backend)?;
        create_folder(&self.out)?;
        interrupt::listen();
        let matrices = self.features(&*generator, critic.as_ref())?;
        let (_, pixels) = &matrices[0];
        let size = generator.config().output_size;
        let mut entries = Vec::new();
        for (metric, features) in &matrices {
            let memory = (self.memory as usize) << 20;
            let found = PairDistances::measure(features, &*backend, memory, SHOWN)?;
            let limit = self.duplicate * found.median();
            let distinct = DistinctMaps::new(found.count(), found.closer_than(limit));
            println!(
                "{}",
                in_words(*metric, &distinct, found.median(), &found.nearest)
            );
            let map = |index: usize| pixels.rows(index..index + 1);
            let pairs = found.nearest.iter();
            let upper = pairs.clone().map(|pair| map(pair.first));
            let lower = pairs.map(|pair| map(pair.second));
            let maps = upper.chain(lower).collect::<Result<Vec<_>>>()?;
            let slices: Vec<&[f32]> = maps.iter().map(Vec::as_slice).collect();
            let range = ColourRange::spanning(&slices);
            let png = map_grid_png(&slices, size, size, found.nearest.len(), range)?;
            write_atomically(
                self.out.join(format!("birthday_{}.png", metric.name())),
                &png,
            )?;
            entries.push(BirthdayEntry {
                metric: *metric,
                maps: features.count(),
                median_distance: found.median(),
                duplicate_limit: limit,
                distinct,
                nearest: found.nearest,
            });
        }
        println!(
            "Inspect the nearest pairs in {} to judge what is a duplicate. A shifted or mirrored copy is far away in\n\
             pixels and activations, but not in power spectra.",
            self.out.display()
        );
        write_json(self.out.join("birthday.json"), &entries)?;
        print_written(&self.out, "birthday.json and an image per metric");
        Ok(())
    }

    fn critic(
        &self,
        generator: &dyn MapMaker,
        backend: &std::sync::Arc<dyn Backend>,
    ) -> Result<Option<Network>> {
        let Some(path) = &self.discriminator else {
            return Ok(None);
        };
        let critic = weights::load(path, NetworkKind::Discriminator, backend)?;
        let (made, judged) = (generator.config().output_size, critic.config().output_size);
        if made != judged {
            return Err(Error::file(
                path,
                format!(
                    "takes maps of {judged}×{judged} pixels, but the generator makes {made}×{made}"
                ),
                "give the discriminator of the same run",
            ));
        }
        Ok(Some(critic))
    }

    /// Computes the features of all maps for every metric, pixels first.
    fn features(
        &self,
        generator: &dyn MapMaker,
        critic: Option<&Network>,
    ) -> Result<Vec<(Metric, FeatureFile)>> {
        /// Maps between two checks for an interrupt.
        const BATCH: usize = 16;
        let size = generator.config().output_size;
        let spectrum = LogSpectrum::new(size)?;
        let mut matrices: Vec<(Metric, FeatureFile)> = Vec::new();
        let latents = Latents::Seeded {
            seed: self.seed,
            count: self.count,
        };
        let mut waiting: Vec<f32> = Vec::new();
        let mut left = self.count as usize;
        generate(generator, &latents, BATCH, |map| {
            waiting.extend_from_slice(map);
            left -= 1;
            if waiting.len() < BATCH * size * size && left > 0 {
                return Ok(());
            }
            if interrupt::requested() {
                return Err(Error::interrupted(
                    "no maps have been compared yet".to_owned(),
                ));
            }
            let maps: Vec<&[f32]> = waiting.chunks_exact(size * size).collect();
            let mut measured = vec![
                (
                    Metric::Pixels,
                    maps.iter().map(|map| map.to_vec()).collect(),
                ),
                (Metric::Spectrum, spectrum.measure(&maps)),
            ];
            if let Some(critic) = critic {
                measured.push((Metric::Activations, activations(critic, &waiting, size)?));
            }
            for (place, (metric, rows)) in measured.into_iter().enumerate() {
                if matrices.len() == place {
                    let width = rows.first().map_or(0, Vec::len);
                    matrices.push((metric, FeatureFile::create(&self.out, width)?));
                }
                for row in rows {
                    matrices[place].1.push(&row)?;
                }
            }
            waiting.clear();
            Ok(())
        })?;
        Ok(matrices)
    }
}

/// Activations of the discriminator's last convolution, one row per map.
fn activations(critic: &Network, maps: &[f32], size: usize) -> Result<Vec<Vec<f32>>> {
    let backend = critic.backend();
    let tape = Tape::new(backend.clone());
    let bound = critic.bind(&tape, Mode::Inference);
    let shape = [maps.len() / (size * size), size, size, 1];
    let maps = tape.constant(backend.upload(shape.into(), maps)?);
    let (features, _) = discriminator::features(&bound, &maps, 1)?;
    let values = backend.download(features.value()?)?;
    let width = values.len() / shape[0];
    Ok(values.chunks_exact(width).map(<[f32]>::to_vec).collect())
}

fn in_words(metric: Metric, distinct: &DistinctMaps, median: f64, nearest: &[Pair]) -> String {
    let closest = nearest.first().map_or(0.0, |pair| pair.distance / median);
    let many = match (distinct.estimate, distinct.high) {
        (Some(estimate), Some(high)) => format!(
            "about {} distinct maps ({} to {} with 95 % confidence)",
            rounded(estimate),
            rounded(distinct.low),
            rounded(high)
        ),
        _ => format!(
            "at least {} distinct maps with 95 % confidence",
            rounded(distinct.low)
        ),
    };
    format!(
        "{}: {} duplicates among {} pairs, {many}; the distance of the nearest pair is {closest:.3} of the median",
        metric.name(),
        distinct.duplicates,
        distinct.pairs
    )
}

/// A number with three significant digits and thousands separators: 673, 2,800,000.
fn rounded(number: f64) -> String {
    let unit = 10_f64.powf(number.max(1.0).log10().floor() - 2.0).max(1.0);
    let digits = format!("{:.0}", (number / unit).round() * unit);
    let groups = digits.as_bytes().rchunks(3).rev();
    let groups: Vec<_> = groups.map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn counts_read_as_counts() {
        let texts = [0.4, 7.0, 673.0, 1234.0, 2_797_654.0, 999_600.0].map(rounded);
        assert_eq!(texts, ["0", "7", "673", "1,230", "2,800,000", "1,000,000"]);
    }
}
