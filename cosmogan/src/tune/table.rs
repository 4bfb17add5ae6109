//! The tuning table: a readable JSON file with one line per GEMM.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use cosmogan_engine::backend::cache::Cache;
use cosmogan_engine::backend::launch::Gpu;
use cosmogan_engine::profile::{Extents, Kind, Operator};
use cosmogan_kernels::ConvProduct;
use cosmogan_kernels::Precision;
use cosmogan_kernels::convolution::ConvShape;
use cosmogan_kernels::tuning::{Problem, Tile, TileConfig, TileConfigs};
use cosmogan_kernels::{MANIFEST, Sources, Tier};
use serde::{Deserialize, Serialize};

use super::problems::shape_text;
use super::search::Found;
use crate::error::{Error, Result};
use crate::files::{sha256, write_atomically};

/// Version of the file format.
const FORMAT: u32 = 1;

/// A tuning table: measured tile configurations.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    format: u32,
    /// Description of the origin.
    origin: String,
    /// Conditions of the measurement.
    measured: Conditions,
    entries: Vec<Entry>,
}

/// Conditions under which times were measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Conditions {
    gpu: String,
    capability: i32,
    driver: [i32; 2],
    /// Version of this program.
    version: String,
    /// Hash of the sources of all GEMM kernels.
    kernels: String,
}

/// One GEMM and its tile configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    product: String,
    operand: String,
    tier: String,
    shape: String,
    tile: [usize; 2],
    stages: usize,
    band: usize,
    slices: usize,
    #[serde(flatten)]
    time: Time,
}

/// Times measured by a search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Time {
    /// Median time of the tile configuration.
    pub seconds: f64,
    /// Its relative standard deviation.
    pub noise: f64,
    /// Median time of the default.
    pub default_seconds: f64,
}

impl Conditions {
    fn of(gpu: &Gpu) -> Self {
        Self {
            gpu: gpu.name.clone(),
            capability: gpu.capability,
            driver: gpu.driver,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            // Of sources that cannot be read no kernel can be compiled; an empty hash matches no table.
            kernels: Sources::current().map_or_else(|_| String::new(), hash_of_products),
        }
    }

    /// The reason why times measured under these conditions do not hold under those of `here`, if any.
    fn differ(&self, here: &Self) -> Option<String> {
        if (&self.gpu, self.capability) != (&here.gpu, here.capability) {
            return Some(format!(
                "was measured on {} (sm_{}) and not on {} (sm_{})",
                self.gpu, self.capability, here.gpu, here.capability
            ));
        }
        if self.driver != here.driver {
            let words = |[major, minor]: [i32; 2]| format!("CUDA {major}.{minor}");
            return Some(format!(
                "was measured with a driver of {} and not of {}",
                words(self.driver),
                words(here.driver)
            ));
        }
        if self.version != here.version {
            return Some(format!(
                "is of version {} and not {}",
                self.version, here.version
            ));
        }
        (self.kernels != here.kernels).then(|| "was measured with other kernels".to_owned())
    }
}

impl Entry {
    /// The entry of a problem.
    pub fn new(problem: &Problem, tile_config: &TileConfig, time: Time) -> Self {
        Self {
            product: problem.product.name().to_owned(),
            operand: problem.operand.to_string(),
            tier: tier_name(problem.tier).to_owned(),
            shape: shape_text(&problem.shape),
            tile: [tile_config.tile.rows, tile_config.tile.columns],
            stages: tile_config.tile.stages,
            band: tile_config.band,
            slices: tile_config.slices,
            time,
        }
    }

    /// Parses the problem and its tile configuration.
    fn read(&self) -> std::result::Result<(Problem, TileConfig), String> {
        let unknown = |what: &str, name: &str| format!("there is no {what} `{name}`");
        let product = ConvProduct::ALL
            .into_iter()
            .find(|product| product.name() == self.product)
            .ok_or_else(|| unknown("product", &self.product))?;
        let operand: Precision = self
            .operand
            .parse()
            .map_err(|_| unknown("operand", &self.operand))?;
        let tier = [Tier::Tiled, Tier::Hopper]
            .into_iter()
            .find(|tier| tier_name(*tier) == self.tier)
            .ok_or_else(|| unknown("tier", &self.tier))?;
        let problem = Problem {
            product,
            operand,
            tier,
            shape: shape_from(&self.shape)?,
        };
        let [rows, columns] = self.tile;
        let tile_config = TileConfig {
            tile: Tile::new(rows, columns, self.stages),
            band: self.band,
            slices: self.slices,
        };
        Ok((problem, tile_config))
    }
}

impl Table {
    /// An empty table for searches on `gpu`.
    pub fn on(gpu: &Gpu) -> Self {
        Self {
            format: FORMAT,
            origin: "measured by cosmogan tune".to_owned(),
            measured: Conditions::of(gpu),
            entries: Vec::new(),
        }
    }

