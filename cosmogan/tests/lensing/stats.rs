//! Statistics compared with LensTools 1.2 and SciPy 1.17 for the same maps and samples.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its data has failed"
)]

use std::fs;
use std::path::Path;

use crate::support::{succeed, text, write_noise};
use cosmogan::stats::two_sample::{KolmogorovSmirnov, anderson_darling};
use serde_json::Value;

/// Both sides use double precision.
/// They differ in the order of a few hundred thousand additions.
const LIMIT: f64 = 1e-9;

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Flattens a nested list of numbers, in order.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        other => vec![other.as_f64().unwrap()],
    }
}

#[test]
fn spectra_and_functionals_are_those_of_lenstools() {
    let folder = tempfile::tempdir().unwrap();
    let expected = read(&golden("stats_lenstools.json"));
    let (edges, out) = (
        folder.path().join("edges.json"),
        folder.path().join("stats.json"),
    );
    let names = ["l_edges", "nu_edges", "sigma_edges"];
    let chosen: serde_json::Map<_, _> = names
        .iter()
        .map(|name| ((*name).to_owned(), expected[name].clone()))
        .collect();
    fs::write(&edges, Value::Object(chosen).to_string()).unwrap();
    let side = expected["side_deg"].to_string();
    succeed(&[
        "stats",
        text(&golden("stats_maps.npy")),
        "--side-degrees",
        &side,
        "--edges",
        text(&edges),
        "--out",
        text(&out),
    ]);
    let found = read(&out);
    for name in names {
        assert_eq!(found[name], expected[name]);
    }
    for name in ["power", "minkowski", "minkowski_sigma", "peak_counts"] {
        let (found, expected) = (numbers(&found[name]), numbers(&expected[name]));
        assert_eq!(found.len(), expected.len(), "{name}");
        let size = expected.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
        let worst = found
            .iter()
            .zip(&expected)
            .map(|(a, b)| (a - b).abs() / b.abs().max(LIMIT * size))
            .fold(0.0, f64::max);
        println!("{name}: largest relative difference {worst:.1e}");
        assert!(worst < LIMIT, "{name}: {worst}");
    }
    let edges = numbers(&expected["l_edges"]);
    let centres: Vec<f64> = edges
        .windows(2)
        .map(|pair| 0.5 * (pair[0] + pair[1]))
        .collect();
    assert_eq!(numbers(&found["l"]), centres);
    for name in found.as_object().unwrap().keys() {
        assert!(found["units"][name].is_string(), "no unit of {name}");
    }
    let counted: f64 = numbers(&found["pixels"]["counts"]).iter().sum();
    assert_eq!(counted, 4.0 * 128.0 * 128.0, "every pixel is in a bin");
}

/// Reads the arrays of an uncompressed archive: shape as text, and values.
fn arrays(bytes: &[u8]) -> std::collections::BTreeMap<String, (String, Vec<f64>)> {
    let number = |at: usize, length: usize| {
        let digits = bytes[at..at + length].iter().rev();
        digits.fold(0, |sum, &byte| 256 * sum + usize::from(byte))
    };
    // The end record gives the number of arrays and where their directory starts.
    let end = bytes.len() - 22;
    assert_eq!(&bytes[end..end + 4], b"PK\x05\x06");
    let mut at = number(end + 16, 4);
    let mut found = std::collections::BTreeMap::new();
    for _ in 0..number(end + 10, 2) {
        assert_eq!(&bytes[at..at + 4], b"PK\x01\x02");
        assert_eq!(number(at + 10, 2), 0, "nothing is compressed");
        let (size, length, local) = (number(at + 24, 4), number(at + 28, 2), number(at + 42, 4));
        let name = &bytes[at + 46..][..length];
        at += 46 + length;
        assert_eq!(&bytes[local..local + 4], b"PK\x03\x04");
        assert_eq!(&bytes[local + 30..][..length], name);
        let array = &bytes[local + 30 + length..][..size];
        let start = 10 + usize::from(array[8]) + 256 * usize::from(array[9]);
        let header = String::from_utf8(array[10..start].to_vec()).unwrap();
        assert!(header.contains("'descr': '<f8', 'fortran_order': False"));
        let shape = header.split_once("'shape': ").unwrap().1;
        let shape = shape.split_once(", }").unwrap().0.to_owned();
        let values = array[start..].as_chunks::<8>().0.iter();
        let values = values.map(|bytes| f64::from_le_bytes(*bytes)).collect();
        let name = String::from_utf8(name.to_vec()).unwrap();
        let name = name.strip_suffix(".npy").unwrap().to_owned();
        found.insert(name, (shape, values));
    }
    assert_eq!(at, end);
    found
}

