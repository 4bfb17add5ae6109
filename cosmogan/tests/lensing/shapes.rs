//! `cosmogan shapes`: samples by name, and invalid input.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its files has failed"
)]

use std::fs;

use crate::support::{refused, succeed, text, write_noise};

#[test]
fn samples_are_grouped_by_name_and_bad_ones_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (name, count, size) in [("a.npy", 2, 64), ("b.npy", 1, 96), ("tiny.npy", 1, 12)] {
        write_noise(&path(name), count, size);
    }
    let sample =
        |name: &str, file: &str, side: &str| format!("{name}={}@{side}", text(&path(file)));
    let [a, b, again] = [
        sample("noise", "a.npy", "1.0"),
        sample("noise", "b.npy", "1.5"),
        sample("other", "b.npy", "1.5"),
    ];
    let out = path("out");
    let output = succeed(&["shapes", &a, &b, &again, "--out", text(&out)]);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        table
            .lines()
            .filter(|line| line.starts_with("noise"))
            .count(),
        2,
        "{table}"
    );
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("shapes.json")).unwrap()).unwrap();
    let samples = &json["figure"]["panels"][0]["samples"];
    assert_eq!(
        (&samples[0]["name"], &samples[0]["maps"]),
        (&"noise".into(), &3.into())
    );
    assert_eq!(samples[1]["name"], "other");
    assert!(out.join("shapes.png").exists() && out.join("shapes.svg").exists());

    let coarse = sample("tiny", "tiny.npy", "5.0");
    refused(
        &["shapes", &coarse, "--out", text(&out)],
        1,
        &["tiny.npy", "--smoothing"],
    );
    for side in ["1e-9", "1e-15", "1e-320"] {
        let narrow = sample("narrow", "a.npy", side);
        refused(
            &["shapes", &narrow, "--out", text(&out)],
            1,
            &["a.npy", "--smoothing"],
        );
    }
    // Four names are rejected before the files are read.
    let four = ["u", "v", "w", "x"].map(|name| sample(name, "none.npy", "1"));
    let mut many = vec!["shapes", "--out", text(&out)];
    many.extend(four.iter().map(String::as_str));
    refused(&many, 2, &["SAMPLE", "three names"]);
    refused(
        &["shapes", &a, "--smoothing", "0", "--out", text(&out)],
        2,
        &["--smoothing"],
    );
    refused(
        &["shapes", "a.npy", "--out", text(&out)],
        2,
        &["NAME=maps.npy@DEGREES"],
    );
    refused(
        &["shapes", "x=none.npy@1", "--out", text(&out)],
        1,
        &["none.npy"],
    );
}
