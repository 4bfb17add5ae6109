//! The embeddable [`Generator`], with every instruction set of this CPU and by both algorithms.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its data has failed"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cosmogan::Generator;
use cosmogan::data::MapSet;
use cosmogan::generator::{InstructionSet, Method, Options};
use cosmogan::model::latents::latents;
use cosmogan::model::tensor_file::{CONFIG_KEY, TensorFile};
use cosmogan::model::{NetworkKind, sampler, weights};
use cosmogan_engine::backend::Backend;
use cosmogan_engine::backend::cpu::CpuBackend;
use cosmogan_generator::Error;

use crate::support::{cosmogan, refused, small_networks, small_run, succeed, text};
use half::f16;

fn golden(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../oracle/golden");
    folder.join(name)
}

/// All combinations of instruction set, algorithm and number of threads.
fn all_options() -> impl Iterator<Item = Options> {
    InstructionSet::available().flat_map(|instruction_set| {
        [Some(Method::Direct), Some(Method::Winograd), None]
            .into_iter()
            .flat_map(move |method| {
                [1, 2, 3].map(|threads| Options {
                    threads,
                    instruction_set: Some(instruction_set),
                    method,
                })
            })
    })
}

#[test]
fn maps_are_pytorchs() {
    for set in ["two", "four"] {
        let weights = golden(&format!("{set}_generator0.safetensors"));
        let path = golden(&format!("{set}_forward.safetensors"));
        let bytes = fs::read(&path).unwrap();
        let expected = TensorFile::parse(&path, &bytes).unwrap();
        let (dims, expected) = expected.get("generator_eval").unwrap().unwrap();
        let deviation = deviation(&expected);
        let inputs = MapSet::read(&golden(&format!("{set}_latents.npy"))).unwrap();
        for options in all_options() {
            let generator = Generator::load_with(&weights, options).unwrap();
            let vectors = &inputs.values()[..dims[0] * generator.latent_width()];
            let maps = generator.generate(vectors).unwrap();
            assert_eq!(maps.len(), expected.len());
            let worst = maps
                .iter()
                .zip(&expected)
                .map(|(map, expected)| (f64::from(*map) - expected).abs())
                .fold(0.0, f64::max);
            println!(
                "{set} {options:?}: {:.1e} of the standard deviation",
                worst / deviation
            );
            assert!(worst < 1e-4 * deviation, "{options:?}: {worst}");
        }
    }
}

fn deviation(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / count).sqrt()
}

#[test]
fn a_map_depends_on_seed_and_index_alone() {
    for options in all_options() {
        let weights = golden("two_generator0.safetensors");
        let generator = Generator::load_with(weights, options).unwrap();
        let map = generator.size().pow(2);
        let alone = generator.sample(21, 5).unwrap();
        let mut part = vec![0.0; 7 * map];
        generator.sample_into(11, 5, &mut part).unwrap();
        assert_eq!(part, alone[11 * map..18 * map]);
        let vectors = latents(5, 20..21, generator.latent_width());
        assert_eq!(generator.generate(&vectors).unwrap(), alone[20 * map..]);
        let threads = Options {
            threads: 5,
            ..options
        };
        let other = Generator::load_with(golden("two_generator0.safetensors"), threads).unwrap();
        assert_eq!(other.sample(21, 5).unwrap(), alone, "{options:?}");
    }
}

