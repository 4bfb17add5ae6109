//! `cosmogan import`: weights of another PyTorch program in the names and the geometry of this one.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::error::{Error, Result};
use crate::files::{refuse_input, write_atomically};
use crate::generator::Generator;
use crate::help::examples;
use crate::model::layout::Layout;
use crate::model::tensor_file::{CONFIG_KEY, TensorFile, refuse_strangers};
use crate::model::weights::{Storage, read_file, serialized};
use crate::model::{NetworkKind, TensorSpecification, tensors};

/// Convert generator weights of another PyTorch program
#[derive(Debug, Args)]
#[command(after_help = examples(&["cosmogan import --weights theirs.safetensors --padding 2 --out g.safetensors"]))]
pub(super) struct ImportArguments {
    /// Generator weights, saved with safetensors.torch.save_file
    #[arg(long, value_name = "G.safetensors")]
    weights: PathBuf,
    /// Geometry of its ConvTranspose2d(…, 5, stride=2): 2 for padding=2, output_padding=1, whose maps come out turned
    /// by 180°; 1 for padding=1 without the last row and column
    #[arg(long, value_enum, value_name = "1|2", hide_possible_values = true)]
    padding: Padding,
    /// Output file
    #[arg(long, value_name = "OURS.safetensors")]
    out: PathBuf,
}

/// The value of `--padding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Padding {
    /// The geometry of this program.
    #[value(name = "1")]
    One,
    /// Its mirror image.
    #[value(name = "2")]
    Two,
}

impl ImportArguments {
    pub(super) fn run(self) -> Result<()> {
        let path = &self.weights;
        refuse_input(&self.out, [path.as_path()], "--out")?;
        let bytes = read_file(path)?;
        let file = TensorFile::parse(path, &bytes)?.renamed(usual_name)?;
        if file.metadata(CONFIG_KEY).is_some() {
            return Err(Error::file(
                path,
                "holds weights of this program, or imported ones",
                "use it as it is",
            ));
        }
        let kind = NetworkKind::Generator;
        let config = file.config(kind)?;
        refuse_strangers(&file, kind, &config)?;
        let mut values = Vec::new();
        for tensor in tensors(kind, &config) {
            let found = file.parameter(&tensor)?;
            let found: Vec<f32> = found.into_iter().map(|value| value as f32).collect();
            let found = match self.padding {
                Padding::One => found,
                Padding::Two => mirrored(&tensor, &found),
            };
            values.push((tensor.name, tensor.file_dims, found));
        }
        let stored = values
            .iter()
            .map(|(name, dims, values)| (name.clone(), dims.clone(), &values[..]));
        let described = (CONFIG_KEY, config.to_json());
        let converted = serialized(path, Storage::Single, stored, described)?;
        // What this program would refuse to read is not written.
        let generator = Generator::from_bytes(&converted)
            .map_err(|error| Error::refused("--weights", error.to_string()))?;
        write_atomically(&self.out, &converted)?;
        println!(
            "wrote {}: maps of {1}×{1} from {2} latents{3}",
            self.out.display(),
            generator.size(),
            generator.latent_width(),
            match self.padding {
                Padding::One => "",
                Padding::Two => ", turned by 180°",
            }
        );
        Ok(())
    }
}

/// The name here of a tensor of a generator built from `nn.Sequential` named `main`: `main.bn1.weight` is `bn1.weight`,
/// `main.1.weight` is `deconv1.weight`.
fn usual_name(name: &str) -> String {
    match name.strip_prefix("main.") {
        Some(rest) if rest.starts_with(|first: char| first.is_ascii_digit()) => {
            format!("deconv{rest}")
        }
        Some(rest) => rest.to_owned(),
        None => name.to_owned(),
    }
}

/// The values of a tensor of the generator whose every image is turned by 180°.
///
/// Of the 2n + 3 values of a transposed convolution, one geometry drops one at the beginning and two at the end, the
/// other two and one. So turned kernels on turned images give turned images.
fn mirrored(tensor: &TensorSpecification, values: &[f32]) -> Vec<f32> {
    let (turned, element) = match tensor.layout {
        Layout::TransposedConvolution => (tensor.file_dims[2..].iter().product(), 1),
        Layout::ImageRows { pixels, inner, .. } => (pixels * inner, inner),
        _ => return values.to_vec(),
    };
    let images = values.chunks_exact(turned);
    images
        .flat_map(|image| image.rchunks_exact(element))
        .flatten()
        .copied()
        .collect()
}
