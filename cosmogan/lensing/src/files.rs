//! Atomic file writes: written under a temporary name, synced, then renamed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use cosmogan_base::{Error, Result};

/// A file under construction.
///
/// If dropped before [`AtomicFile::commit`], nothing appears at the final name. Devices and pipes are written directly.
#[derive(Debug)]
pub struct AtomicFile {
    /// The final name, as given.
    path: PathBuf,
    writer: BufWriter<Target>,
}

/// Where the bytes go.
#[derive(Debug)]
enum Target {
    /// A temporary file beside the final name, which is not a link.
    Temporary(NamedTempFile, PathBuf),
    /// A device or a pipe.
    Direct(File),
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Temporary(file, _) => file.write(bytes),
            Self::Direct(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Temporary(file, _) => file.flush(),
            Self::Direct(file) => file.flush(),
        }
    }
}

impl AtomicFile {
    /// Starts a file that will appear at `path`; missing parent folders are created.
    ///
    /// A link stays a link: the file appears where it points. Partial files that a killed process left for this name are
    /// removed.
    ///
    /// # Errors
    /// If `path` is a folder, or the folder cannot be created or written to.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let kind = fs::metadata(&path).map(|data| data.file_type());
        if kind.as_ref().is_ok_and(fs::FileType::is_dir) {
            return Err(Error::file(&path, "is a folder", "name a file to write"));
        }
        let buffered = |target| BufWriter::with_capacity(1 << 20, target);
        if kind.is_ok_and(|kind| !kind.is_file()) {
            let file = OpenOptions::new().write(true).open(&path);
            let file = file.map_err(|error| cannot_write(&path, &error))?;
            let writer = buffered(Target::Direct(file));
            return Ok(Self { path, writer });
        }
        let target = followed(&path).map_err(|error| cannot_write(&path, &error))?;
        let folder = folder_of(&target);
        create_folder(folder)?;
        let stem = target.file_name().unwrap_or_default().to_string_lossy();
        let mut builder = tempfile::Builder::new();
        let prefix = format!(".{stem}.");
        remove_left_over(folder, &prefix);
        builder.prefix(&prefix).suffix(PARTIAL);
        // Temporary files are private by default; the result gets the usual permissions under the umask.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder
            .tempfile_in(folder)
            .map_err(|error| cannot_write(&path, &error))?;
        // Marks the file as in use; where the file system has no locks, nothing is ever removed.
        let _ = file.as_file().try_lock();
        drop(stem);
        let writer = buffered(Target::Temporary(file, target));
        Ok(Self { path, writer })
    }

    /// Syncs the file and renames it to its final name.
    ///
    /// After a crash at any moment, either the old file or the new one is there.
    ///
    /// # Errors
    /// If the file cannot be written, synced or renamed.
    pub fn commit(self) -> Result<()> {
        let Self { path, writer } = self;
        let written = writer
            .into_inner()
            .map_err(|error| cannot_write(&path, error.error()))?;
        let Target::Temporary(file, target) = written else {
            return Ok(());
        };
        file.as_file()
            .sync_all()
            .map_err(|error| cannot_write(&path, &error))?;
        file.persist(&target)
            .map_err(|error| cannot_write(&path, &error.error))?;
        // The rename is an entry in the folder: without this sync it may be lost in a power failure.
        if let Ok(folder) = File::open(folder_of(&target)) {
            let _ = folder.sync_all();
        }
        Ok(())
    }

    /// Checks that the disk has room for `bytes` bytes.
    ///
    /// # Errors
    /// If it has not.
    pub fn require_space(&self, bytes: u64) -> Result<()> {
        match self.writer.get_ref() {
            Target::Temporary(_, target) => require_space(&[(folder_of(target), bytes)]),
            Target::Direct(_) => Ok(()),
        }
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

/// End of the names of partial files.
const PARTIAL: &str = ".partial";

/// The name to which a link leads, through any number of links; `path` itself if it is no link.
fn followed(path: &Path) -> io::Result<PathBuf> {
    const MOST_LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(to) => path = folder_of(&path).join(to),
            // Not a link, or not there.
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many links lead to each other"))
}

/// Removes partial files that begin with `prefix` and are in use by no process.
fn remove_left_over(folder: &Path, prefix: &str) {
    // Between its creation and its lock a file of another process is empty and looks unused.
    const YOUNGEST: Duration = Duration::from_secs(60);
    let is_abandoned = |path: &Path| {
        fs::symlink_metadata(path).is_ok_and(|data| {
            let age = data.modified().ok().and_then(|time| time.elapsed().ok());
            data.len() > 0 || age.is_some_and(|age| age > YOUNGEST)
        })
    };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_partial = name
            .to_str()
            .is_some_and(|name| name.starts_with(prefix) && name.ends_with(PARTIAL));
        let path = entry.path();
        if is_partial
            && entry.file_type().is_ok_and(|kind| kind.is_file())
            && is_abandoned(&path)
            && File::open(&path).is_ok_and(|file| file.try_lock().is_ok())
        {
            let _ = fs::remove_file(&path);
        }
    }
}

/// Refuses an output that is one of the inputs, under any name.
///
/// # Errors
/// If it is; the error names `flag`.
pub fn refuse_input<'a>(
    out: &Path,
    inputs: impl IntoIterator<Item = &'a Path>,
    flag: &str,
) -> Result<()> {
    let Ok(target) = fs::canonicalize(out) else {
        return Ok(());
    };
    let same = |input: &&Path| fs::canonicalize(input).is_ok_and(|input| input == target);
    match inputs.into_iter().find(same) {
        None => Ok(()),
        Some(input) => Err(Error::usage(
            flag,
            format_args!(
                "{} would overwrite the input {}",
                out.display(),
                input.display()
            ),
            "name another file",
        )),
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
    let unfinished = |name: &str| name.starts_with('.') && name.ends_with(PARTIAL);
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
/// If the file is a link, cannot be created, or another process holds the lock.
pub fn lock(path: &Path, thing: &str, flag: &str) -> Result<File> {
    if path.is_symlink() {
        return Err(Error::file(path, "is a link", "remove it"));
    }
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| cannot_write(path, &error))?;
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
