//! Candidate paths of the NVRTC library.

use std::env;
use std::path::{Path, PathBuf};

/// Environment variable with the path of the library or of its folder.
pub const NVRTC_VARIABLE: &str = "COSMOGAN_NVRTC";
/// Library names, newest first.
const NAMES: [&str; 2] = ["libnvrtc.so.13", "libnvrtc.so.12"];

/// The value of [`NVRTC_VARIABLE`], if it is set and not empty.
pub(super) fn given() -> Option<PathBuf> {
    env::var_os(NVRTC_VARIABLE)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

/// Candidate paths of the library, in order of preference.
pub fn candidates() -> Vec<PathBuf> {
    let mut paths = Vec::new();
    if let Some(given) = given() {
        if given.is_dir() {
            paths.extend(NAMES.iter().map(|name| given.join(name)));
        } else {
            paths.push(std::path::absolute(&given).unwrap_or(given));
        }
        // An explicit path excludes all other candidates.
        return paths;
    }
    paths.extend(NAMES.iter().map(PathBuf::from));
    for folder in folders() {
        paths.extend(NAMES.iter().map(|name| folder.join(name)));
    }
    paths
}

/// Existing library folders of CUDA toolkits and of Python packages.
fn folders() -> Vec<PathBuf> {
    let variable = |name: &str| env::var_os(name).map(PathBuf::from);
    let mut toolkits: Vec<PathBuf> = ["CUDA_HOME", "CUDA_PATH"]
        .iter()
        .filter_map(|name| variable(name))
        .collect();
    toolkits.extend(children(Path::new("/usr/local"), "cuda"));
    toolkits.push("/opt/cuda".into());
    let mut folders = Vec::new();
    for toolkit in toolkits {
        folders.push(toolkit.join("lib64"));
        folders.push(toolkit.join("targets/x86_64-linux/lib"));
        folders.push(toolkit.join("targets/sbsa-linux/lib"));
    }

    // `PREFIX/lib/python3.N/{site,dist}-packages` of every Python in use.
    let mut prefixes: Vec<PathBuf> = ["VIRTUAL_ENV", "CONDA_PREFIX"]
        .iter()
        .filter_map(|name| variable(name))
        .collect();
    let path = env::var_os("PATH").unwrap_or_default();
    prefixes.extend(
        env::split_paths(&path)
            .filter(|folder| folder.join("python3").exists())
            .filter_map(|folder| folder.parent().map(Path::to_owned)),
    );
    prefixes.extend(variable("HOME").map(|home| home.join(".local")));
    prefixes.extend(["/usr/local".into(), "/usr".into()]);
    let mut packages: Vec<PathBuf> =
        env::split_paths(&env::var_os("PYTHONPATH").unwrap_or_default()).collect();
    for prefix in prefixes {
        for python in children(&prefix.join("lib"), "python3") {
            packages.push(python.join("site-packages"));
            packages.push(python.join("dist-packages"));
        }
    }
    for package in packages {
        folders.push(package.join("nvidia/cu13/lib"));
        folders.push(package.join("nvidia/cuda_nvrtc/lib"));
    }
    folders.retain(|folder| folder.is_dir());
    let mut unique: Vec<PathBuf> = Vec::new();
    for folder in folders {
        if !unique.contains(&folder) {
            unique.push(folder);
        }
    }
    unique
}

/// Entries of `folder` whose names begin with `prefix`, in reverse alphabetical order.
fn children(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = folder
        .read_dir()
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect();
    found.sort_unstable();
    found.reverse();
    found
}
