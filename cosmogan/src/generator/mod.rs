//! A trained generator, ready to make maps: the part of this crate that programs embed.

mod fold;
mod instructions;
#[cfg(feature = "embed-weights")]
pub mod shipped;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::thread;

use cosmogan_engine::inference::{Stack, mapped};

use crate::error::{Error, Result};
use crate::model::latents::latents;
use crate::model::tensor_file::{TensorFile, refuse_strangers};
use crate::model::{ModelConfig, NetworkKind};

pub use cosmogan_engine::inference::{InstructionSet, Method};

/// A generator with its weights packed for this processor.
///
/// Maps are square, κ in row order, one after the other. Any number of threads may use one generator at once; calls beyond
/// the number of cores wait for their turn. Map *i* of a seed is the same bits in any batch and on any number
/// of threads, on processors with the same [`InstructionSet`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let weights = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../oracle/golden/two_generator0.safetensors");
/// let generator = cosmogan::Generator::load(weights)?;
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

/// How to load a [`Generator`] otherwise than by default.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Threads that a call works on, 1 to 1024; all cores by default.
    pub threads: usize,
    /// Instructions to use. By default those that the environment variable `COSMOGAN_INSTRUCTIONS` names, which may be
    /// `avx512`, `avx2` or `portable`, and the best of this processor where it names none.
    pub instruction_set: Option<InstructionSet>,
    /// How hidden layers are computed; the faster way for each of them by default.
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

/// More threads than this are no help, and each takes memory.
const MOST_THREADS: usize = 1024;

/// What the weights came from, where they came from no file.
const BYTES: &str = "weights in memory";

impl Generator {
    /// Loads weights from a safetensors file in PyTorch's layout, such as `cosmogan train` writes.
    ///
    /// The file must not be changed by others while this function reads it.
    ///
    /// # Errors
    /// Where the file cannot be read, is not whole, belongs to another model, or holds a number that is not finite, and
    /// where `COSMOGAN_INSTRUCTIONS` asks for what this processor lacks.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::load_with(path, Options::default())
    }

    /// Loads weights as [`load`](Self::load) does, with other options.
    ///
    /// # Errors
    /// As [`load`](Self::load), or where the options cannot be met.
    pub fn load_with(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        let path = path.as_ref();
        let unreadable = |error| Error::file(path, error, "name a readable file");
        let mut file = File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.is_file() {
            let bytes = mapped(&file).map_err(unreadable)?;
            return Self::parse(path, &bytes, options);
        }
        // A pipe, which cannot be mapped, or a folder, which cannot be read.
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(unreadable)?;
        Self::parse(path, &bytes, options)
    }

    /// Takes the bytes of such a file.
    ///
    /// # Errors
    /// As [`load`](Self::load), but for reading the file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::from_bytes_with(bytes, Options::default())
    }

    /// Takes bytes as [`from_bytes`](Self::from_bytes) does, with other options.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes), or where the options cannot be met.
    pub fn from_bytes_with(bytes: &[u8], options: Options) -> Result<Self> {
        Self::parse(Path::new(BYTES), bytes, options)
    }

    fn parse(path: &Path, bytes: &[u8], options: Options) -> Result<Self> {
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

    /// What the network is made of.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The instructions that it uses.
    pub fn instruction_set(&self) -> InstructionSet {
        self.stack.instruction_set()
    }

    /// What computes.
    #[cfg(feature = "program")]
    pub(crate) fn stack(&self) -> &Stack {
        &self.stack
    }

    /// The first `count` maps of a seed.
    ///
    /// # Errors
    /// Where so many maps are more than can be addressed, or weights are so large that sums overflow.
    pub fn sample(&self, count: usize, seed: u64) -> Result<Vec<f32>> {
        let mut maps = self.room(count)?;
        self.sample_into(0, seed, &mut maps)?;
        Ok(maps)
    }

    /// The maps of a seed from map `first` on, as many as `maps` has room for.
    ///
    /// # Errors
    /// Where `maps` has room for no whole number of maps, or weights are so large that sums overflow.
    pub fn sample_into(&self, first: u64, seed: u64, maps: &mut [f32]) -> Result<()> {
        /// Latent vectors that are drawn at a time.
        const BATCH: usize = 1024;
        self.require_whole_maps(maps.len())?;
        let map = self.size().pow(2);
        let mut next = first;
        for maps in maps.chunks_mut(BATCH * map) {
            let last = next + (maps.len() / map) as u64;
            let vectors = latents(seed, next..last, self.latent_width());
            self.run(&vectors, maps)?;
            next = last;
        }
        Ok(())
    }

    /// The maps of latent vectors, which are standard normal deviates, one vector after the other.
    ///
    /// # Errors
    /// Where these are no whole number of vectors, or not finite, or weights are so large that sums overflow.
    pub fn generate(&self, latents: &[f32]) -> Result<Vec<f32>> {
        let mut maps = self.room(latents.len() / self.latent_width())?;
        self.generate_into(latents, &mut maps)?;
        Ok(maps)
    }

    /// The maps of latent vectors, as [`generate`](Self::generate), into memory of the caller's.
    ///
    /// # Errors
    /// As [`generate`](Self::generate), and where these are more or fewer vectors than `maps` has room for.
    pub fn generate_into(&self, latents: &[f32], maps: &mut [f32]) -> Result<()> {
        let width = self.latent_width();
        let refused = |problem: String, remedy: String| Error::usage("latents", problem, remedy);
        if !latents.len().is_multiple_of(width) {
            return Err(refused(
                format!("{} values are no whole number of vectors", latents.len()),
                format!("give {width} values for each map"),
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
                format!("{vectors} vectors where there is room for {room} maps"),
                "give a vector for each map".to_owned(),
            ));
        }
        self.run(latents, maps)
    }

    fn run(&self, latents: &[f32], maps: &mut [f32]) -> Result<()> {
        self.stack.run(latents, maps, self.threads);
        // Zero times what is not finite is no number; sums of eight at a time become vectors.
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
            "are so large that sums overflow single precision: some pixels are no numbers",
            "use the weights of a training run that went well",
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
            "ask for fewer at a time",
        ))
    }

    fn require_whole_maps(&self, values: usize) -> Result<()> {
        let size = self.size();
        if values.is_multiple_of(size * size) {
            return Ok(());
        }
        Err(Error::usage(
            "maps",
            format!("room for {values} values is room for no whole number of maps"),
            format!("give {size}×{size} values for each map"),
        ))
    }
}
