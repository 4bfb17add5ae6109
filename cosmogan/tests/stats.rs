//! Statistics against the values of LensTools 1.2 and SciPy 1.17 for the same maps and samples.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its data has failed"
)]

mod support;

use std::fs;
use std::path::Path;

use cosmogan::stats::two_sample::{KolmogorovSmirnov, anderson_darling};
use serde_json::Value;
use support::{succeed, text, write_noise};

/// Both sides compute in double precision: what differs is the order of a few hundred thousand additions.
const LIMIT: f64 = 1e-9;

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// All numbers of a nested list, in order.
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
    let counted: f64 = numbers(&found["pixels"]["counts"]).iter().sum();
    assert_eq!(counted, 4.0 * 128.0 * 128.0, "every pixel is in a bin");
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
        support::refused(&[&base[..], more].concat(), status, &[needle]);
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
