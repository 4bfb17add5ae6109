//! Compilation of the CUDA sources for the executor by the host's C++ compiler.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use cosmogan_kernels::{MANIFEST, Module, SIMT_HEADERS, Sources};

use crate::backend::cache::Cache;
use crate::error::{Error, Result};

/// Environment variable with the compiler, as for other build tools.
const COMPILER_VARIABLE: &str = "CXX";

/// Every memory access becomes a call.
///
/// Optimisations that would merge accesses are turned off.
///
/// Line tables and unoptimised tail calls let an error name the source line of an access.
const OPTIONS: [&str; 10] = [
    "-std=c++17",
    "-O2",
    "-g1",
    "-fno-optimize-sibling-calls",
    "-fPIC",
    "-ffp-contract=off",
    "-fsanitize=thread",
    "-fno-tree-vectorize",
    "-Wno-unknown-pragmas",
    "-fno-exceptions",
];

/// A C++ compiler of this machine.
#[derive(Clone, Debug)]
pub(super) struct Compiler {
    program: OsString,
    /// The headers of kernels.
    pub(super) sources: &'static Sources,
    /// First line of its `--version` output.
    pub(super) version: String,
}

impl Compiler {
    /// Finds the compiler, `CXX` or `c++`, and reads the kernel sources.
    pub(super) fn find() -> Result<Self> {
        let program = env::var_os(COMPILER_VARIABLE)
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "c++".into());
        let missing = || {
            Error::Device(format!(
                "the simt device needs a C++ compiler, but {} cannot be run; install g++ or set {COMPILER_VARIABLE}",
                program.display()
            ))
        };
        let output = Command::new(&program)
            .arg("--version")
            .output()
            .map_err(|_| missing())?;
        if !output.status.success() {
            return Err(missing());
        }
        let version = String::from_utf8_lossy(&output.stdout)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        Ok(Self {
            program,
            sources: Sources::current().map_err(|error| Error::Device(error.to_owned()))?,
            version,
        })
    }

    /// Returns a shared library with every kernel of `source`, from the cache if possible.
    pub(super) fn build(&self, cache: &Cache, module: &Module, source: &str) -> Result<Vec<u8>> {
        let kernels = kernels_of(module, source);
        let mut key = format!("simt\n{}\n", self.version);
        for text in OPTIONS.iter().copied().chain([source]) {
            key.push_str(text);
            key.push('\n');
        }
        for option in module.options() {
            key.push_str(&option);
            key.push('\n');
        }
        for (name, text) in self.headers() {
            key.push_str(name);
            key.push_str(text);
        }
        cache.get_or_build(&key, || self.compile(module, source, &kernels))
    }

    /// Names and texts of all headers.
    fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sources.headers().chain(SIMT_HEADERS.iter().copied())
    }

    fn compile(&self, module: &Module, source: &str, kernels: &[String]) -> Result<Vec<u8>> {
        let io = |error: std::io::Error| {
            Error::Device(format!(
                "{}: cannot compile in the temporary folder: {error}; free some space there, or set TMPDIR",
                module.source
            ))
        };
        let folder = tempfile::tempdir().map_err(io)?;
        let file = |name: &str| folder.path().join(name);
        for (name, text) in self.headers() {
            fs::write(file(name), text).map_err(io)?;
        }
        fs::write(file(module.source), source).map_err(io)?;
        let mut main = format!("#include \"simt.h\"\n#include \"{}\"\n", module.source);
        for kernel in kernels {
            main.push_str(&format!("SIMT_ENTRY({kernel})\n"));
        }
        fs::write(file("main.cpp"), main).map_err(io)?;

        let mut compile = Command::new(&self.program);
        compile.current_dir(folder.path()).args(OPTIONS);
        if !self.version.contains("clang") {
            compile.args(["--param", "tsan-instrument-func-entry-exit=0"]);
        }
        compile
            .args(module.options())
            .args(["-c", "main.cpp", "-o", "main.o"]);
        self.run(module, compile)?;
        // Linked without -fsanitize: the header defines the functions that it calls.
        let mut link = Command::new(&self.program);
        link.current_dir(folder.path())
            .args(["-shared", "main.o", "-o", "main.so"]);
        self.run(module, link)?;
        fs::read(file("main.so")).map_err(io)
    }

    fn run(&self, module: &Module, mut command: Command) -> Result<()> {
        let output = command.output().map_err(|error| {
            Error::Device(format!(
                "{}: cannot be run: {error}",
                self.program.display()
            ))
        })?;
        if output.status.success() {
            return Ok(());
        }
        let log = String::from_utf8_lossy(&output.stderr);
        let first = log
            .lines()
            .find(|line| line.contains("error"))
            .unwrap_or_default();
        Err(Error::Device(format!(
            "{}: {} ({}) cannot compile it: {first}",
            module.source,
            self.program.display(),
            self.version
        )))
    }
}

/// Kernels that `source` defines: those of the manifest or, for other sources, those found in the text.
fn kernels_of(module: &Module, source: &str) -> Vec<String> {
    let listed: Vec<_> = MANIFEST
        .iter()
        .filter(|kernel| kernel.source == module.source)
        .map(|kernel| kernel.name.to_owned())
        .collect();
    if !listed.is_empty() {
        return listed;
    }
    source
        .split("__global__ void ")
        .skip(1)
        .filter_map(|rest| rest.split('(').next())
        .map(str::to_owned)
        .collect()
}

/// Writes a library to a file for the dynamic loader.
pub(super) fn to_file(library: &[u8]) -> Result<tempfile::TempPath> {
    let write = || -> std::io::Result<tempfile::TempPath> {
        let file = tempfile::Builder::new().suffix(".so").tempfile()?;
        fs::write(file.path(), library)?;
        Ok(file.into_temp_path())
    };
    write().map_err(|error| {
        let folder = env::temp_dir();
        Error::Device(format!(
            "{}: cannot store a compiled kernel: {error}; free some space there, or set TMPDIR",
            Path::display(&folder)
        ))
    })
}