    /// The path of the user's table for a GPU.
    ///
    /// # Errors
    /// If there is no cache folder.
    pub fn path(gpu: &Gpu) -> Result<PathBuf> {
        let cache = Cache::of_user();
        let folder = cache.folder().ok_or_else(|| {
            let problem = cache.probe().unwrap_or_default();
            Error::check_failed(format!("tile configurations cannot be stored: {problem}"))
        })?;
        let plain = |letter: char| letter.is_ascii_alphanumeric().then_some(letter);
        let name: String = gpu
            .name
            .to_lowercase()
            .chars()
            .map(|letter| plain(letter).unwrap_or('-'))
            .collect();
        Ok(folder.join(format!("tuning-{name}-sm_{}.json", gpu.capability)))
    }

    /// Reads the user's table for a GPU; `None` if there is no file.
    ///
    /// # Errors
    /// If the table cannot be used for this GPU; the error says why.
    pub fn read(path: &Path, gpu: &Gpu) -> std::result::Result<Option<Self>, String> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("cannot be read: {error}")),
        };
        let table: Self = text.parse()?;
        match table.measured.differ(&Conditions::of(gpu)) {
            Some(problem) => Err(problem),
            None => Ok(Some(table)),
        }
    }

    /// Writes the table atomically.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        Ok(write_atomically(path, self.text()?.as_bytes())?)
    }

    /// The text of the file.
    ///
    /// # Errors
    /// None that a user can cause.
    pub fn text(&self) -> Result<String> {
        let json = |value: serde_json::Result<String>| {
            value.map_err(|error| Error::check_failed(format!("{error}; report this as a bug")))
        };
        let mut lines = vec![format!("  \"format\": {}", self.format)];
        let origin = json(serde_json::to_string(&self.origin))?;
        lines.push(format!("  \"origin\": {origin}"));
        let measured = json(serde_json::to_string(&self.measured))?;
        lines.push(format!("  \"measured\": {measured}"));
        let entries: Vec<String> = self
            .entries
            .iter()
            .map(|entry| Ok(format!("    {}", json(serde_json::to_string(entry))?)))
            .collect::<Result<_>>()?;
        lines.push(format!("  \"entries\": [\n{}\n  ]", entries.join(",\n")));
        Ok(format!("{{\n{}\n}}\n", lines.join(",\n")))
    }

    /// Adds an entry, replacing an older one of the same problem.
    pub fn set(&mut self, entry: Entry) {
        let key = |entry: &Entry| {
            let Entry {
                product,
                operand,
                tier,
                shape,
                ..
            } = entry;
            [product, operand, tier, shape].map(Clone::clone)
        };
        self.entries.retain(|old| key(old) != key(&entry));
        self.entries.push(entry);
    }

    /// Whether there is an entry for a problem.
    pub fn has(&self, problem: &Problem) -> bool {
        let mut all = self.entries.iter();
        all.any(|entry| entry.read().is_ok_and(|(known, _)| known == *problem))
    }

    /// Adds all entries to `tile_configs`.
    pub(super) fn add_to(&self, tile_configs: &mut TileConfigs) -> std::result::Result<(), String> {
        for entry in &self.entries {
            let (problem, tile_config) = entry.read()?;
            tile_configs.insert(problem, tile_config)?;
        }
        Ok(())
    }
}

impl FromStr for Table {
    type Err = String;

    /// Parses and checks a table; the error says what is wrong.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let table: Self = serde_json::from_str(text)
            .map_err(|error| format!("is not a tuning table: {error}"))?;
        if table.format != FORMAT {
            return Err(format!(
                "has format {}, and this version reads {FORMAT}",
                table.format
            ));
        }
        let mut checked = TileConfigs::default();
        table
            .add_to(&mut checked)
            .map_err(|problem| format!("has an invalid entry: {problem}"))?;
        Ok(table)
    }
}

impl From<&Found> for Time {
    fn from(found: &Found) -> Self {
        Self {
            seconds: found.seconds,
            noise: found.noise,
            default_seconds: found.default_seconds,
        }
    }
}

fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::Plain => "plain",
        Tier::Tiled => "tiled",
        Tier::Hopper => "hopper",
    }
}

fn shape_from(text: &str) -> std::result::Result<ConvShape, String> {
    match Operator::of_kind(Kind::Fprop, text)?.extents {
        Extents::Convolution(geometry) => Ok((&geometry).into()),
        _ => Err(format!("`{text}` is not a convolution")),
    }
}

/// Hash of the sources that GEMM kernels are compiled from.
fn hash_of_products(sources: &Sources) -> String {
    let mut text = String::new();
    let tiled = MANIFEST
        .iter()
        .filter(|kernel| kernel.tier != Tier::Plain)
        .map(|kernel| (kernel.source, sources.family(kernel.source)));
    for (name, contents) in sources.headers().chain(tiled) {
        text.push_str(name);
        text.push_str(contents);
    }
    sha256(text.as_bytes())[..16].to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn an_edited_source_changes_the_hash() {
        let folder = tempfile::tempdir().unwrap();
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernels/cuda");
        for entry in fs::read_dir(sources).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        let here = || hash_of_products(&Sources::read(folder.path()).unwrap());
        let built_in = hash_of_products(&Sources::built_in());
        assert_eq!(here(), built_in);
        for (name, changes) in [("adam.cu", false), ("pipeline.cuh", true)] {
            let path = folder.path().join(name);
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, format!("{text}\n")).unwrap();
            assert_eq!(here() != built_in, changes, "{name}");
        }
    }
}
