//! `cosmogan compress`: stores a generator's weights as float16, at half the size.

use std::path::PathBuf;

use clap::Args;

use crate::error::{Error, Result};
use crate::files::refuse_input;
use crate::generator::Generator;
use crate::help::examples;
use crate::model::tensor_file::{CONFIG_KEY, TensorFile, refuse_strangers};
use crate::model::weights::{Storage, read_file, write_stored};
use crate::model::{NetworkKind, tensors};
use crate::stats::Moments;

/// Maps by which the loss of precision is measured.
const MAPS: usize = 64;

/// Store a generator's weights as float16, and report how much its maps change
#[derive(Debug, Args)]
#[command(after_help = examples(&["cosmogan compress --weights run/average.safetensors --out small.safetensors"]))]
pub(super) struct CompressArguments {
    /// Generator weights
    #[arg(long, value_name = "G.safetensors")]
    weights: PathBuf,
    /// Output file
    #[arg(long, value_name = "SMALL.safetensors")]
    out: PathBuf,
}

impl CompressArguments {
    pub(super) fn run(self) -> Result<()> {
        let path = &self.weights;
        refuse_input(&self.out, [path.as_path()], "--out")?;
        // Generate maps first, so that unusable weights are rejected before anything is written.
        let before = Generator::load(path)?.sample(MAPS, 0)?;
        let bytes = read_file(path)?;
        let file = TensorFile::parse(path, &bytes)?;
        let kind = NetworkKind::Generator;
        let config = file.config(kind)?;
        refuse_strangers(&file, kind, &config)?;
        let mut values = Vec::new();
        for tensor in tensors(kind, &config) {
            let narrowed: Vec<f32> = file
                .parameter(&tensor)?
                .into_iter()
                .map(|value| value as f32)
                .collect();
            if narrowed
                .iter()
                .any(|value| value.abs() > half::f16::MAX.to_f32())
            {
                return Err(Error::file(
                    path,
                    format!(
                        "tensor `{}` has values beyond 65,504, the largest of float16",
                        tensor.name
                    ),
                    "keep the weights in float32",
                ));
            }
            values.push((tensor.name, tensor.file_dims, narrowed));
        }
        let described = file.metadata(CONFIG_KEY);
        let described = described.map_or_else(|| config.to_json(), str::to_owned);
        let stored = values
            .iter()
            .map(|(name, dims, values)| (name.clone(), dims.clone(), &values[..]));
        write_stored(&self.out, Storage::Half, stored, (CONFIG_KEY, described))?;

        let after = Generator::load(&self.out)?.sample(MAPS, 0)?;
        let largest = before
            .iter()
            .zip(&after)
            .fold(0.0_f32, |largest, (before, after)| {
                largest.max((before - after).abs())
            });
        println!(
            "wrote {}: in {MAPS} maps no pixel differs by more than {:.4} standard deviations",
            self.out.display(),
            f64::from(largest) / Moments::of(&before).standard_deviation()
        );
        Ok(())
    }
}
