//! Bad input results in one clear line and exit status 1 or 2, without a panic and without incomplete files.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its data has failed"
)]

use std::fs;
use std::path::Path;

use crate::support::{refused, small_networks, small_run, succeed, text, write_noise, write_npy};

#[test]
fn training_data() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = small_run(folder.path(), 6);
    let run = folder.path().join("run");
    let train = |data: &Path, status, needles: &[&str]| {
        let arguments = [
            "train",
            "--config",
            text(&config),
            "--data",
            text(data),
            "--out",
            text(&run),
            "--steps",
            "1",
        ];
        refused(&arguments, status, needles);
        assert!(!run.exists(), "{} left a run", data.display());
    };
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };

    train(&folder.path().join("nothing.npy"), 1, &["nothing.npy"]);
    train(folder.path(), 1, &[text(folder.path())]);
    train(&file("empty.npy", b""), 1, &["empty.npy", "empty"]);
    train(&file("text.npy", b"these are not maps"), 1, &["text.npy"]);
    let whole = fs::read(&data).unwrap();
    train(
        &file("short.npy", &whole[..whole.len() - 7]),
        1,
        &["short.npy"],
    );
    train(
        &file("header.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr'"),
        1,
        &["header.npy"],
    );

    let npy = |name: &str, dims: &str, values: &[f32]| {
        let path = folder.path().join(name);
        write_npy(&path, dims, values);
        path
    };
    let vast = npy("vast.npy", "(4294967296, 4294967296, 4294967296)", &[0.0]);
    train(&vast, 1, &["vast.npy"]);
    train(&npy("flat.npy", "(256,)", &[0.0; 256]), 1, &["flat.npy"]);

    let smaller = folder.path().join("smaller.npy");
    write_noise(&smaller, 6, 8);
    train(&smaller, 1, &["smaller.npy", "8×8", "16×16"]);

    let mut values: Vec<f32> = (0..6 * 256)
        .map(|index| (index as f32 * 0.7).sin())
        .collect();
    values[2 * 256 + 3 * 16 + 5] = f32::NAN;
    let undefined = npy("nan.npy", "(6, 16, 16)", &values);
    train(&undefined, 1, &["nan.npy", "map 2", "row 3", "column 5"]);
    values[2 * 256..3 * 256].fill(0.25);
    train(
        &npy("flat-map.npy", "(6, 16, 16)", &values),
        1,
        &["flat-map.npy", "map 2", "constant"],
    );
    write_noise(&smaller, 3, 16);
    train(&smaller, 2, &["--batch"]);
}

#[test]
fn training_settings() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = small_run(folder.path(), 8);
    let run_folder = folder.path().join("run");
    let base = ["train", "--data", text(&data), "--out", text(&run_folder)];
    let with = |more: &[&'static str]| [&base[..], more].concat();

    for more in [
        &["--preset", "huge"][..],
        &["--steps", "many"],
        &["--steps", "3", "--epochs", "3"],
        &["--device", "abacus"],
    ] {
        refused(&with(more), 2, &[more[0]]);
    }
    refused(&with(&["--steps", "0"]), 2, &["--steps"]);
    refused(&with(&["--batch", "1"]), 2, &["--batch", "2"]);
    refused(
        &with(&["--device", "cuda"]),
        2,
        &["--device", "libcuda.so.1", "cpu"],
    );
    refused(
        &with(&["--device", "cpu", "--tier", "tiled"]),
        2,
        &["--tier", "CPU", "--device simt"],
    );
    // Without a GPU, bf16 is not faster, and the message says so.
    refused(
        &with(&["--precision", "bf16"]),
        2,
        &["--precision", "bf16", "no faster", "--device cpu"],
    );
    refused(
        &with(&["--device", "cpu", "--precision", "bf16", "--tier", "tiled"]),
        2,
        &["--tier", "CPU", "--device simt"],
    );
    for device in ["auto", "cpu"] {
        refused(
            &["profile", "--device", device, "--precision", "tf32"],
            2,
            &["--precision", "tf32", "times", "--device cuda"],
        );
    }
    refused(
        &with(&["--device", "simt", "--precision", "bf16", "--tier", "plain"]),
        2,
        &["--tier", "f32", "bf16"],
    );
    refused(
        &with(&["--preset", "tiny"]),
        1,
        &["maps.npy", "16×16", "64×64"],
    );

    let bad = folder.path().join("bad.toml");
    for (text_of_config, needle) in [
        ("output_size = 18\nlayers = 2\n", "not divisible"),
        ("layers = 7\n", "layers"),
        ("gf_dim = 0\n", "gf_dim"),
        ("colour = 3\n", "colour"),
        ("learning_rate = -1.0\n", "learning_rate"),
        ("layers = ", "line 1"),
    ] {
        fs::write(&bad, text_of_config).unwrap();
        let arguments = [&base[..], &["--config", text(&bad)]].concat();
        refused(&arguments, 1, &["bad.toml", needle]);
    }
    assert!(!run_folder.exists());

    // An existing run is neither overwritten nor resumed with other settings or data.
    let train = [&base[..], &["--config", text(&config), "--steps", "2"]].concat();
    succeed(&train);
    refused(&train, 1, &["--resume"]);
    let resume = [&train[..], &["--resume"]].concat();
    refused(
        &[&resume[..], &["--seed", "8"]].concat(),
        1,
        &["checkpoint.safetensors", "seed"],
    );
    refused(
        &[&resume[..], &["--average", "0.5"]].concat(),
        1,
        &["checkpoint.safetensors", "average 0.5"],
    );
    refused(
        &[&resume[..], &["--average", "1"]].concat(),
        2,
        &["--average", "0.9999"],
    );
    fs::write(
        &bad,
        crate::support::SMALL_CONFIG.replace("gf_dim = 4", "gf_dim = 8"),
    )
    .unwrap();
    let other = [&base[..], &["--config", text(&bad), "--resume"]].concat();
    refused(&other, 1, &["checkpoint.safetensors", "gf_dim"]);
    write_noise(&data, 9, 16);
    refused(&resume, 1, &["checkpoint.safetensors", "maps"]);

    // A damaged checkpoint is rejected, not overwritten.
    let checkpoint = run_folder.join("checkpoint.safetensors");
    let bytes = fs::read(&checkpoint).unwrap();
    fs::write(&checkpoint, &bytes[..bytes.len() / 2]).unwrap();
    refused(&resume, 1, &["checkpoint.safetensors"]);
    assert_eq!(fs::read(&checkpoint).unwrap().len(), bytes.len() / 2);

    // The run folder would have to be created inside a file.
    let blocked = [
        "train",
        "--config",
        text(&config),
        "--data",
        text(&data),
        "--out",
        "/dev/null/run",
    ];
    refused(&blocked, 1, &["/dev/null"]);
}

