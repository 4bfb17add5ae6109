//! Kernels for the executor: the CUDA sources through the host's C++ compiler.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use cosmogan_kernels::{HEADERS, MANIFEST, Module, SIMT_HEADERS};

use crate::backend::cache::Cache;
use crate::error::{Error, Result};

/// Names the compiler, as it does for other build tools.
const COMPILER_VARIABLE: &str = "CXX";

/// Every access becomes a call. What would merge accesses into others that the source does not have is turned off.
const OPTIONS: [&str; 8] = [
    "-std=c++17",
    "-O2",
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
    /// The first line of what it says about itself.
    pub(super) version: String,
}

impl Compiler {
    /// The compiler in `CXX`, or `c++`.
    pub(super) fn find() -> Result<Self> {
        let program = env::var_os(COMPILER_VARIABLE)
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "c++".into());
        let missing = || {
            Error::Device(format!(
                "the simt device compiles kernels with a C++ compiler, and {} cannot be run; install g++, or name one in {COMPILER_VARIABLE}",
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
        Ok(Self { program, version })
    }

    /// A shared library with every kernel of `source`, from the cache if it is there.
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
        for (name, text) in HEADERS.iter().chain(SIMT_HEADERS) {
            key.push_str(name);
            key.push_str(text);
        }
        cache.get_or_build(&key, || self.compile(module, source, &kernels))
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
        for (name, text) in HEADERS.iter().chain(SIMT_HEADERS) {
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
        // Linked without -fsanitize: the functions it calls are in the header.
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
            "{}: {} ({}) does not compile it: {first}",
            module.source,
            self.program.display(),
            self.version
        )))
    }
}

/// The kernels that `source` defines: those of the manifest, or, for a source that is not in it, those it names.
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

/// Writes a library where the dynamic loader can take it from.
pub(super) fn to_file(library: &[u8]) -> Result<tempfile::TempPath> {
    let write = || -> std::io::Result<tempfile::TempPath> {
        let file = tempfile::Builder::new().suffix(".so").tempfile()?;
        fs::write(file.path(), library)?;
        Ok(file.into_temp_path())
    };
    write().map_err(|error| {
        let folder = env::temp_dir();
        Error::Device(format!(
            "{}: cannot hold a compiled kernel: {error}; free some space there, or set TMPDIR",
            Path::display(&folder)
        ))
    })
}
