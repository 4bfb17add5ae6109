//! What was chosen, as a file that people read: one line for each product.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use cosmogan_engine::backend::cache::Cache;
use cosmogan_engine::backend::launch::Gpu;
use cosmogan_engine::profile::{Extents, Kind, Operator};
use cosmogan_kernels::convolution::ConvShape;
use cosmogan_kernels::pack::Operand;
use cosmogan_kernels::tuning::{Choice, Choices, Origin, Problem, Product, Tile};
use cosmogan_kernels::{HEADERS, MANIFEST, Tier, source};
use serde::{Deserialize, Serialize};

use super::problems::{geometry_of, shape_of};
use super::search::Found;
use crate::error::{Error, Result};
use crate::files::{sha256, write_atomically};

/// The number of the form.
const FORMAT: u32 = 1;

/// Choices with where they come from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    format: u32,
    /// Who chose, in words.
    origin: String,
    /// What was measured on; absent where nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    measured: Option<Conditions>,
    entries: Vec<Entry>,
}

/// What times hold for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Conditions {
    gpu: String,
    capability: i32,
    driver: [i32; 2],
    /// Of this program.
    version: String,
    /// A hash of the sources of all products.
    kernels: String,
}

/// One product, and how it is cut.
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
    /// Of a search; absent where nothing was measured.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    time: Option<Time>,
}

/// What a search measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Time {
    /// Of the choice.
    pub seconds: f64,
    /// Their scatter, as a share.
    pub noise: f64,
    /// Of the default.
    pub default_seconds: f64,
}

impl Conditions {
    fn of(gpu: &Gpu) -> Self {
        Self {
            gpu: gpu.name.clone(),
            capability: gpu.capability,
            driver: gpu.driver,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernels: hash_of_products(),
        }
    }

    /// Why what holds here does not hold there, if so.
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
    /// What was chosen for a problem.
    pub fn new(problem: &Problem, choice: &Choice, time: Option<Time>) -> Self {
        Self {
            product: problem.product.name().to_owned(),
            operand: operand_name(problem.operand).to_owned(),
            tier: tier_name(problem.tier).to_owned(),
            shape: shape_text(&problem.shape),
            tile: [choice.tile.rows, choice.tile.columns],
            stages: choice.tile.stages,
            band: choice.band,
            slices: choice.slices,
            time,
        }
    }

    /// The problem, and what was chosen for it.
    fn read(&self) -> std::result::Result<(Problem, Choice), String> {
        let unknown = |what: &str, name: &str| format!("there is no {what} `{name}`");
        let product = Product::ALL
            .into_iter()
            .find(|product| product.name() == self.product)
            .ok_or_else(|| unknown("product", &self.product))?;
        let operand = [Operand::F32, Operand::Tf32, Operand::Bf16]
            .into_iter()
            .find(|operand| operand_name(*operand) == self.operand)
            .ok_or_else(|| unknown("operand", &self.operand))?;
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
        let choice = Choice {
            tile: Tile::new(rows, columns, self.stages),
            band: self.band,
            slices: self.slices,
        };
        Ok((problem, choice))
    }
}

impl Table {
    /// Nothing yet, for searches on `gpu`.
    pub fn on(gpu: &Gpu) -> Self {
        Self {
            format: FORMAT,
            origin: "measured by cosmogan tune".to_owned(),
            measured: Some(Conditions::of(gpu)),
            entries: Vec::new(),
        }
    }

    /// Nothing yet, for what is chosen without measuring.
    pub fn unmeasured(origin: String) -> Self {
        Self {
            format: FORMAT,
            origin,
            measured: None,
            entries: Vec::new(),
        }
    }