#[test]
fn weights_and_latents() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = small_run(folder.path(), 8);
    let [good, discriminator] = small_networks(folder.path(), &config, &data);
    let out = folder.path().join("out.npy");
    let generate = |weights: &Path, more: &[&str], status, needles: &[&str]| {
        let base = ["generate", "--weights", text(weights), "--out", text(&out)];
        refused(&[&base[..], more].concat(), status, needles);
        assert!(!out.exists());
    };
    generate(&good, &["--count", "0"], 2, &["--count"]);
    generate(&good, &["--count", "1", "--batch", "0"], 2, &["--batch"]);
    generate(&folder.path().join("none"), &["--count", "1"], 1, &["none"]);
    generate(
        &discriminator,
        &["--count", "1"],
        1,
        &["discriminator.safetensors"],
    );
    let checkpoint = folder.path().join("run/checkpoint.safetensors");
    generate(
        &checkpoint,
        &["--count", "1"],
        1,
        &["checkpoint.safetensors"],
    );

    let bytes = fs::read(&good).unwrap();
    let bad = folder.path().join("bad.safetensors");
    let with = |change: &dyn Fn(&mut Vec<u8>), needle: &str| {
        let mut changed = bytes.clone();
        change(&mut changed);
        fs::write(&bad, changed).unwrap();
        generate(&bad, &["--count", "1"], 1, &["bad.safetensors", needle]);
    };
    let replace = |from: &'static str, to: &'static str| {
        move |bytes: &mut Vec<u8>| {
            assert_eq!(from.len(), to.len());
            let position = bytes
                .windows(from.len())
                .position(|window| window == from.as_bytes())
                .unwrap();
            bytes[position..position + from.len()].copy_from_slice(to.as_bytes());
        }
    };
    with(&|bytes| bytes.truncate(bytes.len() / 2), "safetensors");
    with(&|bytes| bytes.clear(), "safetensors");
    with(&|bytes| bytes[..8].fill(0xff), "safetensors");
    with(&replace("deconv2.bias", "deconv9.bias"), "deconv");
    // The metadata is JSON within JSON, hence the backslashes.
    with(&replace("\\\"z_dim\\\":8", "\\\"z_dim\\\":9"), "fc.weight");
    with(&replace("\\\"layers\\\":2", "\\\"layers\\\":0"), "layers");
    with(&replace("\\\"gf_dim\\\":4", "\\\"gf_dim\\\":5"), "shape");
    let last = bytes.len() - 4;
    with(
        &|bytes| bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes()),
        "NaN",
    );

    let latents = folder.path().join("z.npy");
    write_npy(&latents, "(3, 7)", &[0.5; 21]);
    let given = ["--latents", text(&latents)];
    generate(&good, &given, 1, &["z.npy", "(N, 8)"]);
    write_npy(&latents, "(1, 8)", &[f32::INFINITY; 8]);
    generate(&good, &given, 1, &["z.npy"]);
    write_npy(&latents, "(3, 8)", &[0.5; 24]);
    let elsewhere = [
        "generate",
        "--weights",
        text(&good),
        "--latents",
        text(&latents),
        "--out",
        "/dev/full/maps.npy",
    ];
    refused(&elsewhere, 1, &["/dev/full"]);
    let unknown = [
        "generate",
        "--weights",
        text(&good),
        "--latents",
        text(&latents),
        "--out",
        "maps.xyz",
    ];
    refused(&unknown, 2, &["--out"]);
}

#[test]
fn a_demonstration_overwrites_nobodys_files() {
    let folder = tempfile::tempdir().unwrap();
    let thesis = folder.path().join("thesis.npy");
    fs::write(&thesis, "ten years").unwrap();
    let demo = ["demo", "--out", text(folder.path())];
    refused(&demo, 1, &[text(folder.path()), "thesis.npy", "--out"]);
    assert_eq!(fs::read(&thesis).unwrap(), b"ten years");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    fs::remove_file(&thesis).unwrap();
    // A run of the same name that does not belong to a demonstration.
    let (config, data) = small_run(folder.path(), 8);
    let elsewhere = folder.path().join("elsewhere");
    small_networks(&elsewhere, &config, &data);
    let run_folder = elsewhere.join("run");
    let before = fs::read(run_folder.join("checkpoint.safetensors")).unwrap();
    refused(&["demo", "--out", text(&elsewhere)], 1, &["another run"]);
    assert_eq!(
        fs::read(run_folder.join("checkpoint.safetensors")).unwrap(),
        before
    );
}
