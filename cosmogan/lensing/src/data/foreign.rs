//! Files that are not maps, recognised by their first bytes.

/// What a file is if it is neither NPY nor FITS, and the remedy.
pub(super) fn described(start: &[u8]) -> (&'static str, &'static str) {
    let begins = |text: &str| {
        let text = text.as_bytes();
        start.len() >= text.len() && start[..text.len()].eq_ignore_ascii_case(text)
    };
    match start {
        [b'P', b'K', 3, 4, ..] => (
            "is a ZIP archive, as numpy.savez and torch.save write, not one array",
            "save the array of maps with numpy.save",
        ),
        [0x89, b'H', b'D', b'F', ..] => {
            ("is an HDF5 file", "save its array of maps with numpy.save")
        }
        [0x80, 2..=5, ..] => (
            "is a Python pickle",
            "load it in Python, and save the array of maps with numpy.save",
        ),
        [b'B', b'Z', b'h', ..]
        | [0xfd, b'7', b'z', b'X', b'Z', ..]
        | [0x28, 0xb5, 0x2f, 0xfd, ..] => ("is compressed", "unpack it first"),
        _ if begins("version https://git-lfs") => (
            "is a pointer of Git LFS, not the file itself",
            "fetch the file with git lfs pull",
        ),
        _ if begins("<!doctype") || begins("<html") || begins("<?xml") => (
            "is a web page, perhaps an error message of a download",
            "download the file again",
        ),
        _ => (
            "is neither an NPY nor a FITS file",
            "convert it with NumPy or Astropy",
        ),
    }
}
