//! The kernel sources: embedded in the program, or read from a folder at run time.

use std::borrow::Cow;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Environment variable with a folder of kernel sources, a copy of `kernels/cuda`, to use instead of the embedded ones.
pub const SOURCES_VARIABLE: &str = "COSMOGAN_KERNELS";

macro_rules! files {
    ($folder:literal: $($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../", $folder, "/", $name)))),*]
    };
}

/// The kernel families by file name.
pub(crate) const FAMILIES: &[(&str, &str)] = files!("cuda":
    "adam.cu",
    "batch_norm.cu",
    "convolution.cu",
    "data.cu",
    "elementwise.cu",
    "implicit_gemm.cu",
    "implicit_gemm_hopper.cu",
    "implicit_gemm_hopper_wgrad.cu",
    "implicit_gemm_wgrad.cu",
    "linear.cu",
    "loss.cu",
    "pack.cu",
    "reduce.cu",
    "single_channel.cu",
);

/// Headers that the families include, by file name.
const HEADERS: &[(&str, &str)] = files!("cuda":
    "activation.cuh",
    "epilogue.cuh",
    "hopper.cuh",
    "index.cuh",
    "mma.cuh",
    "moments.cuh",
    "normalise.cuh",
    "operand.cuh",
    "pipeline.cuh",
    "product.cuh",
    "reduce.cuh",
    "shared.cuh",
    "unrolled.cuh",
);

/// Additional headers for a host compiler, by file name.
pub const SIMT_HEADERS: &[(&str, &str)] = files!("simt": "simt.h", "simt_hopper.h", "simt_mma.h");

/// A file name and its text.
type File = (Cow<'static, str>, Cow<'static, str>);

/// The texts from which kernels are compiled.
#[derive(Debug)]
pub struct Sources {
    folder: Option<PathBuf>,
    families: Vec<File>,
    headers: Vec<File>,
}

impl Sources {
    /// The sources embedded in the program.
    pub fn built_in() -> Self {
        let files = |files: &[(&'static str, &'static str)]| {
            let file = |&(name, text): &(&'static str, &'static str)| (name.into(), text.into());
            files.iter().map(file).collect()
        };
        Self {
            folder: None,
            families: files(FAMILIES),
            headers: files(HEADERS),
        }
    }

    /// Reads every embedded file's counterpart from `folder`, and any further `.cuh` file there.
    ///
    /// # Errors
    /// If a file is missing or cannot be read; the message names it and `COSMOGAN_KERNELS`.
    pub fn read(folder: &Path) -> Result<Self, String> {
        let refuse = |path: &Path, error: std::io::Error| {
            format!(
                "{}: {error}; set {SOURCES_VARIABLE} to a complete copy of kernels/cuda, or unset it",
                path.display()
            )
        };
        let file = |name: Cow<'static, str>| -> Result<File, String> {
            let path = folder.join(&*name);
            let text = fs::read_to_string(&path).map_err(|error| refuse(&path, error))?;
            Ok((name, text.into()))
        };
        let known = |files: &[(&'static str, &str)]| -> Result<Vec<File>, String> {
            files.iter().map(|&(name, _)| file(name.into())).collect()
        };
        let (families, mut headers) = (known(FAMILIES)?, known(HEADERS)?);
        let mut more = Vec::new();
        for entry in fs::read_dir(folder).map_err(|error| refuse(folder, error))? {
            let name = entry.map_err(|error| refuse(folder, error))?.file_name();
            if let Some(name) = name.to_str()
                && name.ends_with(".cuh")
                && headers.iter().all(|(known, _)| known != name)
            {
                more.push(name.to_owned());
            }
        }
        more.sort();
        for name in more {
            headers.push(file(name.into())?);
        }
        Ok(Self {
            folder: Some(folder.to_owned()),
            families,
            headers,
        })
    }

    /// The sources of this process: those in the folder that `COSMOGAN_KERNELS` names, or else the embedded ones.
    ///
    /// The folder is read once, at the first call.
    ///
    /// # Errors
    /// As [`Sources::read`].
    pub fn current() -> Result<&'static Self, &'static str> {
        static CURRENT: OnceLock<Result<Sources, String>> = OnceLock::new();
        let read = || match env::var_os(SOURCES_VARIABLE) {
            Some(folder) if !folder.is_empty() => Self::read(Path::new(&folder)),
            _ => Ok(Self::built_in()),
        };
        CURRENT.get_or_init(read).as_ref().map_err(String::as_str)
    }

    /// The folder that the sources were read from; `None` for the embedded ones.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Text of a `.cu` file; empty for an unknown name.
    pub fn family(&self, name: &str) -> &str {
        let found = self.families.iter().find(|(family, _)| family == name);
        found.map_or("", |(_, text)| text)
    }

    /// Names and texts of the headers that the `.cu` files include.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, text)| (&**name, &**text))
    }

    /// Text of a header; empty for an unknown name.
    pub fn header(&self, name: &str) -> &str {
        let mut headers = self.headers();
        headers
            .find(|(header, _)| *header == name)
            .map_or("", |(_, text)| text)
    }
}
