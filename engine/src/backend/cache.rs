//! Disk cache of compiled kernels, keyed by everything that went into their compilation.
//!
//! An entry is one file, named by a hash of its key and starting with a hash of its contents, so that a truncated or
//! altered file is detected and rebuilt. It is written under a temporary name and renamed: if two processes build the
//! same entry at once, either one wins and both files are valid. If the cache cannot be written, every process
//! compiles its kernels anew, and [`Cache::probe`] reports why.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Environment variable with the cache folder, if not the default one.
pub const CACHE_VARIABLE: &str = "COSMOGAN_CACHE";

const MAGIC: &[u8; 8] = b"cosmogn1";
const HASH_BYTES: usize = 32;

/// A folder of compiled kernels.
#[derive(Debug)]
pub struct Cache {
    folder: Option<PathBuf>,
}

impl Cache {
    /// The user's cache: the folder in `COSMOGAN_CACHE`, or `cosmogan` in the user's cache folder.
    pub fn of_user() -> Self {
        let given = |name: &str| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let folder = given(CACHE_VARIABLE)
            .or_else(|| given("XDG_CACHE_HOME").map(|folder| folder.join("cosmogan")))
            .or_else(|| given("HOME").map(|home| home.join(".cache").join("cosmogan")));
        Self { folder }
    }

    /// A cache in `folder`, which is created when an entry is first stored.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: Some(folder.into()),
        }
    }

    /// Folder of the entries, if any.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Reports why entries cannot be stored, if so, by storing a test file.
    pub fn probe(&self) -> Option<String> {
        let Some(folder) = &self.folder else {
            return Some(format!(
                "kernels are not cached: neither {CACHE_VARIABLE} nor HOME is set; set {CACHE_VARIABLE} to a folder"
            ));
        };
        // About the size of a few kernels.
        let attempt = fs::create_dir_all(folder)
            .and_then(|()| tempfile::NamedTempFile::new_in(folder))
            .and_then(|mut file| {
                file.write_all(&[0; 1 << 20])?;
                file.as_file().sync_all()
            });
        attempt.err().map(|error| {
            format!(
                "kernels are not cached: {} cannot be written: {error}; set {CACHE_VARIABLE} to a writable folder",
                folder.display()
            )
        })
    }

    /// Returns the entry of `key`; builds and stores it if it is missing or damaged.
    ///
    /// # Errors
    /// Only the errors of `build`; a cache that cannot be read or written is ignored.
    pub fn get_or_build<E>(
        &self,
        key: &str,
        build: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        let path = self
            .folder
            .as_ref()
            .map(|folder| folder.join(file_name(key)));
        if let Some(entry) = path.as_deref().and_then(read) {
            return Ok(entry);
        }
        let entry = build()?;
        if let Some(path) = &path {
            // An entry that cannot be stored is rebuilt next time; `probe` reports the reason.
            let _ = store(path, &entry);
        }
        Ok(entry)
    }
}

fn file_name(key: &str) -> String {
    let mut name = String::new();
    for byte in &Sha256::digest(key.as_bytes())[..16] {
        // Writing to a string cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let file = fs::read(path).ok()?;
    let rest = file.strip_prefix(MAGIC)?;
    let (hash, entry) = rest.split_at_checked(HASH_BYTES)?;
    (Sha256::digest(entry)[..] == *hash).then(|| entry.to_vec())
}

fn store(path: &Path, entry: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(MAGIC)?;
    file.write_all(&Sha256::digest(entry))?;
    file.write_all(entry)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

    use super::*;

    fn build(cache: &Cache, key: &str, contents: &[u8]) -> (Vec<u8>, bool) {
        let mut built = false;
        let entry = cache
            .get_or_build(key, || {
                built = true;
                Ok::<_, ()>(contents.to_vec())
            })
            .unwrap();
        (entry, built)
    }

    #[test]
    fn an_entry_is_built_once_and_again_when_it_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("kernels"));
        assert_eq!(build(&cache, "a", b"one"), (b"one".to_vec(), true));
        assert_eq!(build(&cache, "a", b"two"), (b"one".to_vec(), false));
        assert_eq!(build(&cache, "b", b"two"), (b"two".to_vec(), true));

        let path = cache.folder().unwrap().join(file_name("a"));
        let whole = fs::read(&path).unwrap();
        let mut altered = whole.clone();
        *altered.last_mut().unwrap() ^= 1;
        for damaged in [&whole[..whole.len() - 1], &whole[..20], b"", &altered] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(build(&cache, "a", b"three"), (b"three".to_vec(), true));
            assert_eq!(build(&cache, "a", b"four"), (b"three".to_vec(), false));
        }
        assert_eq!(cache.probe(), None);
    }

    #[test]
    fn where_nothing_can_be_written_work_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a file");
        fs::write(&file, b"in the way").unwrap();
        let cache = Cache::at(file.join("kernels"));
        assert_eq!(build(&cache, "a", b"one"), (b"one".to_vec(), true));
        let notice = cache.probe().unwrap();
        assert!(
            notice.contains("a file") && notice.contains(CACHE_VARIABLE),
            "{notice}"
        );
    }

    #[test]
    fn many_writers_leave_a_whole_entry() {
        let folder = tempfile::tempdir().unwrap();
        let contents: Vec<_> = (0..8u8).map(|writer| vec![writer; 200_000]).collect();
        std::thread::scope(|scope| {
            for contents in &contents {
                let cache = Cache::at(folder.path());
                scope.spawn(move || {
                    for _ in 0..20 {
                        let entry = cache
                            .get_or_build("key", || Ok::<_, ()>(contents.clone()))
                            .unwrap();
                        assert!(entry.iter().all(|byte| *byte == entry[0]));
                        let _ = fs::remove_file(folder_of(&cache).join(file_name("key")));
                    }
                });
            }
        });
        fn folder_of(cache: &Cache) -> &Path {
            cache.folder().unwrap()
        }
    }
}
