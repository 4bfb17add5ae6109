//! Maps in and out of files.
