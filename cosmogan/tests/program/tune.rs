//! Every tile configuration computes correct results, and the search finds the fastest one by a mock clock.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its data has failed"
)]

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::support::refused;
use cosmogan::model::Preset;
use cosmogan::tune::{Found, Settings, Subject, problems_of, search};
use cosmogan_engine::Result;
use cosmogan_engine::backend::Precision;
use cosmogan_engine::backend::Recording;
use cosmogan_engine::backend::launch::{
    Allocation, Arguments, KernelDevice, LaunchBackend, Launcher,
};
use cosmogan_engine::backend::simt::SimtLauncher;
use cosmogan_engine::profile::{Extents, Instruments, KernelResources, Kind, Operator, Profiled};
use cosmogan_kernels::ConvProduct;
use cosmogan_kernels::tuning::{Problem, Tile, TileConfig, TileConfigs};
use cosmogan_kernels::{Launch, Sources, Tier};

fn problem(product: ConvProduct, precision: Precision, shape: &str, has_hopper: bool) -> Problem {
    let Extents::Convolution(geometry) = Operator::of_kind(Kind::Fprop, shape).unwrap().extents
    else {
        unreachable!("fprop is a convolution");
    };
    let operand = precision;
    Problem::new(product, operand, &(&geometry).into(), has_hopper)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Runs `problem` on the executor with each of `tile_configs`: results are within the oracle's bounds, and have equal bits
/// for equal numbers of split-K slices.
fn expect_right(problem: &Problem, precision: Precision, tile_configs: &[TileConfig]) {
    let launcher = Arc::new(SimtLauncher::new(1).unwrap());
    let backend = LaunchBackend::new(Arc::clone(&launcher) as Arc<_>, precision).unwrap();
    let backend = if problem.tier == Tier::Hopper {
        backend
    } else {
        backend.without_hopper()
    };
    let mut subject = Subject::new(problem, &backend, 200).unwrap();
    let mut seen: HashMap<usize, Vec<u32>> = HashMap::new();
    for tile_config in tile_configs {
        let mut only = TileConfigs::default();
        only.insert(*problem, *tile_config).unwrap();
        let cut = backend.clone().with_tile_configs(Arc::new(only));
        let (values, error) = subject.check(&cut).unwrap();
        assert!(error <= 1.0, "{problem:?} {tile_config}: {error} bounds");
        let bits = bits(&values);
        let known = seen
            .entry(tile_config.slices)
            .or_insert_with(|| bits.clone());
        assert!(*known == bits, "{problem:?} {tile_config}: other bits");
    }
    let launched = launcher.sources();
    let on_hopper = launched.iter().any(|source| source.contains("hopper"));
    assert_eq!(on_hopper, problem.tier == Tier::Hopper);
}

fn every_tile(problem: &Problem) -> Vec<TileConfig> {
    let default = problem.default_config();
    let tiles = problem.tiles().into_iter();
    tiles.map(|tile| TileConfig { tile, ..default }).collect()
}

/// Extents that are not multiples of any tile, with more than one tile along each axis.
const WIDE: &str = "n=2 h=25 w=19 c=20 k=150 kernel=3x2 stride=2x2 pad=1,0,1,1";
const NARROW: &str = "n=2 h=25 w=19 c=150 k=20 kernel=3x2 stride=2x2 pad=1,0,1,1";

fn tiles_of(precision: Precision) {
    for (product, shape) in [
        (ConvProduct::Fprop, WIDE),
        (ConvProduct::Dgrad, NARROW),
        (ConvProduct::Wgrad, WIDE),
    ] {
        let problem = problem(product, precision, shape, false);
        let tile_configs = every_tile(&problem);
        assert!(tile_configs.len() >= 5);
        expect_right(&problem, precision, &tile_configs);
    }
}

#[test]
fn tiles_in_f32() {
    tiles_of(Precision::F32);
}

#[test]
fn tiles_in_tf32() {
    tiles_of(Precision::Tf32);
}

#[test]
fn tiles_in_bf16() {
    tiles_of(Precision::Bf16);
}

#[test]
fn tiles_of_hopper_kernels() {
    let (wide, narrow) = ("n=3 h=17 w=16 c=64 k=136", "n=3 h=17 w=16 c=136 k=64");
    for (product, precision, shape) in [
        (ConvProduct::Fprop, Precision::Bf16, wide),
        (ConvProduct::Fprop, Precision::Tf32, wide),
        (ConvProduct::Dgrad, Precision::Bf16, narrow),
        // Two phases per tile.
        (ConvProduct::Dgrad, Precision::Bf16, wide),
        (ConvProduct::Wgrad, Precision::Bf16, wide),
    ] {
        let problem = problem(product, precision, shape, true);
        assert_eq!(problem.tier, Tier::Hopper);
        let tile_configs = every_tile(&problem);
        assert!(tile_configs.len() >= if product == ConvProduct::Wgrad { 4 } else { 2 });
        expect_right(&problem, precision, &tile_configs);
    }
}

/// Full and partial bands of full and partial tiles, and split-K slices.
#[test]
fn orders_and_slices() {
    for (product, precision, shape, has_hopper) in [
        (
            ConvProduct::Fprop,
            Precision::F32,
            "n=2 h=26 w=18 c=8 k=72",
            false,
        ),
        (
            ConvProduct::Dgrad,
            Precision::F32,
            "n=2 h=26 w=18 c=72 k=8",
            false,
        ),
        (
            ConvProduct::Dgrad,
            Precision::Bf16,
            "n=8 h=17 w=15 c=136 k=64",
            true,
        ),
    ] {
        let problem = problem(product, precision, shape, has_hopper);
        let tile = if has_hopper {
            Tile::new(256, 128, 3)
        } else {
            Tile::new(64, 64, 3)
        };
        let tile_config = |band| TileConfig {
            tile,
            band,
            slices: 1,
        };
        expect_right(&problem, precision, &[0, 1, 2, 3].map(tile_config));
    }
    let problem = problem(ConvProduct::Wgrad, Precision::F32, SLICED, false);
    let default = problem.default_config();
    assert!(problem.splits().len() > 2);
    let splits = problem.splits().into_iter();
    let tile_configs: Vec<_> = splits
        .map(|slices| TileConfig { slices, ..default })
        .collect();
    expect_right(&problem, Precision::F32, &tile_configs);
}

/// A shape with enough pixels for several split-K slices.
const SLICED: &str = "n=3 h=24 w=20 c=8 k=16";

/// The executor with a mock clock. Timed launches are not run.
#[derive(Debug)]
struct MadeUp {
    simt: SimtLauncher,
    cost: fn(&Launch) -> f64,
    /// A text in the source of a launch, and its replacement.
    fault: fn(&Launch) -> Option<[&'static str; 2]>,
    clock: Mutex<Clock>,
}

#[derive(Debug, Default)]
struct Clock {
    now: f64,
    marks: Vec<f64>,
    /// Whether launches are timed: a mark was set and not cleared.
    is_timing: bool,
}

impl MadeUp {
    fn device(
        cost: fn(&Launch) -> f64,
        fault: fn(&Launch) -> Option<[&'static str; 2]>,
        precision: Precision,
    ) -> Profiled {
        let launcher = Self {
            simt: SimtLauncher::new(2).unwrap(),
            cost,
            fault,
            clock: Mutex::default(),
        };
        Profiled::on_launcher(Arc::new(launcher), precision, Tier::Tiled).unwrap()
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap()
    }
}

impl Launcher for MadeUp {
    fn device(&self) -> &dyn KernelDevice {
        &self.simt
    }
    fn launch(&self, launch: &Launch, arguments: &Arguments) -> Result<()> {
        let mut clock = self.clock();
        if clock.is_timing {
            clock.now += (self.cost)(launch);
            return Ok(());
        }
        drop(clock);
        let text = Sources::current().unwrap().family(launch.kernel.source);
        match (self.fault)(launch) {
            Some([right, wrong]) => {
                assert!(text.contains(right));
                let text = text.replace(right, wrong);
                // Modules are distinguished by their constants.
                let mut launch = launch.clone();
                launch.module.constants.push(("FAULT", 1));
                self.simt.launch_source(&text, &launch, arguments)
            }
            None => self.simt.launch(launch, arguments),
        }
    }
    fn record(&self, body: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Recording>> {
        self.simt.record(body)
    }
    fn instruments(&self) -> Option<&dyn Instruments> {
        Some(self)
    }
}

impl Instruments for MadeUp {
    fn mark(&self) -> Result<u64> {
        let mut clock = self.clock();
        clock.is_timing = true;
        let now = clock.now;
        clock.marks.push(now);
        Ok(clock.marks.len() as u64 - 1)
    }
    fn seconds_between(&self, from: u64, to: u64) -> Result<f64> {
        let clock = self.clock();
        Ok(clock.marks[to as usize] - clock.marks[from as usize])
    }
    fn clear_marks(&self) {
        let mut clock = self.clock();
        clock.marks.clear();
        clock.is_timing = false;
    }
    fn copy(&self, _: &dyn Allocation, _: &dyn Allocation, _: usize) -> Result<()> {
        Ok(())
    }
    fn cache_bytes(&self) -> usize {
        1 << 20
    }
    fn resources(&self, _: &Launch) -> Result<KernelResources> {
        unreachable!("a search needs only times")
    }
    fn clocks(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
    fn push_range(&self, _: &str) {}
    fn pop_range(&self) {}
}

fn tile_of(launch: &Launch) -> Option<Tile> {
    let constant = |wanted: &str| {
        let mut all = launch.module.constants.iter();
        let found = all.find(|(name, _)| *name == wanted)?;
        usize::try_from(found.1).ok()
    };
    Some(Tile::new(
        constant("TILE_M")?,
        constant("TILE_N")?,
        constant("STAGES")?,
    ))
}

const SHAPE: &str = "n=1 h=22 w=18 c=9 k=70";
const QUICK: Settings = Settings {
    repeats: 3,
    sample: 200,
};

/// The result of a search that is not stopped.
fn searched(problem: &Problem, device: &Profiled) -> cosmogan::error::Result<Found> {
    let found = search(problem, device, QUICK, &|| false)?;
    Ok(found.expect("it was not stopped"))
}

/// A fault: one multiplication in four has a wrong operand.
const WRONG: [&str; 2] = ["left[i].w * right.w", "left[i].z * right.w"];

/// The two fastest candidates are faulty: one has wrong values, one another order of sums.
#[test]
fn the_fastest_right_candidate_wins() {
    let cost = |launch: &Launch| match tile_of(launch) {
        // Packing is not counted.
        None => 100.0,
        Some(tile) if tile == Tile::new(64, 64, 3) => 0.1,
        Some(tile) if tile == Tile::new(128, 64, 4) => 0.2,
        Some(tile) if tile == Tile::new(64, 128, 4) => 0.5,
        Some(_) => 1.0,
    };
    let fault = |launch: &Launch| match tile_of(launch) {
        Some(tile) if tile == Tile::new(64, 64, 3) => Some(WRONG),
        Some(tile) if tile == Tile::new(128, 64, 4) => Some([
            "for (int chunk = 0; chunk < SLAB_CHUNKS; ++chunk)",
            "for (int chunk = SLAB_CHUNKS - 1; chunk >= 0; --chunk)",
        ]),
        _ => None,
    };
    let device = MadeUp::device(cost, fault, Precision::F32);
    let problem = problem(ConvProduct::Fprop, Precision::F32, SHAPE, false);
    let found = searched(&problem, &device).unwrap();
    assert_eq!(found.tile_config.tile, Tile::new(64, 128, 4));
    assert!((found.seconds - 0.5).abs() < 1e-9 && (found.default_seconds - 1.0).abs() < 1e-9);
    let refused: Vec<_> = found
        .refused
        .iter()
        .map(|(tile_config, reason)| (tile_config.tile, reason.as_str()))
        .collect();
    assert_eq!(refused.len(), 2, "{refused:?}");
    for (tile, words) in [
        (Tile::new(64, 64, 3), "times its bound"),
        (Tile::new(128, 64, 4), "bits differ"),
    ] {
        let is_there =
            |(refused, reason): &(Tile, &str)| *refused == tile && reason.contains(words);
        assert!(refused.iter().any(is_there), "{tile}: {refused:?}");
    }
}

#[test]
fn a_default_that_is_wrong_ends_the_search() {
    let fault = |launch: &Launch| tile_of(launch).map(|_| WRONG);
    let device = MadeUp::device(|_| 1.0, fault, Precision::F32);
    let problem = problem(ConvProduct::Fprop, Precision::F32, SHAPE, false);
    let problem = searched(&problem, &device).unwrap_err().to_string();
    assert!(
        problem.contains("fprop") && problem.contains("default") && !problem.contains('\n'),
        "{problem}"
    );
}

/// A search can be stopped before any candidate and then has no result, not even the best so far.
#[test]
fn a_search_stops_between_candidates() {
    let device = MadeUp::device(|_| 1.0, |_| None, Precision::F32);
    let problem = problem(ConvProduct::Fprop, Precision::F32, SHAPE, false);
    for patience in [0, 2] {
        let asked = Cell::new(0);
        let stop = || asked.replace(asked.get() + 1) == patience;
        let found = search(&problem, &device, QUICK, &stop).unwrap();
        assert!(found.is_none());
        assert_eq!(asked.get(), patience + 1);
    }
}

#[test]
fn what_noise_explains_changes_nothing() {
    // All other tiles are faster by 1 %, which is less than the smallest gain that counts.
    let cost = |launch: &Launch| match tile_of(launch) {
        Some(tile) if tile == Tile::new(128, 128, 3) => 1.0,
        _ => 0.99,
    };
    let device = MadeUp::device(cost, |_| None, Precision::F32);
    let problem = problem(ConvProduct::Fprop, Precision::F32, SHAPE, false);
    let found = searched(&problem, &device).unwrap();
    assert_eq!(found.tile_config, problem.default_config());
    assert!(found.refused.is_empty());
}

/// The mock clock recognises block orders by the grid and split-K slices by its depth; adding the slices counts.
#[test]
fn orders_and_slices_are_searched() {
    let cost = |launch: &Launch| {
        let layers = f64::from(launch.grid[2]);
        match launch.kernel.name {
            "conv_dgrad_tiled" if launch.grid[0] == 1 => 0.5,
            "conv_wgrad_tiled" => 1.0 + 0.1 * layers,
            // The addition of the slices.
            "column_totals" => 1.0,
            _ => 1.0,
        }
    };
    let device = MadeUp::device(cost, |_| None, Precision::F32);
    let shape = "n=2 h=26 w=18 c=72 k=8";
    let dgrad = problem(ConvProduct::Dgrad, Precision::F32, shape, false);
    let found = searched(&dgrad, &device).unwrap();
    let expected = (dgrad.default_config().tile, 1);
    assert_eq!((found.tile_config.tile, found.tile_config.band), expected);

    let wgrad = problem(ConvProduct::Wgrad, Precision::F32, SLICED, false);
    assert!(wgrad.default_config().slices > 2);
    let found = searched(&wgrad, &device).unwrap();
    assert_eq!(found.tile_config.slices, 1);
}

/// The number of distinct GEMMs of the paper's training step in each precision.
#[test]
fn the_products_of_a_step() {
    let model = Preset::Paper.model();
    for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
        let problems = problems_of(&model, 64, precision, true);
        // Three convolutions between many channels in each network, with a batch in the generator and two batches at
        // once in the discriminator, and a linear layer without the gradient of its input. The networks mirror each
        // other: the discriminator's GEMMs for the generator's loss are among the generator's.
        assert_eq!(problems.len(), 2 * 3 * 3 + 2);
    }
}

#[test]
fn where_time_means_nothing_nothing_is_searched() {
    for device in ["cpu", "simt"] {
        let needles = ["--device", "cannot measure", "use --device cuda"];
        refused(&["tune", "--device", device], 2, &needles);
    }
    refused(&["tune", "--batch", "0"], 2, &["--batch", "too few"]);
    refused(
        &["tune", "--device", "simt", "--tier", "plain"],
        2,
        &["--tier", "no tile configurations"],
    );
}
