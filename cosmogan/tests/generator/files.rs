//! Weight files of other programs: what the format does not allow is refused, and wrapped names are accepted.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its files has failed"
)]

use std::fs;
use std::path::{Path, PathBuf};

use cosmogan::Generator;
use serde_json::{Map, Value, json};

use crate::support::{refused, succeed};

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
fn a_bias_without_effect_may_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    let (header, values) = parts();
    let mut zero = values.clone();
    let [start, end] = offsets(&header["deconv1.bias"]);
    zero[start..end].fill(0);
    let expected = Generator::load(file(folder.path(), &text(&header), &zero)).unwrap();
    let (kept, kept_values) = without(&header, &values, "deconv1.bias");
    let generator = Generator::load(file(folder.path(), &text(&kept), &kept_values)).unwrap();
    assert_eq!(
        generator.sample(1, 0).unwrap(),
        expected.sample(1, 0).unwrap()
    );
    // Others have an effect.
    for name in ["fc.bias", "deconv4.bias", "bn1.bias"] {
        let (kept, values) = without(&header, &values, name);
        expect_refused(
            &file(folder.path(), &text(&kept), &values),
            &[name, "missing"],
        );
    }
}

/// The file without one tensor.
fn without(
    header: &Map<String, Value>,
    values: &[u8],
    name: &str,
) -> (Map<String, Value>, Vec<u8>) {
    let [start, end] = offsets(&header[name]);
    let mut kept = header.clone();
    kept.remove(name);
    let (before, after) = (&values[..start], &values[end..]);
    for (_, tensor) in kept.iter_mut().filter(|(name, _)| *name != "__metadata__") {
        if offsets(tensor)[0] >= end {
            let offsets = offsets(tensor).map(|offset| offset - (end - start));
            tensor["data_offsets"] = json!(offsets);
        }
    }
    (kept, [before, after].concat())
}

fn offsets(tensor: &Value) -> [usize; 2] {
    [0, 1].map(|end| tensor["data_offsets"][end].as_u64().unwrap() as usize)
}

/// The maps of a module whose transposed convolutions keep the values from `dropped` on, in float64.
fn maps_by_definition(
    header: &Map<String, Value>,
    values: &[u8],
    latent: &[f32],
    dropped: usize,
) -> Vec<f64> {
    let tensor = |name: &str| -> Vec<f64> {
        let [start, end] = offsets(&header[name]);
        let (floats, _) = values[start..end].as_chunks();
        let floats = floats
            .iter()
            .map(|bytes| f64::from(f32::from_le_bytes(*bytes)));
        floats.collect()
    };
    let (weight, bias) = (tensor("fc.weight"), tensor("fc.bias"));
    let mut features: Vec<f64> = weight
        .chunks_exact(latent.len())
        .zip(&bias)
        .map(|(row, bias)| {
            let products = row.iter().zip(latent);
            bias + products
                .map(|(weight, z)| weight * f64::from(*z))
                .sum::<f64>()
        })
        .collect();
    for layer in 0.. {
        let last = header.get(&format!("deconv{}.weight", layer + 1)).is_none();
        if last {
            return features.into_iter().map(f64::tanh).collect();
        }
        let [scale, shift, mean, variance] = ["weight", "bias", "running_mean", "running_var"]
            .map(|name| tensor(&format!("bn{layer}.{name}")));
        let channels = mean.len();
        let pixels = features.len() / channels;
        for (index, value) in features.iter_mut().enumerate() {
            let channel = index / pixels;
            let deviation = (variance[channel] + 1e-5).sqrt();
            *value =
                (scale[channel] * (*value - mean[channel]) / deviation + shift[channel]).max(0.0);
        }
        let side = pixels.isqrt();
        let weight = tensor(&format!("deconv{}.weight", layer + 1));
        let bias = tensor(&format!("deconv{}.bias", layer + 1));
        let wide = 2 * side;
        let mut images: Vec<f64> = bias
            .iter()
            .flat_map(|&bias| vec![bias; wide * wide])
            .collect();
        for (input, image) in features.chunks_exact(pixels).enumerate() {
            for (pixel, value) in image.iter().enumerate() {
                for (tap, weight) in weight[input * bias.len() * 25..][..bias.len() * 25]
                    .iter()
                    .enumerate()
                {
                    let (output, tap) = (tap / 25, tap % 25);
                    let row = (2 * (pixel / side) + tap / 5).checked_sub(dropped);
                    let column = (2 * (pixel % side) + tap % 5).checked_sub(dropped);
                    if let (Some(row), Some(column)) = (row, column)
                        && row < wide
                        && column < wide
                    {
                        images[(output * wide + row) * wide + column] += value * weight;
                    }
                }
            }
        }
        features = images;
    }
    unreachable!("the last layer returns")
}

