//! Weight files of other programs: what the format does not allow is refused, and wrapped names are accepted.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its files has failed"
)]

use std::fs;
use std::path::{Path, PathBuf};

use cosmogan::Generator;
use serde_json::{Map, Value, json};

/// A small generator, as its header and its values.
fn parts() -> (Map<String, Value>, Vec<u8>) {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../oracle/golden/four_generator0.safetensors");
    let bytes = fs::read(path).unwrap();
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, values) = rest.split_at(u64::from_le_bytes(*length) as usize);
    (serde_json::from_slice(header).unwrap(), values.to_vec())
}

fn file(folder: &Path, header: &str, values: &[u8]) -> PathBuf {
    let path = folder.join("g.safetensors");
    let length = (header.len() as u64).to_le_bytes();
    fs::write(&path, [&length[..], header.as_bytes(), values].concat()).unwrap();
    path
}

fn text(header: &Map<String, Value>) -> String {
    serde_json::to_string(header).unwrap()
}

fn expect_refused(path: &Path, needles: &[&str]) {
    let error = Generator::load(path)
        .expect_err("a damaged file")
        .to_string();
    for needle in needles {
        assert!(error.contains(needle), "no {needle:?} in {error:?}");
    }
}

/// The offsets of every tensor, moved by `by` from byte `from` on.
fn moved(header: &Map<String, Value>, from: u64, by: u64) -> Map<String, Value> {
    let mut header = header.clone();
    for (_, tensor) in header
        .iter_mut()
        .filter(|(name, _)| *name != "__metadata__")
    {
        for offset in tensor["data_offsets"].as_array_mut().unwrap() {
            let old = offset.as_u64().unwrap();
            if old >= from {
                *offset = json!(old + by);
            }
        }
    }
    header
}

#[test]
fn what_the_format_does_not_allow() {
    let folder = tempfile::tempdir().unwrap();
    let (header, values) = parts();
    let whole = file(folder.path(), &text(&header), &values);
    Generator::load(&whole).unwrap();

    let trailing = [&values[..], &[0; 64]].concat();
    expect_refused(
        &file(folder.path(), &text(&header), &trailing),
        &["64 bytes at its end"],
    );

    let gap = [&[0; 64], &values[..]].concat();
    let shifted = text(&moved(&header, 0, 64));
    expect_refused(&file(folder.path(), &shifted, &gap), &["belong to none"]);

    // Both biases are given the bytes of the first.
    let mut shared = header.clone();
    let bytes = shared["bn0.weight"]["data_offsets"].clone();
    shared["bn0.bias"]["data_offsets"] = bytes;
    let needles = ["tensor", "bytes"];
    expect_refused(&file(folder.path(), &text(&shared), &values), &needles);

    let entry = serde_json::to_string(&header["fc.bias"]).unwrap();
    let twice = format!("{{\"fc.bias\":{entry},{}", &text(&header)[1..]);
    expect_refused(&file(folder.path(), &twice, &values), &["`fc.bias` twice"]);
}

#[test]
fn names_with_the_prefix_of_a_wrapper() {
    let folder = tempfile::tempdir().unwrap();
    let (header, values) = parts();
    let expected = Generator::load(file(folder.path(), &text(&header), &values)).unwrap();
    let expected = expected.sample(1, 0).unwrap();
    for prefix in ["module.", "_orig_mod.", "generator.", "_orig_mod.module."] {
        let wrapped: Map<String, Value> = header
            .iter()
            .map(|(name, entry)| match name.as_str() {
                "__metadata__" => (name.clone(), entry.clone()),
                _ => (format!("{prefix}{name}"), entry.clone()),
            })
            .collect();
        let generator = Generator::load(file(folder.path(), &text(&wrapped), &values)).unwrap();
        assert_eq!(generator.sample(1, 0).unwrap(), expected);
    }
}

#[test]
fn what_is_taken_for_weights_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (bytes, needle) in [
        (&b"PK\x03\x04archive/data.pkl"[..], "torch.save"),
        (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "torch.save"),
        (b"<html>404</html>", "web page"),
        (
            b"version https://git-lfs.github.com/spec/v1",
            "git lfs pull",
        ),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
    ] {
        let path = folder.path().join("g.pth");
        fs::write(&path, bytes).unwrap();
        expect_refused(&path, &["g.pth", needle]);
    }
}

#[test]
fn numbers_of_maps_end_at_two_to_the_64() {
    let folder = tempfile::tempdir().unwrap();
    let (header, values) = parts();
    let generator = Generator::load(file(folder.path(), &text(&header), &values)).unwrap();
    let map = generator.size().pow(2);
    let mut maps = vec![0.0; 2 * map];
    let last = u64::MAX - 2;
    generator.sample_into(last, 0, &mut maps).unwrap();
    for first in [u64::MAX - 1, u64::MAX] {
        let error = generator.sample_into(first, 0, &mut maps).unwrap_err();
        assert!(error.to_string().contains("first"), "{error}");
    }
}
