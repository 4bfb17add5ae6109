//! The generator embedded in this library by the feature `embed-weights`.

use std::path::Path;

use crate::generator::{Generator, Options};
use cosmogan_base::Result;

/// The embedded weight file. `docs/shipped-weights.md` describes its training and the quality of its maps.
pub const WEIGHTS: &[u8] = include_bytes!("../weights/generator.safetensors");

/// The name of that file in error messages.
pub const NAME: &str = "the shipped weights";

impl Generator {
    /// Loads the embedded generator; no file is needed.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let maps = cosmogan_generator::Generator::shipped()?.sample(1, 42)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If `COSMOGAN_INSTRUCTIONS` names an instruction set that this CPU lacks. Any error of
    /// [`from_bytes`](Self::from_bytes) would be a bug.
    pub fn shipped() -> Result<Self> {
        Self::shipped_with(Options::default())
    }

    /// Loads the embedded generator with other options.
    ///
    /// # Errors
    /// As [`shipped`](Self::shipped), and if the options cannot be met.
    pub fn shipped_with(options: Options) -> Result<Self> {
        Self::parse(Path::new(NAME), WEIGHTS, options)
    }
}