/// A generator whose weights are all different, unlike the golden one's.
fn trained() -> (Map<String, Value>, Vec<u8>) {
    let (header, mut values) = parts();
    for (index, bytes) in values.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let value = f32::from_le_bytes(*bytes) + 1e-3 * (index % 17) as f32;
        *bytes = value.to_le_bytes();
    }
    (header, values)
}

#[test]
fn weights_of_the_usual_module_are_imported() {
    let folder = tempfile::tempdir().unwrap();
    let (mut header, values) = trained();
    header.remove("__metadata__");
    let ours = folder.path().join("ours.safetensors");
    let latent: Vec<f32> = (0..64).map(|index| (index as f32 * 0.7).sin()).collect();
    // As nn.Sequential names them, which says nothing about the geometry.
    let sequential: Map<String, Value> = header
        .iter()
        .map(|(name, entry)| {
            let name = match name.strip_prefix("deconv") {
                Some(layer) => format!("main.{layer}"),
                None if name.starts_with("bn") => format!("main.{name}"),
                None => name.clone(),
            };
            (name, entry.clone())
        })
        .collect();
    let direct = file(folder.path(), &text(&sequential), &values);
    expect_refused(&direct, &["cosmogan import"]);
    for names in [&header, &sequential] {
        let theirs = file(folder.path(), &text(names), &values);
        for (padding, dropped) in [("1", 1), ("2", 2)] {
            let import = [
                "import",
                "--weights",
                theirs.to_str().unwrap(),
                "--padding",
                padding,
            ];
            succeed(&[&import[..], &["--out", ours.to_str().unwrap()]].concat());
            let generator = Generator::load(&ours).unwrap();
            let latent = &latent[..generator.latent_width()];
            let mut found = generator.generate(latent).unwrap();
            if padding == "2" {
                // Turned by 180°.
                found.reverse();
            }
            // Its geometry is known now.
            let again = folder.path().join("again.safetensors");
            let (ours, again) = (ours.to_str().unwrap(), again.to_str().unwrap());
            let import = [
                "import",
                "--weights",
                ours,
                "--padding",
                padding,
                "--out",
                again,
            ];
            refused(&import, 1, &["weights of this program"]);
            let expected = maps_by_definition(&header, &values, latent, dropped);
            assert_eq!(found.len(), expected.len());
            let spread = expected
                .iter()
                .fold(0.0_f64, |most, value| most.max(value.abs()));
            let largest = found
                .iter()
                .zip(&expected)
                .fold(0.0_f64, |most, (found, expected)| {
                    most.max((f64::from(*found) - expected).abs())
                });
            println!("padding {padding}: {largest:.1e} of {spread:.1e}");
            // The other geometry differs by the spread itself, float32 by some 1e-7 of it.
            assert!(
                largest < 1e-5 * spread,
                "padding {padding}: {largest} of {spread}"
            );
        }
    }
}

#[test]
fn what_is_taken_for_weights_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (bytes, needle) in [
        (&b"PK\x03\x04archive/data.pkl"[..], "torch.save"),
        (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "torch.save"),
        (b"<html>404</html>", "web page"),
        (b"\x93NUMPY\x01\x00v\x00{'descr'", "NumPy array"),
        (b"SIMPLE  =                    T", "FITS file"),
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
