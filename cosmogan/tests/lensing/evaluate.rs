//! `cosmogan evaluate`: additional figures, and invalid input.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its data has failed"
)]

use std::fs;

use cosmogan::data::{MapSet, MapWriter};
use cosmogan::report::Metrics;

use crate::support::{refused, small_networks, small_run, succeed, text, write_noise, write_npy};

#[test]
fn nearest_training_maps_and_interpolations_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = small_run(folder.path(), 12);
    let [generator, _] = small_networks(folder.path(), &config, &data);
    let out = folder.path().join("report");
    let evaluate = [
        &["evaluate", "--real", text(&data), "--side-degrees", "0.2"][..],
        &["--weights", text(&generator), "--training", text(&data)],
        &["--resamples", "50", "--out", text(&out)],
    ]
    .concat();
    let output = succeed(&evaluate);
    let shown = String::from_utf8(output.stderr).unwrap();
    for job in ["reading", "measuring", "resampling", "drawing"] {
        let mut lines = shown.lines();
        let line = lines.find_map(|line| line.strip_prefix(job)).expect(job);
        let counts = line.split_whitespace().next().unwrap();
        let (done, total) = counts.split_once('/').unwrap();
        assert_eq!(done, total, "{line}");
    }
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    let metrics: Metrics =
        serde_json::from_slice(&fs::read(out.join("metrics.json")).unwrap()).unwrap();
    let names: Vec<&str> = metrics
        .figures
        .iter()
        .map(|figure| figure.file_name.as_str())
        .collect();
    assert_eq!(names, ["nearest_neighbours", "interpolations"]);
    for figure in &metrics.figures {
        assert!(out.join(format!("{}.png", figure.file_name)).exists());
        assert!(page.contains(&figure.caption), "{}", figure.caption);
    }
    assert!(
        metrics
            .provenance
            .iter()
            .any(|(what, _)| what == "Training maps")
    );
    // A report can be overwritten, but a folder with other files is rejected.
    succeed(&evaluate);
    fs::write(out.join("thesis.txt"), "ten years").unwrap();
    refused(&evaluate, 1, &[text(&out), "thesis.txt"]);
}

#[test]
fn bad_input() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().join("real.npy");
    let fake = folder.path().join("fake.npy");
    let out = folder.path().join("report");
    write_noise(&real, 6, 16);
    let evaluate = |more: &[&str], status, needles: &[&str]| {
        let base = ["evaluate", "--real", text(&real), "--out", text(&out)];
        refused(&[&base[..], more].concat(), status, needles);
        assert!(!out.exists());
    };
    let given = ["--fake", text(&fake), "--side-degrees", "0.2"];

    evaluate(&["--side-degrees", "0.2"], 2, &["--fake"]);
    evaluate(&["--fake", text(&fake)], 1, &["fake.npy"]);
    write_noise(&fake, 6, 16);
    evaluate(&["--fake", text(&fake)], 2, &["--side-degrees", "real.npy"]);
    evaluate(
        &["--fake", text(&fake), "--side-degrees", "-1"],
        2,
        &["--side-degrees"],
    );
    evaluate(
        &[&given[..], &["--resamples", "0"]].concat(),
        2,
        &["--resamples"],
    );

    write_noise(&fake, 1, 16);
    evaluate(&given, 1, &["generated", "two maps"]);
    write_noise(&fake, 6, 32);
    evaluate(&given, 1, &["fake.npy", "32×32"]);
    write_npy(&fake, "(2, 16, 8)", &vec![0.5; 256]);
    evaluate(&given, 1, &["fake.npy", "16×8"]);
    write_npy(&fake, "(2, 16, 16)", &vec![0.5; 512]);
    evaluate(&given, 1, &["fake.npy", "constant"]);
    write_npy(&fake, "(2, 16, 16)", &vec![f32::NAN; 512]);
    evaluate(&given, 1, &["fake.npy", "NaN"]);

    let fits = folder.path().join("fake.fits");
    let mut writer = MapWriter::create(&fits, 6, 16, 16, Some(0.4)).unwrap();
    for map in MapSet::read(&real).unwrap().iter() {
        writer.push(map).unwrap();
    }
    writer.finish().unwrap();
    let of_another_angle = ["--fake", text(&fits), "--side-degrees", "0.2"];
    evaluate(&of_another_angle, 1, &["fake.fits", "0.4"]);
    write_noise(&fake, 6, 16);
    let other = folder.path().join("other.npy");
    write_noise(&other, 6, 32);
    evaluate(
        &[&given[..], &["--auxiliary", text(&other)]].concat(),
        1,
        &["other.npy", "32×32"],
    );
    evaluate(
        &[&given[..], &["--training", text(&other)]].concat(),
        1,
        &["other.npy", "32×32"],
    );

    let edges = folder.path().join("edges.json");
    let with_edges = [&given[..], &["--edges", text(&edges)]].concat();
    for (content, needle) in [
        ("{\"nu_edges\": [0.1, 0.0, 0.2]}", "nu_edges"),
        ("{\"l_edges\": [5000]}", "l_edges"),
        ("{\"edges\": []}", "edges"),
        ("[", "edges.json"),
    ] {
        fs::write(&edges, content).unwrap();
        evaluate(&with_edges, 1, &["edges.json", needle]);
    }
}
