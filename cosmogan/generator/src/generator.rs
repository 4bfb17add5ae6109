//! A trained generator for inference on the CPU.

use std::fs;
use std::path::Path;
use std::thread;

use cosmogan_engine::inference::Stack;

use crate::config::ModelConfig;
use crate::latents::latents;
use crate::specification::NetworkKind;
use crate::tensor_file::{TensorFile, refuse_strangers};
use crate::{fold, instructions};
use cosmogan_base::{Error, Result};

pub use cosmogan_engine::inference::{InstructionSet, Method};

/// A generator with its weights packed for this CPU.
///
/// Maps are square, κ in row-major order, one after the other. Any number of threads may use one generator at once;
/// calls beyond the number of cores wait for their turn. Map *i* of a seed has the same bits in any batch and on any
/// number of threads, on CPUs with the same [`InstructionSet`].
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let generator = cosmogan_generator::Generator::load("run/average.safetensors")?;
/// let maps = generator.sample(3, 42)?;
/// assert_eq!(maps.len(), 3 * generator.size() * generator.size());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Generator {
    stack: Stack,
    config: ModelConfig,
    threads: usize,
}

/// Options for loading a [`Generator`].
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Threads per call, 1 to 1024; all cores by default.
    pub threads: usize,
    /// Instruction set. By default the one that the environment variable `COSMOGAN_INSTRUCTIONS` names (`avx512`,
    /// `avx2` or `portable`), or the best of this CPU if it is unset.
    pub instruction_set: Option<InstructionSet>,
    /// Algorithm of the hidden layers; by default the faster one for each layer.
    pub method: Option<Method>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: thread::available_parallelism().map_or(1, usize::from),
            instruction_set: None,
            method: None,
        }
    }
}

/// Maximum number of threads; more do not help, and each takes memory.
const MOST_THREADS: usize = 1024;

/// The name of weights without a file in error messages.
const BYTES: &str = "weights in memory";

