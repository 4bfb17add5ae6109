//! Compiled forms of a kernel: PTX, machine code or its disassembly.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;
use cosmogan_engine::backend::Precision;
use cosmogan_engine::backend::cuda::nvrtc::{Compiled, Nvrtc};
use cosmogan_kernels::{Module, hopper_modules_for, modules_for};

use crate::error::{Error, Result};
use crate::files::{create_folder, write_atomically};
use crate::kernels;

/// The form in which kernels are dumped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// PTX, the text form of the virtual instruction set.
    Ptx,
    /// Machine code.
    Cubin,
    /// Disassembly of the machine code, by nvdisasm or cuobjdump.
    Sass,
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Self::Ptx => "ptx",
            Self::Cubin => "cubin",
            Self::Sass => "sass",
        }
    }
}

/// Writes the modules that hold `kernel`, or all modules of the paper's model in `precision`, to `folder`.
///
/// Returns the files. Compiling needs NVRTC, but no GPU; line information is included.
///
/// # Errors
/// If the kernel does not exist, or the compiler or a required disassembler is missing; the message says what to do.
pub fn dump(
    form: Form,
    kernel: Option<&str>,
    precision: Precision,
    architecture: i32,
    folder: &Path,
) -> Result<Vec<PathBuf>> {
    let kernel = kernel.map(kernels::find).transpose()?;
    let source = kernel.map(|kernel| kernel.source);
    let disassembler = match form {
        Form::Sass => Some(Disassembler::find()?),
        _ => None,
    };
    kernels::read_sources()?;
    let nvrtc = Nvrtc::find(None)?;
    if !nvrtc.architectures.contains(&architecture) {
        return Err(Error::usage(
            "--architecture",
            format!(
                "NVRTC at {} does not support sm_{architecture}",
                nvrtc.path.display()
            ),
            format!("choose from {:?}", nvrtc.architectures),
        ));
    }
    create_folder(folder)?;
    let modules: Vec<Module> = modules_for(precision)
        .into_iter()
        .chain(hopper_modules_for(precision))
        .collect();
    let wanted = modules
        .iter()
        .filter(|module| source.is_none_or(|source| source == module.source));
    let mut files = Vec::new();
    for module in wanted {
        let Some(mut target) = module.target(architecture) else {
            continue;
        };
        if form == Form::Ptx {
            target = target.replace("sm_", "compute_");
        }
        let Compiled { image, .. } = nvrtc.compile(module, &target)?;
        let path = folder.join(file_name(module, architecture, form));
        let bytes = match &disassembler {
            Some(disassembler) => disassembler.list(&image, folder)?,
            // NVRTC terminates PTX with a NUL.
            None if form == Form::Ptx => image.strip_suffix(&[0]).unwrap_or(&image).to_vec(),
            None => image,
        };
        write_atomically(&path, &bytes)?;
        files.push(path);
    }
    Ok(files)
}

/// A file name such as `implicit_gemm-bf16-128x64-5x5s2.sm_90.sass`.
fn file_name(module: &Module, architecture: i32, form: Form) -> String {
    let stem = module.source.trim_end_matches(".cu");
    let words = module.specialisation().replace('×', "x").replace('/', "s");
    let words: Vec<&str> = std::iter::once(stem)
        .chain(words.split_whitespace())
        .collect();
    format!("{}.sm_{architecture}.{}", words.join("-"), form.name())
}

/// A program that disassembles machine code.
struct Disassembler {
    program: PathBuf,
    options: &'static [&'static str],
}

impl Disassembler {
    fn find() -> Result<Self> {
        let candidates: [(&str, &[&str]); 2] = [
            ("nvdisasm", &["--print-code", "--print-line-info"]),
            ("cuobjdump", &["--dump-sass"]),
        ];
        let path = env::var_os("PATH").unwrap_or_default();
        for (name, options) in candidates {
            let found = env::split_paths(&path)
                .map(|folder| folder.join(name))
                .find(|program| program.is_file());
            if let Some(program) = found {
                return Ok(Self { program, options });
            }
        }
        Err(Error::usage(
            "--dump sass",
            "neither nvdisasm nor cuobjdump is on PATH",
            "install a CUDA toolkit, or use --dump cubin and disassemble it elsewhere",
        ))
    }

    fn list(&self, image: &[u8], folder: &Path) -> Result<Vec<u8>> {
        let cubin = tempfile::Builder::new()
            .suffix(".cubin")
            .tempfile_in(folder)
            .and_then(|file| std::fs::write(file.path(), image).map(|()| file))
            .map_err(|error| crate::files::cannot_write(folder, &error))?;
        let output = Command::new(&self.program)
            .args(self.options)
            .arg(cubin.path())
            .output()
            .map_err(|error| Error::file(&self.program, error, "check that it can be run"))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(Error::file(
            &self.program,
            String::from_utf8_lossy(&output.stderr).trim(),
            "use one of the same CUDA version as NVRTC",
        ))
    }
}
