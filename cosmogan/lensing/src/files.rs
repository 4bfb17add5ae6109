//! Atomic file writes: written under a temporary name, synced, then renamed.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use cosmogan_base::{Error, Result};

/// A file under construction.
///
/// If dropped before [`AtomicFile::commit`], nothing appears at the final name.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    writer: BufWriter<NamedTempFile>,
}

impl AtomicFile {
    /// Starts a file that will appear at `path`; missing parent folders are created.
    ///
    /// # Errors
    /// If `path` is a folder, or the folder cannot be created or written to.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        if path.is_dir() {
            return Err(Error::file(&path, "is a folder", "name a file to write"));
        }
        let folder = folder_of(&path);
        create_folder(folder)?;
        let stem = path.file_name().unwrap_or_default().to_string_lossy();
        let mut builder = tempfile::Builder::new();
        let prefix = format!(".{stem}.");
        builder.prefix(&prefix).suffix(".partial");
        // Temporary files are private by default; the result gets the usual permissions under the umask.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder
            .tempfile_in(folder)
            .map_err(|error| cannot_write(&path, &error))?;
        Ok(Self {
            path,
            writer: BufWriter::with_capacity(1 << 20, file),
        })
    }

    /// Syncs the file and renames it to its final name.
    ///
    /// After a crash at any moment, either the old file or the new one is there.
    ///
    /// # Errors
    /// If the file cannot be written, synced or renamed.
    pub fn commit(self) -> Result<()> {
        let Self { path, writer } = self;
        let file = writer
            .into_inner()
            .map_err(|error| cannot_write(&path, error.error()))?;
        file.as_file()
            .sync_all()
            .map_err(|error| cannot_write(&path, &error))?;
        file.persist(&path)
            .map_err(|error| cannot_write(&path, &error.error))?;
        // The rename is an entry in the folder: without this sync it may be lost in a power failure.
        if let Ok(folder) = File::open(folder_of(&path)) {
            let _ = folder.sync_all();
        }
        Ok(())
    }

    /// Final path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// If the file cannot be written; the error names it.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer
            .write_all(bytes)
            .map_err(|error| cannot_write(&self.path, &error))
    }
}

/// Writes `bytes` to `path` atomically.
///
/// # Errors
/// If the file cannot be created or written.
pub fn write_atomically(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.append(bytes)?;
    file.commit()
}

/// Writes `value` atomically as indented JSON with a final newline.
///
/// # Errors
/// If the file cannot be written.
pub fn write_json(path: impl AsRef<Path>, value: &impl Serialize) -> Result<()> {
    let path = path.as_ref();
    let mut json = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::file(path, error, "report this as a bug"))?;
    json.push(b'\n');
    write_atomically(path, &json)
}

/// Creates `folder` and its parents.
///
/// # Errors
/// If the folder cannot be created.
pub fn create_folder(folder: impl AsRef<Path>) -> Result<()> {
    let folder = folder.as_ref();
    fs::create_dir_all(folder).map_err(|error| {
        Error::file(
            folder,
            format!("cannot create this folder: {error}"),
            "choose a folder that you can write to",
        )
    })
}

/// Refuses a folder that contains files for which `own` is false.
///
/// So unrelated files are neither mixed with ours nor overwritten. `flag` is the flag that named the folder. Partial
/// files of an interrupted program are ignored; a missing folder counts as empty.
///
/// # Errors
/// If there is such a file or the folder cannot be read.
pub fn refuse_foreign(folder: &Path, own: impl Fn(&str) -> bool, flag: &str) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(Error::file(
                folder,
                error,
                format!("choose another folder for {flag}"),
            ));
        }
    };
    let unfinished = |name: &str| name.starts_with('.') && name.ends_with(".partial");
    let foreign = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .find(|name| !own(name) && !unfinished(name));
    match foreign {
        None => Ok(()),
        Some(name) => Err(Error::file(
            folder,
            format!("contains an unrelated file, `{name}`"),
            format!("choose an empty folder for {flag}"),
        )),
    }
}

/// Locks the file at `path` for as long as the returned handle is open.
///
/// Only one process can then write the `thing` in its folder. `flag` is the flag that named the folder.
///
/// # Errors
/// If the file cannot be created or another process holds the lock.
pub fn lock(path: &Path, thing: &str, flag: &str) -> Result<File> {
    let file = File::create(path).map_err(|error| cannot_write(path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::file(
            path,
            format!("is locked: another process is using this {thing}"),
            format!("wait for it, or name another folder with {flag}"),
        )),
        // The file system has no locks: go on without one.
        Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// Checks that the results fit on their disks.
///
/// `results` lists each folder with the bytes that will be written to it; folders on the same disk are added up. For a
/// folder that does not exist yet, its nearest existing ancestor counts.
///
/// # Errors
/// If a disk has too little free space.
pub fn require_space(results: &[(&Path, u64)]) -> Result<()> {
    for (folder, _) in results {
        let place = existing(folder);
        // If the system does not report free space, a full disk is found only when writing.
        let Ok(free) = fs4::available_space(place) else {
            continue;
        };
        let bytes = results
            .iter()
            .filter(|(other, _)| on_one_disk(place, existing(other)))
            .fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes));
        if bytes > free {
            let gigabytes = |bytes: u64| bytes as f64 / 1e9;
            return Err(Error::file(
                folder,
                format!(
                    "its disk has {:.1} GB free, but the results need {:.1} GB",
                    gigabytes(free),
                    gigabytes(bytes)
                ),
                "free some space, or choose a folder on another disk",
            ));
        }
    }
    Ok(())
}

fn existing(folder: &Path) -> &Path {
    let here = |path: &&Path| path.exists();
    folder.ancestors().find(here).unwrap_or(Path::new("."))
}

#[cfg(unix)]
fn on_one_disk(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).map(|data| data.dev()).ok();
    device(a) == device(b)
}

/// Other systems: assume one disk.
/// This may ask for too much space, but never for too little.
#[cfg(not(unix))]
fn on_one_disk(_: &Path, _: &Path) -> bool {
    true
}

/// Computes the SHA-256 of the file at `path`, in hexadecimal.
///
/// # Errors
/// If the file cannot be read.
pub fn sha256_of(path: &Path) -> Result<String> {
    let unreadable = |error: io::Error| Error::file(path, error, "check the disk and the folder");
    let mut file = File::open(path).map_err(unreadable)?;
    let mut hasher = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block).map_err(unreadable)? {
            0 => return Ok(hexadecimal(&hasher.finalize())),
            bytes => hasher.update(&block[..bytes]),
        }
    }
}

/// Computes the SHA-256 of `bytes`, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns a write error with the remedy that fits its cause.
pub fn cannot_write(path: &Path, error: &io::Error) -> Error {
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull => "free some space on this disk",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "choose a folder that you can write to"
        }
        _ => "check the disk and the folder",
    };
    Error::file(path, format!("cannot write: {error}"), remedy)
}

/// Returns the folder that contains `path`.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_on_one_disk_share_its_room() {
        let folder = tempfile::tempdir().expect("a folder");
        let free = fs4::available_space(folder.path()).expect("its room");
        let missing = folder.path().join("not/there/yet");
        let part = free / 3 * 2;
        let needed =
            |here: u64, there: u64| require_space(&[(folder.path(), here), (&missing, there)]);
        assert!(needed(part, 0).is_ok() && needed(0, part).is_ok());
        let error = needed(part, part).expect_err("four thirds of what there is");
        assert!(error.to_string().contains("free some space"), "{error}");
    }
}
