//! The lines that commands print about the files they write, and the warning about differing simulation methods.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its files has failed"
)]

use std::fs;

use crate::support::{run, small_networks, small_run, succeed, text, write_noise};

fn stdout(output: &std::process::Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn generate_says_what_it_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("maps.fits");
    let out = text(&path);
    let said = stdout(&succeed(&[
        "generate", "--count", "2", "--seed", "7", "--out", out,
    ]));
    assert_eq!(
        said,
        format!("wrote {out}: 2 maps of 128×128, float32, 0.8660° a side, seed 7\n")
    );
    // The side is that of the training maps.
    assert!(String::from_utf8_lossy(&fs::read(&path).unwrap()).contains("ANGLE   ="));
    // Without a terminal nothing is asked.
    let again = ["generate", "--count", "1", "--out", out];
    assert!(stdout(&succeed(&again)).contains("1 map of"));
    assert!(stdout(&succeed(&[&again[..], &["--force"]].concat())).contains("seed 0"));
}

#[test]
fn a_side_that_nothing_records_is_called_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = small_run(folder.path(), 12);
    let [weights, _] = small_networks(folder.path(), &config, &data);
    let out = folder.path().join("maps.npy");
    let generate = ["generate", "--weights", text(&weights), "--count", "1"];
    let said = stdout(&succeed(&[&generate[..], &["--out", text(&out)]].concat()));
    assert!(
        said.contains("16×16") && said.contains("side unknown"),
        "{said}"
    );
    assert!(!folder.path().join("maps.npy.json").exists());
}

#[test]
fn evaluate_says_when_simulation_methods_differ() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (real, fake, other) = (path("real.npy"), path("fake.npy"), path("other.npy"));
    let simulate = ["simulate", "--maps", "8", "--pixels", "128"];
    succeed(&[&simulate[..], &["--out", &real]].concat());
    succeed(&[&simulate[..], &["--seed", "1", "--out", &other]].concat());
    succeed(&["generate", "--count", "8", "--out", &fake]);
    let warned = |fake: [&str; 2], side: &[&str]| {
        let out = path("report");
        let arguments = [
            "evaluate",
            "--real",
            &real,
            "--resamples",
            "9",
            "--out",
            &out,
        ];
        let output = succeed(&[&arguments[..], &fake, side].concat());
        let errors = String::from_utf8(output.stderr).unwrap();
        let lines = errors.lines().filter(|line| line.starts_with("warning:"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let weights = format!(
        "{}/generator/weights/generator.safetensors",
        env!("CARGO_MANIFEST_DIR")
    );
    for generated in [["--fake", &fake], ["--weights", &weights]] {
        // The side of the real maps is recorded.
        let found = warned(generated, &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("lognormal maps") && found[0].contains("N-body simulations"));
    }
    assert_eq!(warned(["--fake", &other], &[]), [""; 0]);
    // A record holds only for the maps it was written for.
    fs::copy(&fake, &real).unwrap();
    let refused = run(&[
        "evaluate",
        "--real",
        &real,
        "--fake",
        &fake,
        "--out",
        &path("r"),
    ]);
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(
        warned(["--fake", &fake], &["--side-degrees", "0.866"]),
        [""; 0]
    );
}

#[test]
fn commands_say_what_they_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = small_run(folder.path(), 12);
    let [weights, _] = small_networks(folder.path(), &config, &data);
    let out = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (weights, data) = (text(&weights), text(&data));
    let larger = folder.path().join("larger.npy");
    write_noise(&larger, 4, 64);
    let sample = format!("noise={}@1", text(&larger));
    let cases: [(&[&str], &str); 5] = [
        (&["stats", data, "--side-degrees", "0.1"], "stats.json"),
        (&["compress", "--weights", weights], "small.safetensors"),
        (
            &[
                "explore",
                "nearest",
                "--weights",
                weights,
                "--training",
                data,
            ],
            "nearest",
        ),
        (
            &[
                "explore",
                "interpolate",
                "--weights",
                weights,
                "--frames",
                "2",
            ],
            "paths",
        ),
        (&["shapes", &sample, "--smoothing", "2"], "shapes"),
    ];
    for (arguments, name) in cases {
        let out = out(name);
        let said = stdout(&succeed(&[arguments, &["--out", &out]].concat()));
        let line = format!("wrote {out}: ");
        assert_eq!(said.matches(&line).count(), 1, "{arguments:?}: {said}");
    }
    let nearest = out("nearest");
    let arguments = [
        "explore",
        "nearest",
        "--weights",
        weights,
        "--training",
        data,
    ];
    let output = succeed(&[&arguments[..], &["--out", &nearest]].concat());
    let errors = String::from_utf8(output.stderr).unwrap();
    for search in [
        "maps nearest to generated ones",
        "nearest neighbours of those maps",
    ] {
        for metric in ["pixels", "spectrum"] {
            assert!(
                errors.contains(&format!("{search}, by {metric}")),
                "{errors}"
            );
        }
    }
}

#[test]
fn completions_and_manual_pages_name_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = stdout(&succeed(&["completions", shell]));
        assert!(
            script.contains("birthday") && script.contains("preview-every"),
            "{shell}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("man1");
    succeed(&["completions", "man", "--out", text(&out)]);
    let page = fs::read_to_string(out.join("cosmogan-explore-birthday.1")).unwrap();
    assert!(page.contains("duplicate"));
    assert!(out.join("cosmogan-train.1").exists() && out.join("cosmogan.1").exists());
    assert_eq!(run(&["completions", "man"]).status.code(), Some(2));
    assert_eq!(
        run(&["completions", "zsh", "--out", "d"]).status.code(),
        Some(2)
    );
}