#[test]
fn it_makes_the_maps_of_program_and_tape() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = small_run(folder.path(), 8);
    let [weights, _] = small_networks(folder.path(), &config, &data);
    let out = folder.path().join("maps.npy");
    let generate = ["generate", "--weights", text(&weights), "--device", "cpu"];
    let generate = [&generate[..], &["--seed", "8", "--out", text(&out)]].concat();
    let generator = Generator::load(&weights).unwrap();
    let maps = generator.sample(23, 8).unwrap();
    for (count, batch) in [(23, "16"), (23, "5"), (3, "1")] {
        let count_flag = count.to_string();
        let flags = ["--count", &count_flag, "--batch", batch];
        succeed(&[&generate[..], &flags].concat());
        let written = MapSet::read(&out).unwrap();
        assert_eq!(written.values(), &maps[..count * 16 * 16]);
    }

    let backend: Arc<dyn Backend> = Arc::new(CpuBackend::new());
    let network = weights::load(&weights, NetworkKind::Generator, &backend).unwrap();
    let from_tape = sampler::generate(&network, &latents(8, 0..23, 8)).unwrap();
    let from_tape: Vec<f64> = from_tape.into_iter().map(f64::from).collect();
    let limit = 1e-4 * deviation(&from_tape);
    for (found, expected) in maps.iter().zip(from_tape) {
        let error = (f64::from(*found) - expected).abs();
        assert!(error < limit, "{found} {expected}");
    }

    let bytes = fs::read(&weights).unwrap();
    let from_bytes = Generator::from_bytes(&bytes).unwrap();
    assert_eq!(
        from_bytes.sample(2, 1).unwrap(),
        generator.sample(2, 1).unwrap()
    );
}

#[test]
fn a_thousand_threads_share_one() {
    let generator = Generator::load(golden("two_generator0.safetensors")).unwrap();
    let expected = generator.sample(2, 3).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..1000 {
            scope.spawn(|| assert_eq!(generator.sample(2, 3).unwrap(), expected));
        }
    });
}

#[test]
fn bad_input_is_refused_in_one_line() {
    let weights = golden("two_generator0.safetensors");
    let generator = Generator::load(&weights).unwrap();
    let (width, map) = (generator.latent_width(), generator.size().pow(2));
    let refused = |result: Result<(), Error>, needle: &str| {
        let message = result.unwrap_err().to_string();
        assert!(
            message.contains(needle) && !message.contains('\n'),
            "{message}"
        );
    };
    let mut maps = vec![0.0; 2 * map];
    let vectors = vec![0.5; 2 * width];
    refused(generator.generate(&vectors[1..]).map(|_| ()), "latents");
    refused(generator.generate_into(&vectors, &mut maps[1..]), "maps");
    refused(
        generator.generate_into(&vectors[width..], &mut maps),
        "room for 2 maps",
    );
    refused(
        generator.generate(&vec![f32::NAN; width]).map(|_| ()),
        "NaN",
    );
    refused(generator.sample_into(0, 1, &mut maps[1..]), "maps");
    refused(generator.sample(usize::MAX / 2, 1).map(|_| ()), "memory");
    generator.generate_into(&[], &mut []).unwrap();

    let load = |path: &Path, needle: &str| refused(Generator::load(path).map(|_| ()), needle);
    load(
        Path::new("/nowhere/g.safetensors"),
        "/nowhere/g.safetensors",
    );
    load(&golden(""), "name a readable file");
    load(
        Path::new("/dev/null"),
        "/dev/null: not a complete safetensors file",
    );
    load(
        &golden("two_discriminator0.safetensors"),
        "two_discriminator0.safetensors",
    );
    load(&golden("two_data.npy"), "two_data.npy");
    let bytes = fs::read(&weights).unwrap();
    let from_bytes = |bytes: &[u8], needle: &str| {
        refused(Generator::from_bytes(bytes).map(|_| ()), needle);
    };
    for length in [0, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        from_bytes(&bytes[..length], "safetensors");
    }
    let mut changed = bytes.clone();
    changed[..8].fill(0xff);
    from_bytes(&changed, "safetensors");
}

