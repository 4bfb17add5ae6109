//! The generator that is part of this library, with the feature `embed-weights`.

use std::path::Path;

use super::{Generator, Options};
use crate::error::Result;

/// Its weight file. `docs/shipped-weights.md` says how it was trained, and how far its maps can be trusted.
pub const WEIGHTS: &[u8] = include_bytes!("../../weights/generator.safetensors");

/// What errors call that file.
pub const NAME: &str = "the shipped weights";

impl Generator {
    /// The generator that this library was built with; no file is needed.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let maps = cosmogan::Generator::shipped()?.sample(1, 42)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes), which would be a defect, and where `COSMOGAN_INSTRUCTIONS` asks for what this
    /// processor lacks.
    pub fn shipped() -> Result<Self> {
        Self::shipped_with(Options::default())
    }

    /// The shipped generator, with other options.
    ///
    /// # Errors
    /// As [`shipped`](Self::shipped), or where the options cannot be met.
    pub fn shipped_with(options: Options) -> Result<Self> {
        Self::parse(Path::new(NAME), WEIGHTS, options)
    }
}