impl Generator {
    /// Loads weights from a safetensors file in PyTorch's layout, such as `cosmogan train` writes.
    ///
    /// # Errors
    /// If the file cannot be read, is incomplete, belongs to another model, or holds a number that is not finite; or if
    /// `COSMOGAN_INSTRUCTIONS` names an instruction set that this CPU lacks.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::load_with(path, Options::default())
    }

    /// Loads weights as [`load`](Self::load) does, with other options.
    ///
    /// # Errors
    /// As [`load`](Self::load), and if the options cannot be met.
    pub fn load_with(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        let path = path.as_ref();
        let unreadable = |error| Error::file(path, error, "name a readable file");
        // Read and not mapped: a mapping of a file that another program truncates ends in SIGBUS.
        let bytes = fs::read(path).map_err(unreadable)?;
        Self::parse(path, &bytes, options)
    }

    /// Loads weights from the bytes of a safetensors file.
    ///
    /// # Errors
    /// As [`load`](Self::load), except for reading the file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::from_bytes_with(bytes, Options::default())
    }

    /// Loads weights as [`from_bytes`](Self::from_bytes) does, with other options.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes), and if the options cannot be met.
    pub fn from_bytes_with(bytes: &[u8], options: Options) -> Result<Self> {
        Self::parse(Path::new(BYTES), bytes, options)
    }

    pub(crate) fn parse(path: &Path, bytes: &[u8], options: Options) -> Result<Self> {
        let file = TensorFile::parse(path, bytes)?;
        let config = file.config(NetworkKind::Generator)?;
        if config.c_dim != 1 {
            return Err(Error::file(
                path,
                format!("this generator makes {} channels", config.c_dim),
                "maps have one channel; use weights with c_dim 1",
            ));
        }
        refuse_strangers(&file, NetworkKind::Generator, &config)?;
        let set = instructions::chosen(options.instruction_set)?;
        let threads = options.threads.clamp(1, MOST_THREADS);
        let description = fold::description(&file, &config)?;
        let stack = Stack::pack(&description, set, threads, |inputs, outputs| {
            options.method.unwrap_or(Method::faster(inputs, outputs))
        });
        Ok(Self {
            stack,
            config,
            threads,
        })
    }

    /// Rows and columns of a map.
    pub fn size(&self) -> usize {
        self.stack.size()
    }

    /// Width of a latent vector.
    pub fn latent_width(&self) -> usize {
        self.stack.latent()
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The instruction set in use.
    pub fn instruction_set(&self) -> InstructionSet {
        self.stack.instruction_set()
    }

    /// The packed layers.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// Generates the first `count` maps of a seed.
    ///
    /// # Errors
    /// If the maps do not fit into memory, or the weights are so large that sums overflow.
    pub fn sample(&self, count: usize, seed: u64) -> Result<Vec<f32>> {
        let mut maps = self.room(count)?;
        self.sample_into(0, seed, &mut maps)?;
        Ok(maps)
    }

    /// Fills `maps` with the maps of a seed, from map `first` on.
    ///
    /// # Errors
    /// If the length of `maps` is not a whole number of maps, `first` plus their number exceeds 2⁶⁴ − 1, or the weights are
    /// so large that sums overflow.
    pub fn sample_into(&self, first: u64, seed: u64, maps: &mut [f32]) -> Result<()> {
        /// Latent vectors drawn at a time.
        const BATCH: usize = 1024;
        self.require_whole_maps(maps.len())?;
        let map = self.size().pow(2);
        let count = (maps.len() / map) as u64;
        if first.checked_add(count).is_none() {
            return Err(Error::usage(
                "first",
                format!(
                    "{count} maps from map {first} on end beyond map {}",
                    u64::MAX
                ),
                "choose smaller numbers",
            ));
        }
        let mut next = first;
        for maps in maps.chunks_mut(BATCH * map) {
            let last = next + (maps.len() / map) as u64;
            let vectors = latents(seed, next..last, self.latent_width());
            self.run(&vectors, maps)?;
            next = last;
        }
        Ok(())
    }

    /// Generates the maps of latent vectors, given one after the other. Latents are standard normal deviates.
    ///
    /// # Errors
    /// If `latents` is not a whole number of vectors, a value is not finite, or the weights are so large that sums
    /// overflow.
    pub fn generate(&self, latents: &[f32]) -> Result<Vec<f32>> {
        let mut maps = self.room(latents.len() / self.latent_width())?;
        self.generate_into(latents, &mut maps)?;
        Ok(maps)
    }

    /// Generates maps as [`generate`](Self::generate) does, into a buffer of the caller.
    ///
    /// # Errors
    /// As [`generate`](Self::generate), and if the number of vectors is not the number of maps that fit into `maps`.
    pub fn generate_into(&self, latents: &[f32], maps: &mut [f32]) -> Result<()> {
        let width = self.latent_width();
        let refused = |problem: String, remedy: String| Error::usage("latents", problem, remedy);
        if !latents.len().is_multiple_of(width) {
            return Err(refused(
                format!("{} values are not a whole number of vectors", latents.len()),
                format!("give {width} values per map"),
            ));
        }
        if let Some(index) = latents.iter().position(|value| !value.is_finite()) {
            return Err(refused(
                format!("value {index} is {}", latents[index]),
                "give standard normal deviates".to_owned(),
            ));
        }
        self.require_whole_maps(maps.len())?;
        let (vectors, room) = (latents.len() / width, maps.len() / self.size().pow(2));
        if vectors != room {
            return Err(refused(
                format!("{vectors} vectors, but room for {room} maps"),
                "give one vector per map".to_owned(),
            ));
        }
        self.run(latents, maps)
    }

    fn run(&self, latents: &[f32], maps: &mut [f32]) -> Result<()> {
        self.stack.run(latents, maps, self.threads);
        // Zero times an infinity or NaN is NaN. Eight sums at a time, so that the loop vectorises.
        let mut sums = [0.0; 8];
        for values in maps.chunks_exact(sums.len()) {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += 0.0 * value;
            }
        }
        if sums.iter().all(|sum| *sum == 0.0) {
            return Ok(());
        }
        Err(Error::usage(
            "weights",
            "are so large that sums overflow single precision: some pixels are not finite",
            "use the weights of a training run that did not diverge",
        ))
    }

    fn room(&self, count: usize) -> Result<Vec<f32>> {
        let values = self.size().pow(2).checked_mul(count);
        let mut maps = Vec::new();
        if values.is_some_and(|values| maps.try_reserve_exact(values).is_ok()) {
            maps.resize(values.unwrap_or(0), 0.0);
            return Ok(maps);
        }
        Err(Error::usage(
            "count",
            format!("{count} maps do not fit into memory"),
            "generate fewer at a time",
        ))
    }

    fn require_whole_maps(&self, values: usize) -> Result<()> {
        let size = self.size();
        if values.is_multiple_of(size * size) {
            return Ok(());
        }
        Err(Error::usage(
            "maps",
            format!("room for {values} values is not room for a whole number of maps"),
            format!("give room for {size}×{size} values per map"),
        ))
    }
}