#[test]
fn weights_that_are_no_numbers_are_refused_wherever_they_are() {
    let bytes = fs::read(golden("two_generator0.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let entries: serde_json::Value = serde_json::from_slice(&bytes[8..header]).unwrap();
    let entries = entries.as_object().unwrap();
    let mut tensors = 0;
    for (name, entry) in entries.iter().filter(|(name, _)| !name.starts_with("__")) {
        let end = header + entry["data_offsets"][1].as_u64().unwrap() as usize;
        let with = |value: f32| {
            let mut changed = bytes.clone();
            changed[end - 4..end].copy_from_slice(&value.to_le_bytes());
            Generator::from_bytes(&changed).unwrap_err().to_string()
        };
        for (value, shown) in [
            (f32::NAN, "NaN"),
            (f32::INFINITY, "inf"),
            (-f32::INFINITY, "-inf"),
        ] {
            let message = with(value);
            let found = message.contains(name) && message.contains(&format!("holds {shown} at"));
            assert!(found && !message.contains('\n'), "{message}");
        }
        if name.ends_with("running_var") {
            assert!(with(-1.0).contains("non-negative"));
        }
        tensors += 1;
    }
    assert_eq!(tensors, 2 + 2 * 4 + 2 * 2);
}

#[test]
fn weights_whose_sums_overflow_make_no_maps() {
    let mut bytes = fs::read(golden("two_generator0.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for value in bytes[header..].chunks_exact_mut(4) {
        let weight = f32::from_le_bytes(value.try_into().unwrap());
        value.copy_from_slice(&(weight * 1e30).to_le_bytes());
    }
    for set in InstructionSet::available() {
        let options = Options {
            instruction_set: Some(set),
            ..Options::default()
        };
        let generator = Generator::from_bytes_with(&bytes, options).unwrap();
        let message = generator.sample(1, 1).unwrap_err().to_string();
        assert!(
            message.contains("weights") && message.contains("overflow"),
            "{message}"
        );
    }
}

#[test]
fn weights_of_another_configuration_are_refused() {
    let bytes = fs::read(golden("two_generator0.safetensors")).unwrap();
    let load = |key: &str, value: &str, needles: &[&str]| {
        let message = Generator::from_bytes(&reconfigured(&bytes, key, value));
        let message = message.unwrap_err().to_string();
        for needle in needles {
            assert!(message.contains(needle), "{key}: {message}");
        }
        assert!(
            message.contains("; ") && !message.contains('\n'),
            "{message}"
        );
    };
    load("z_dim", "9", &["fc.weight", "9] is expected"]);
    load("gf_dim", "5", &["bn0", "is expected"]);
    load("layers", "1", &["bn1", "does not belong"]);
    load("layers", "0", &["layers must lie between 1 and 6"]);
    load("output_size", "8192", &["fc.weight", "is expected"]);
    load("output_size", "18", &["not divisible"]);
    load("c_dim", "2", &["2 channels", "c_dim 1"]);
    load("z_dim", "1e300", &["z_dim"]);
    load("z_dim", "true", &["z_dim"]);
}

/// A weight file with a changed entry of the configuration in its metadata.
fn reconfigured(bytes: &[u8], key: &str, value: &str) -> Vec<u8> {
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&bytes[8..end]).unwrap();
    let metadata = &mut header["__metadata__"][CONFIG_KEY];
    let mut config: serde_json::Value = serde_json::from_str(metadata.as_str().unwrap()).unwrap();
    config[key] = serde_json::from_str(value).unwrap();
    *metadata = config.to_string().into();
    let header = header.to_string().into_bytes();
    [
        &(header.len() as u64).to_le_bytes(),
        &header[..],
        &bytes[end..],
    ]
    .concat()
}

#[test]
fn the_environment_chooses_instructions() {
    let weights = golden("two_generator0.safetensors");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("maps.npy");
    let generate = |instructions: &str| {
        let mut program = cosmogan();
        program.args(["generate", "--count", "2", "--device", "cpu"]);
        program.args(["--weights", text(&weights), "--out", text(&out)]);
        program.env("COSMOGAN_INSTRUCTIONS", instructions);
        program.output().unwrap()
    };
    for (name, set) in [
        ("portable", InstructionSet::Portable),
        ("avx2", InstructionSet::Avx2),
        ("avx512", InstructionSet::Avx512),
        ("", InstructionSet::best()),
        ("AVX9", InstructionSet::best()),
    ] {
        let output = generate(name);
        let options = Options {
            instruction_set: Some(set),
            ..Options::default()
        };
        if name == "AVX9" || !set.is_available() {
            let message = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{message}");
            assert!(message.contains("COSMOGAN_INSTRUCTIONS") && message.contains("; "));
            assert_eq!(message.lines().count(), 1, "{message}");
            assert_eq!(
                set.is_available(),
                Generator::load_with(&weights, options).is_ok()
            );
        } else {
            assert!(output.status.success());
            let expected = Generator::load_with(&weights, options).unwrap();
            assert_eq!(expected.instruction_set(), set);
            let expected = expected.sample(2, 0).unwrap();
            assert_eq!(MapSet::read(&out).unwrap().values(), expected);
        }
    }
}

#[test]
fn compressed_weights_are_those_rounded_to_half_precision() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, small) = (
        golden("four_generator0.safetensors"),
        folder.path().join("small"),
    );
    let arguments = ["compress", "--weights", text(&whole), "--out", text(&small)];
    let said = String::from_utf8(succeed(&arguments).stdout).unwrap();
    assert!(said.contains("standard deviations"), "{said}");

    let (before, after) = (fs::read(&whole).unwrap(), fs::read(&small).unwrap());
    assert!(after.len() < before.len() * 6 / 10, "{}", after.len());
    let (first, second) = (
        TensorFile::parse(&whole, &before).unwrap(),
        TensorFile::parse(&small, &after).unwrap(),
    );
    let kind = NetworkKind::Generator;
    assert_eq!(first.config(kind).unwrap(), second.config(kind).unwrap());
    let mut rounded = 0;
    for name in first.names() {
        let (dims, expected) = first.get(name).unwrap().unwrap();
        let found = second.get(name).unwrap().unwrap();
        // Vectors stay in float32.
        let stored = |value: f64| match dims.len() {
            1 => value,
            _ => f64::from(f16::from_f32(value as f32)),
        };
        let expected: Vec<f64> = expected.into_iter().map(stored).collect();
        assert_eq!(found, (dims.clone(), expected), "{name}");
        rounded += usize::from(dims.len() > 1);
    }
    assert_eq!(rounded, 1 + 4);

    // `Generator` and the network on the tape read the same weights from it.
    let generator = Generator::load(&small).unwrap();
    let vectors = latents(1, 0..2, generator.latent_width());
    let backend: Arc<dyn Backend> = Arc::new(CpuBackend::new());
    let network = weights::load(&small, kind, &backend).unwrap();
    let maps = generator.generate(&vectors).unwrap();
    let other = sampler::generate(&network, &vectors).unwrap();
    let values: Vec<f64> = maps.iter().map(|&value| value.into()).collect();
    let worst = maps
        .iter()
        .zip(&other)
        .map(|(map, other)| (map - other).abs());
    assert!(f64::from(worst.fold(0.0, f32::max)) < 1e-4 * deviation(&values));
}

#[test]
fn what_half_precision_cannot_hold_is_not_compressed() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = fs::read(golden("two_generator0.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for value in bytes[header..].chunks_exact_mut(4) {
        let weight = f32::from_le_bytes(value.try_into().unwrap());
        value.copy_from_slice(&(weight * 1e7).to_le_bytes());
    }
    let (large, out) = (folder.path().join("large"), folder.path().join("out"));
    fs::write(&large, &bytes).unwrap();
    let compress = |weights: &Path, needles: &[&str]| {
        let arguments = ["compress", "--weights", text(weights), "--out", text(&out)];
        refused(&arguments, 1, needles);
        assert!(!out.exists());
    };
    compress(&large, &["large", "65,504"]);
    let same = ["compress", "--weights", text(&large), "--out", text(&large)];
    refused(&same, 2, &["--out", "would overwrite the input"]);
    assert_eq!(fs::read(&large).unwrap(), bytes);
    compress(&folder.path().join("nothing"), &["nothing"]);
}