    /// Where the user's table of a GPU is kept.
    ///
    /// # Errors
    /// Where there is no folder for it.
    pub fn path(gpu: &Gpu) -> Result<PathBuf> {
        let cache = Cache::of_user();
        let folder = cache.folder().ok_or_else(|| {
            let problem = cache.probe().unwrap_or_default();
            let (problem, remedy) = problem.split_once("; ").unwrap_or((&problem, ""));
            Error::CheckFailed(format!("choices cannot be kept: {problem}; {remedy}"))
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

    /// The user's table of a GPU; `None` where there is no file.
    ///
    /// # Errors
    /// Where there is one that cannot be used for this GPU: what is wrong with it.
    pub fn read(path: &Path, gpu: &Gpu) -> std::result::Result<Option<Self>, String> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("cannot be read: {error}")),
        };
        let table: Self = text.parse()?;
        match &table.measured {
            None => Err("holds nothing measured".to_owned()),
            Some(measured) => match measured.differ(&Conditions::of(gpu)) {
                Some(problem) => Err(problem),
                None => Ok(Some(table)),
            },
        }
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomically(path, self.text()?.as_bytes())
    }

    /// As it stands in a file.
    ///
    /// # Errors
    /// None that a user could cause.
    pub fn text(&self) -> Result<String> {
        let json = |value: serde_json::Result<String>| {
            value.map_err(|error| Error::CheckFailed(format!("{error}; report this as a bug")))
        };
        let mut lines = vec![format!("  \"format\": {}", self.format)];
        let origin = json(serde_json::to_string(&self.origin))?;
        lines.push(format!("  \"origin\": {origin}"));
        if let Some(measured) = &self.measured {
            let measured = json(serde_json::to_string(measured))?;
            lines.push(format!("  \"measured\": {measured}"));
        }
        let entries: Vec<String> = self
            .entries
            .iter()
            .map(|entry| Ok(format!("    {}", json(serde_json::to_string(entry))?)))
            .collect::<Result<_>>()?;
        lines.push(format!("  \"entries\": [\n{}\n  ]", entries.join(",\n")));
        Ok(format!("{{\n{}\n}}\n", lines.join(",\n")))
    }

    /// Adds a line, in the place of an older one about the same.
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

    /// Whether there is a line about a problem.
    pub fn has(&self, problem: &Problem) -> bool {
        let mut all = self.entries.iter();
        all.any(|entry| entry.read().is_ok_and(|(known, _)| known == *problem))
    }

    /// Adds all lines to `choices`.
    pub(super) fn add_to(&self, choices: &mut Choices) -> std::result::Result<(), String> {
        let origin = match self.measured {
            Some(_) => Origin::Measured,
            None => Origin::Model,
        };
        for entry in &self.entries {
            let (problem, choice) = entry.read()?;
            choices.insert(problem, choice, origin)?;
        }
        Ok(())
    }
}

impl FromStr for Table {
    type Err = String;

    /// Of a text that is not one, what is wrong.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let table: Self = serde_json::from_str(text)
            .map_err(|error| format!("is no table of choices: {error}"))?;
        if table.format != FORMAT {
            return Err(format!(
                "has format {}, and this version reads {FORMAT}",
                table.format
            ));
        }
        let mut checked = Choices::default();
        table
            .add_to(&mut checked)
            .map_err(|problem| format!("holds what cannot be: {problem}"))?;
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

pub(super) fn operand_name(operand: Operand) -> &'static str {
    match operand {
        Operand::F32 => "f32",
        Operand::Tf32 => "tf32",
        Operand::Bf16 => "bf16",
    }
}

fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::Plain => "plain",
        Tier::Tiled => "tiled",
        Tier::Hopper => "hopper",
    }
}

/// A shape in the words of `--shape`.
pub(super) fn shape_text(shape: &ConvShape) -> String {
    Extents::Convolution(geometry_of(shape)).to_string()
}

fn shape_from(text: &str) -> std::result::Result<ConvShape, String> {
    match Operator::of_kind(Kind::Fprop, text)?.extents {
        Extents::Convolution(geometry) => Ok(shape_of(&geometry)),
        _ => Err(format!("`{text}` is no convolution")),
    }
}

/// What the products are compiled from.
fn hash_of_products() -> String {
    let mut text = String::new();
    let tiled = MANIFEST
        .iter()
        .filter(|kernel| kernel.tier != Tier::Plain)
        .map(|kernel| (kernel.source, source(kernel.source)));
    for (name, contents) in HEADERS.iter().copied().chain(tiled) {
        text.push_str(name);
        text.push_str(contents);
    }
    sha256(text.as_bytes())[..16].to_owned()
}