#[test]
fn arrays_hold_the_numbers_of_the_json() {
    let folder = tempfile::tempdir().unwrap();
    let maps = folder.path().join("maps.npy");
    write_noise(&maps, 5, 16);
    let written = ["stats.json", "stats.npz"].map(|name| {
        let out = folder.path().join(name);
        let output = succeed(&[
            "stats",
            text(&maps),
            "--side-degrees",
            "1.5",
            "--out",
            text(&out),
        ]);
        let shown = String::from_utf8(output.stderr).unwrap();
        assert!(shown.contains("measuring 5/5 in"), "{shown}");
        out
    });
    let json = read(&written[0]);
    let arrays = arrays(&fs::read(&written[1]).unwrap());
    let shape = |name: &str| arrays[name].0.as_str();
    assert_eq!(shape("side_degrees"), "()");
    assert_eq!(shape("l"), "(14,)");
    assert_eq!(shape("l_edges"), "(15,)");
    assert_eq!(shape("power"), "(5, 14)");
    assert_eq!(shape("minkowski"), "(5, 3, 19)");
    assert_eq!(shape("minkowski_sigma"), "(5, 3, 19)");
    assert_eq!(shape("peak_counts"), "(5, 19)");
    assert_eq!(shape("mean"), "(5,)");
    for (name, (_, values)) in &arrays {
        let expected = match name.as_str() {
            "pixel_edges" => numbers(&json["pixels"]["edges"]),
            "pixel_counts" => numbers(&json["pixels"]["counts"]),
            name if json.get(name).is_some() => numbers(&json[name]),
            name => {
                let moments = json["moments"].as_array().unwrap();
                moments
                    .iter()
                    .map(|map| map[name].as_f64().unwrap())
                    .collect()
            }
        };
        // Extremes are float32 in JSON: fewer digits.
        let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-7 * b.abs();
        assert_eq!(values.len(), expected.len(), "{name}");
        assert!(values.iter().zip(&expected).all(close), "{name}");
    }
    assert_eq!(arrays.len(), 19);
}

#[test]
fn tests_of_samples_are_those_of_scipy() {
    let expected = read(&golden("stats_lenstools.json"));
    let samples = ["a", "b", "d"].map(|name| numbers(&expected["samples"][name]));
    let [a, b, d] = &samples;
    let pairs = [(&a[..], &b[..]), (a, d), (&a[..40], &b[..25])];
    for (index, (first, second)) in pairs.into_iter().enumerate() {
        let test = KolmogorovSmirnov::of(first, second);
        let ks = &expected["ks"][index];
        assert_close(test.statistic(), &ks["statistic"], 1e-12);
        assert_close(test.asymptotic_p(), &ks["pvalue_asymptotic"], 1e-6);
        let statistic = anderson_darling(first, second);
        assert_close(statistic, &expected["ad_ksamp_midrank"][index], 1e-12);
    }
    let exact = KolmogorovSmirnov::of(&a[..40], &b[..25]).exact_p();
    assert_close(exact, &expected["ks_exact_40_25"]["pvalue"], 1e-12);
}

fn assert_close(found: f64, expected: &Value, limit: f64) {
    let expected = expected.as_f64().unwrap();
    println!(
        "{found} for {expected}: off by {:.1e}",
        (found - expected).abs()
    );
    assert!((found - expected).abs() < limit);
}

#[test]
fn bad_input_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let maps = folder.path().join("maps.npy");
    write_noise(&maps, 2, 16);
    let (edges, out) = (
        folder.path().join("edges.json"),
        folder.path().join("stats.json"),
    );
    let refused = |more: &[&str], status: i32, needle: &str| {
        let base = ["stats", text(&maps), "--out", text(&out)];
        crate::support::refused(&[&base[..], more].concat(), status, &[needle]);
        assert!(!out.exists());
    };
    refused(&[], 2, "--side-degrees");
    refused(&["--side-degrees", "-1"], 2, "--side-degrees");
    let with_edges = ["--side-degrees", "1", "--edges", text(&edges)];
    refused(&with_edges, 1, "edges.json");
    for (content, status, needle) in [
        ("{\"nu_edges\": [3, 2, 1]}", 1, "nu_edges"),
        ("{\"l_edges\": [3]}", 1, "l_edges"),
        ("{\"colour\": []}", 1, "colour"),
        ("not JSON", 1, "edges.json"),
    ] {
        fs::write(&edges, content).unwrap();
        refused(&with_edges, status, needle);
    }
}
